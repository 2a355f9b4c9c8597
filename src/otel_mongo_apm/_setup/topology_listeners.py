"""Which clients cannot use PyMongo's topology listeners although the user asked for them."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._cluster.topology_listener import ServerTelemetry, TopologyTelemetry
from otel_mongo_apm._driver.topology_events import unbind_queue, why_not

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_logger = logging.getLogger(__name__)


def possible_listeners(
    client: object,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    listeners: Sequence[Any],
) -> Sequence[Any]:
    """Return the listeners that a new client can have.

    Args:
        client: The client.
        arguments: Those of its constructor, by position.
        keywords: Those by name.
        listeners: All listeners that it was to have.
    """
    if not any(map(_is_of_topology, listeners)):
        return listeners
    reason = why_not(type(client), arguments, keywords)
    return listeners if reason is None else without_topology_listeners(listeners, reason)


def without_topology_listeners(listeners: Sequence[Any], reason: str) -> Sequence[Any]:
    """Return the other listeners; the cluster is then observed at each heartbeat, as by default.

    Args:
        listeners: A client's listeners.
        reason: Why the client cannot have all of them.
    """
    others = [each for each in listeners if not _is_of_topology(each)]
    if len(others) < len(listeners):
        _warn(reason)
    for listener in listeners:
        if _is_of_topology(listener):
            listener.cluster.is_told = False
    return others


def make_room(client: Any, listeners: Sequence[Any]) -> None:
    """Remove the limit of PyMongo's queue of topology events."""
    if any(map(_is_of_topology, listeners)):
        unbind_queue(client)


def _is_of_topology(listener: object) -> bool:
    return isinstance(listener, ServerTelemetry | TopologyTelemetry)


@functools.cache  # To warn once.
def _warn(reason: str) -> None:
    _logger.warning(
        "topology_listeners=True has no effect for a client: %s."
        " Its cluster is observed at each heartbeat instead, as by default.",
        reason,
    )
