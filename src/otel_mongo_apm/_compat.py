"""Everything that depends on PyMongo's version or on its private names."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import threading
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import pymongo
import pymongo.errors
from pymongo.monitoring import CommandListener, ConnectionPoolListener, ServerHeartbeatListener

from ._callers import current_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, ModuleType

    from bson.objectid import ObjectId
    from pymongo.topology_description import TopologyDescription

_logger = logging.getLogger(__name__)

# Where PyMongo makes the client of mongocryptd: in 4.7 and 4.8, and since 4.9.
_ENCRYPTION_MODULES = (
    "pymongo.encryption",
    "pymongo.synchronous.encryption",
    "pymongo.asynchronous.encryption",
)
# PyMongo's own threads and tasks: monitors, events, and the cursors to kill.
_BACKGROUND_PREFIX = "pymongo_"
_NO_WAITS = "waits for a server have no spans"


def client_classes() -> Iterator[type[Any]]:
    """Yield each class that connects; Motor's clients have a `MongoClient` inside."""
    yield pymongo.MongoClient
    if pymongo.version_tuple >= (4, 11):  # Before that it was a beta that blocked its event loop.
        yield pymongo.AsyncMongoClient


def is_made_by_encryption() -> bool:
    """Whether it is PyMongo's client-side encryption that is making a client right now."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # What `inspect` would use, too.
    while frame:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("pymongo."):
            return module in _ENCRYPTION_MODULES
        frame = frame.f_back
    return False


def is_traced_natively(client: Any) -> bool:
    """Whether a client makes spans by itself, as those of a PyMongo to come can."""
    if client is None or topology_of(client) is None:
        return False
    tracing = getattr(client.options, "tracing", None)
    return isinstance(tracing, Mapping) and bool(tracing.get("enabled"))


def driver_client(client: Any) -> Any:
    """PyMongo's own client: itself, or what one of Motor's has inside.

    Raises:
        TypeError: It is no client.
    """
    own = vars(client).get("delegate", client) if hasattr(client, "__dict__") else client
    if not isinstance(own, tuple(client_classes())):
        message = f"Not a client of PyMongo or Motor: {type(client).__name__}."
        raise TypeError(message)
    return own


# The kinds of listeners that we have, and how PyMongo calls them in private.
_KINDS = {
    CommandListener: ("command", "commands"),
    ConnectionPoolListener: ("cmap", "cmap"),
    ServerHeartbeatListener: ("server_heartbeat", "server_heartbeat"),
}


def change_listeners(client: Any, old: Collection[object], new: Collection[object]) -> bool:
    """Replace listeners of a client that is made; false, with a warning, if that cannot be done.

    PyMongo reads the lists at every event. Whether there is anybody to be told it asks only once
    for each pool and, before 4.18, each monitor, when it makes them.
    """
    state = vars(vars(client).get("_event_listeners", _Nothing))
    names = {
        kind: (f"_EventListeners__{name}_listeners", f"_EventListeners__enabled_for_{flag}")
        for kind, (name, flag) in _KINDS.items()
    }
    if not all(
        isinstance(state.get(listeners), list) and isinstance(state.get(flag), bool)
        for listeners, flag in names.values()
    ):
        warn_of_loss(
            "client._event_listeners", "clients that were made before cannot be instrumented"
        )
        return False
    for kind, (name, flag) in names.items():
        listeners = state[name]
        listeners[:] = [each for each in listeners if each not in old]
        listeners += [each for each in new if isinstance(each, kind)]
        state[flag] = bool(listeners)
    return True


class _Nothing:
    """What is not there."""


def has_servers(client: Any) -> bool:
    """Whether a client has begun to connect."""
    topology = topology_of(client)
    if topology is not None and not hasattr(topology, "_servers"):
        warn_of_loss("Topology._servers", "it is not known whether a client has connected already")
    return bool(getattr(topology, "_servers", None))


def is_background() -> bool:
    """Whether this is a thread or a task of PyMongo's own."""
    if threading.current_thread().name.startswith(_BACKGROUND_PREFIX):
        return True
    task = current_task()
    return task is not None and task.get_name().startswith(_BACKGROUND_PREFIX)


def check_background() -> None:
    """Warn if this, a thread or a task of PyMongo's own, is not known for one by its name."""
    if not is_background():
        warn_of_loss(
            f"names that begin with {_BACKGROUND_PREFIX}",
            "its own threads and tasks are taken for callers",
        )


def is_cancelled_check(error: BaseException) -> bool:
    """Whether a heartbeat did not fail but was cancelled, as when its client is closed."""
    cancelled = _operation_cancelled()
    return cancelled is not None and isinstance(error, cancelled)


def _operation_cancelled() -> type[BaseException] | None:
    return getattr(pymongo.errors, "_OperationCancelled", None)


# A client is never asked for what it may not have: it answers with a database, and while it is
# being made not even that. So its private parts are looked up where they would be.


