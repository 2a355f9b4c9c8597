"""PyMongo's own events of servers and topologies: which clients can have them, at what price.

PyMongo puts them into a queue that holds 100, and blocks when it is full. It begins to empty it
when a client is made, in a thread or, for an AsyncMongoClient, in a task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .clients import topology_of
from .private_names import warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A server has two events before anybody empties the queue.
MAX_SEEDS = 40


def why_not(cls: type[Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str | None:
    """Why a client that is about to be made cannot have these events; none if it can.

    Args:
        cls: The client's class.
        arguments: Those of its constructor, by position.
        keywords: Those by name.

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
    """Let the queue of events of a client that was made hold as many as there are."""
    topology = topology_of(client)
    if topology is None:  # Its SRV record was not looked up yet.
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
    """How many servers a client is given; a few too many do no harm."""
    if isinstance(host, str):
        return host.count(",") + 1
    return sum(map(_seeds, host)) if isinstance(host, list | tuple) else 1
