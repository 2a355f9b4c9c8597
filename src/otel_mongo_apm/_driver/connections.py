"""PyMongo's connections: their classes, and the listeners of their commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .private_names import class_named, packages, takes, warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_COMMENTS = "comments of commands lack the trace context"


def connection_classes() -> Sequence[type[Any]]:
    """Return the classes with the function that every command passes before it is encoded.

    There is one class for each kind of client. Since PyMongo 4.20 both inherit from one class.
    """
    found: dict[type[Any], None] = {}
    for package, is_async in packages().items():
        cls = class_named(f"{package}.pool", "AsyncConnection" if is_async else "Connection")
        bases = getattr(cls, "__mro__", ())
        owner: Any = next((base for base in bases if vars(base).get("add_server_api")), None)
        if takes(getattr(owner, "add_server_api", None), "command"):
            found[owner] = None
        else:
            warn_of_loss("Connection.add_server_api(command)", _NO_COMMENTS)
    return list(found)


def listeners_of_connection(connection: Any) -> Sequence[Any]:
    """Return the listeners of a connection's client; none for connections of monitors."""
    listeners: Any = getattr(connection, "listeners", ...)
    if listeners is None:
        return ()
    if not takes(getattr(type(listeners), "event_listeners", None), only=True):
        warn_of_loss("Connection.listeners.event_listeners()", _NO_COMMENTS)
        return ()
    found: Sequence[Any] = listeners.event_listeners()
    return found