def check(client: Any) -> None:
    """Warn of what a client, now that it is made, lacks that will be looked for."""
    modules = (
        _ENCRYPTION_MODULES[1:] if pymongo.version_tuple >= (4, 9) else _ENCRYPTION_MODULES[:1]
    )
    if not all(map(_is_there, modules)):
        warn_of_loss(", ".join(modules), "clients that encryption makes are instrumented, too")
    if _operation_cancelled() is None:
        warn_of_loss("_OperationCancelled", "heartbeats that are cancelled are told as failed")
    if "_topology" not in vars(client):
        warn_of_loss("client._topology", "clusters are not told of")
        return
    topology = topology_of(client)
    if topology is None:  # Its SRV record was not looked up yet.
        return
    if not hasattr(topology, "_topology_id"):
        warn_of_loss("Topology._topology_id", "topologies are told of without their IDs")
    if not hasattr(topology, "_closed"):
        warn_of_loss("Topology._closed", "clients that were closed may still be counted")


def topology_description(client: Any) -> TopologyDescription | None:
    """A client's live description; none before it has one."""
    if topology_of(client) is None:  # It is being made, or its SRV record was not looked up yet.
        return None
    description: TopologyDescription = client.topology_description
    return description


def topology_id(client: Any) -> ObjectId | None:
    """The ID by which PyMongo's own events and logs call a client's topology."""
    return getattr(topology_of(client), "_topology_id", None)


def is_closed(client: Any) -> bool:
    """Whether a client was closed."""
    return bool(getattr(topology_of(client), "_closed", False))


def topology_of(client: Any) -> Any:
    """What a client knows its servers by; none while it is being made."""
    return vars(client).get("_topology")


def clients_with(is_it: Callable[[object], bool]) -> list[Any]:
    """The clients that have a certain listener."""
    return [
        client
        for cls in client_classes()
        for client in _alive(getattr(cls, "_clients", None))
        if any(map(is_it, client.options.event_listeners))
    ]


def _alive(clients: object) -> Iterator[Any]:
    if not isinstance(clients, WeakValueDictionary):
        warn_of_loss("MongoClient._clients", "listeners that were passed do not find their client")
        return
    # The references are copied at once; others make and lose clients meanwhile.
    for reference in clients.valuerefs():
        client = reference()
        if client is not None:
            yield client


def app_name(client: Any) -> str | None:
    """What a client calls its application to the server; none before it is made."""
    name = None if topology_of(client) is None else client.options.pool_options.appname
    return str(name) if name else None


def exception_in_hand() -> BaseException | None:
    """The exception that PyMongo is handling while it calls a listener."""
    error = sys.exc_info()[1]
    traceback = error.__traceback__ if error else None
    if traceback is None:
        return None
    # The traceback begins in the frame that caught it; that may be one of the application's,
    # which called PyMongo while it handled an exception of its own.
    caught_in = traceback.tb_frame.f_globals.get("__name__", "")
    return error if caught_in.startswith("pymongo.") else None


def topology_classes() -> Iterator[tuple[type[Any], bool]]:
    """Yield each class that selects servers, and whether it is an asynchronous one."""
    for package, is_async in packages().items():
        cls = class_named(f"{package}.topology", "Topology")
        if cls is None or not _takes(getattr(cls, "select_server", None), "selector", "operation"):
            warn_of_loss("Topology.select_server(selector, operation)", _NO_WAITS)
        elif not hasattr(cls, "description"):
            warn_of_loss("Topology.description", _NO_WAITS)
        else:
            yield cls, is_async


def packages() -> dict[str, bool]:
    """Where PyMongo keeps what connects, and whether it is asynchronous."""
    if pymongo.version_tuple < (4, 9):
        return {"pymongo": False}
    return {"pymongo.synchronous": False, "pymongo.asynchronous": True}


def class_named(module: str, name: str) -> type[Any] | None:
    """A class of PyMongo's, if it is there."""
    return getattr(_module(module), name, None)


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
    """PyMongo's own session: itself, or what one of Motor's has inside."""
    return vars(session).get("delegate", session)


def listeners_of(topology: Any) -> list[Any]:
    """The listeners of a topology's client."""
    listeners: Any = getattr(topology, "_listeners", None)
    if not _takes(getattr(type(listeners), "event_listeners", None), only=True):
        warn_of_loss("Topology._listeners.event_listeners()", _NO_WAITS)
        return []
    return list(listeners.event_listeners())


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


@functools.cache
def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def _takes(function: Any, *parameters: str, only: bool = False) -> bool:
    """Whether a function is there and its first parameters, after `self`, are these."""
    if not callable(function):
        return False
    taken = tuple(inspect.signature(function).parameters)[1:]
    return (taken if only else taken[: len(parameters)]) == parameters


@functools.cache  # To warn once.
def warn_of_loss(name: str, loss: str) -> None:
    """Warn that PyMongo lacks something, and of what that costs."""
    _logger.warning("PyMongo %s lacks %s: %s.", pymongo.version, name, loss)
