"""The listeners that a client has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.monitoring import CommandListener, ConnectionPoolListener, ServerHeartbeatListener

from .keywords import change_keyword
from .private_names import NO_WAITS, takes, warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Collection

# The kinds of our listeners, and their names in PyMongo's private attributes.
_KINDS = {
    CommandListener: ("command", "commands"),
    ConnectionPoolListener: ("cmap", "cmap"),
    ServerHeartbeatListener: ("server_heartbeat", "server_heartbeat"),
}


def change_listeners(client: Any, old: Collection[object], new: Collection[object]) -> bool:
    """Replace listeners of an existing client; return False, with a warning, if this is impossible.

    PyMongo reads the lists at every event. But it checks whether there are any listeners only once:
    when it creates a pool or, before 4.18, a monitor.
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
        warn_of_loss("client._event_listeners", "existing clients cannot be instrumented")
        return False
    if not change_keyword(client, old, new):
        return False
    for kind, (name, flag) in names.items():
        listeners = state[name]
        listeners[:] = [each for each in listeners if each not in old]
        listeners += [each for each in new if isinstance(each, kind)]
        state[flag] = bool(listeners)
    return True


class _Nothing:
    """Stands for a missing attribute."""


def listeners_of(topology: Any) -> list[Any]:
    """Return the listeners of a topology's client; none if it was created without a client."""
    listeners: Any = getattr(topology, "_listeners", _Nothing)
    if listeners is None:
        return []
    if not takes(getattr(type(listeners), "event_listeners", None), only=True):
        warn_of_loss("Topology._listeners.event_listeners()", NO_WAITS)
        return []
    return list(listeners.event_listeners())
