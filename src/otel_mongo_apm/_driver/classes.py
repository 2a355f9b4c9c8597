"""PyMongo's classes: clients, topologies and sessions."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

import pymongo

from .private_names import NO_WAITS, class_named, packages, takes, warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Iterator


def client_classes() -> Iterator[type[Any]]:
    """Yield each class of clients; Motor's clients contain a `MongoClient`."""
    yield pymongo.MongoClient
    if pymongo.version_tuple >= (4, 11):  # Older betas block the event loop.
        yield pymongo.AsyncMongoClient


class HasDelegate(Protocol):
    """A client of Motor, which contains a client of PyMongo."""

    @property
    def delegate(self) -> pymongo.MongoClient[Any]:
        """PyMongo's own client."""


def srv_client_classes() -> Iterator[tuple[type[Any], bool]]:
    """Yield each class that looks up SRV records, and whether it is an asynchronous one."""
    if pymongo.version_tuple < (4, 12):  # In older versions the constructor looks them up.
        return
    for cls in client_classes():
        if callable(getattr(cls, "_resolve_srv", None)):
            yield cls, inspect.iscoroutinefunction(cls._resolve_srv)
        else:
            warn_of_loss(f"{cls.__name__}._resolve_srv", "lookups of SRV records are not reported")


def driver_client(client: Any) -> Any:
    """Return PyMongo's client: the client itself, or the one that a client of Motor contains.

    Raises:
        TypeError: The argument is not a client of PyMongo or Motor.
    """
    own = vars(client).get("delegate", client) if hasattr(client, "__dict__") else client
    if not isinstance(own, tuple(client_classes())):
        message = f"Not a client of PyMongo or Motor: {type(client).__name__}."
        raise TypeError(message)
    return own


def topology_classes() -> Iterator[tuple[type[Any], bool]]:
    """Yield each class that selects servers, and whether it is an asynchronous one."""
    for package, is_async in packages().items():
        cls = class_named(f"{package}.topology", "Topology")
        if cls is None or not takes(getattr(cls, "select_server", None), "selector", "operation"):
            warn_of_loss("Topology.select_server(selector, operation)", NO_WAITS)
        elif not hasattr(cls, "description"):
            warn_of_loss("Topology.description", NO_WAITS)
        else:
            yield cls, is_async


def session_classes() -> Iterator[tuple[type[Any], bool]]:
    """Yield each class of sessions, and whether it is an asynchronous one."""
    for package, is_async in packages().items():
        name = "AsyncClientSession" if is_async else "ClientSession"
        if cls := class_named(f"{package}.client_session", name):
            yield cls, is_async


def motor_session_class() -> type[Any] | None:
    """Motor's class of sessions, if Motor is installed; it has a `with_transaction` of its own."""
    return class_named("motor.core", "AgnosticClientSession")


def driver_session(session: Any) -> Any:
    """Return PyMongo's session: the session itself, or the one that a session of Motor contains."""
    return vars(session).get("delegate", session)
