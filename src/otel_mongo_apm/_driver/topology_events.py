"""PyMongo's own server and topology events: which clients can use them.

PyMongo puts these events into a queue with 100 entries, and blocks when it is full. When a client
is created, PyMongo starts a thread that empties the queue, or a task for an AsyncMongoClient.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pymongo

from .clients import topology_of
from .private_names import warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Whether a client that is closed drops the events that it has not published yet.
DROPS_EVENTS_AT_CLOSE = pymongo.version_tuple < (4, 9)

# Each server has two events before the thread or task empties the queue.
MAX_SEEDS = 40


def why_not(cls: type[Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str | None:
    """Return why a new client cannot use these events; None if it can.

    Args:
        cls: The client's class.
        arguments: The positional arguments of its constructor.
        keywords: The keyword arguments.

    >>> import pymongo
    >>> why_not(pymongo.MongoClient, (), {"host": "mongodb://" + ",".join(["a"] * 41)})
    'it has more than 40 seeds'
    >>> why_not(pymongo.MongoClient, ("mongodb://a,b,c",), {})
    """
    if _is_asynchronous(cls) and not _is_in_event_loop():
        return "it is an AsyncMongoClient that is made outside of a running event loop"
    host = keywords.get("host", arguments[0] if arguments else None)
    if _seeds(host) > MAX_SEEDS:
        return f"it has more than {MAX_SEEDS} seeds"
    return None


def unbind_queue(client: Any) -> None:
    """Remove the limit of a client's queue of events."""
    topology = topology_of(client)
    if topology is None:  # Its SRV record is not looked up yet.
        return
    queue: Any = getattr(topology, "_events", None)
    if isinstance(getattr(queue, "maxsize", None), int):
        queue.maxsize = 0
    else:
        warn_of_loss("Topology._events.maxsize", "a client that publishes many events may block")


def _is_asynchronous(cls: type[Any]) -> bool:
    return asyncio.iscoroutinefunction(getattr(cls, "close", None))


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _seeds(host: Any) -> int:
    """Return the number of servers in a client's configuration; a too large number does no harm."""
    if isinstance(host, str):
        return host.count(",") + 1
    return sum(map(_seeds, host)) if isinstance(host, list | tuple) else 1
