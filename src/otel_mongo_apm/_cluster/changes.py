"""The differences between two looks at a cluster, as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from otel_mongo_apm._otel.addresses import server_attributes, written
from otel_mongo_apm._otel.semconv import (
    CLIENT_SERVER_CLOSED,
    CLIENT_SERVER_DESCRIPTION_CHANGED,
    CLIENT_SERVER_OPENED,
    CLIENT_TOPOLOGY_DESCRIPTION_CHANGED,
    CLIENT_TOPOLOGY_PRIMARY_CHANGED,
    PRIMARY_ADDRESS,
    PRIMARY_PREVIOUS_ADDRESS,
    SERVER_PREVIOUS_TYPE,
    SERVER_TYPE,
    TOPOLOGY_PREVIOUS_TYPE,
    TOPOLOGY_READABLE,
    TOPOLOGY_TYPE,
    TOPOLOGY_WRITABLE,
)

from .descriptions import Server
from .lines import server_change, server_line, topology_change, topology_line
from .timeline import ClusterEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_mongo_apm._otel.addresses import Address, Attributes

    from .descriptions import Topology


def changes(old: Topology, new: Topology, time: int) -> Iterator[ClusterEvent]:
    """Yield what has happened between two looks, servers first.

    Args:
        old: The previous state.
        new: The current state.
        time: The current time, in nanoseconds since the epoch.
    """
    for address in new.servers.keys() - old.servers.keys():
        yield server_opened(address, new, time)
    for address, server in new.servers.items():
        before = old.servers.get(address, Server())
        if server.type != before.type:
            yield server_changed(address, before, server, new, time)
    for address in old.servers.keys() - new.servers.keys():
        yield server_closed(address, old, time)
    if new.state != old.state:
        yield _topology_changed(old, new, time)
    if old.primary and new.primary and old.primary != new.primary:
        yield _primary_changed(old.primary, new.primary, new, time)


def server_opened(address: Address, topology: Topology, time: int) -> ClusterEvent:
    """A server that was added to a topology."""
    line = server_line(address, topology, "added")
    return ClusterEvent(CLIENT_SERVER_OPENED, time, server_attributes(address), line, address)


def server_closed(address: Address, topology: Topology, time: int) -> ClusterEvent:
    """A server that was removed from a topology."""
    line = server_line(address, topology, "removed")
    return ClusterEvent(CLIENT_SERVER_CLOSED, time, server_attributes(address), line, address)


def server_changed(
    address: Address, old: Server, new: Server, topology: Topology, time: int
) -> ClusterEvent:
    """A server whose type has changed."""
    attributes: Attributes = {
        **server_attributes(address),
        SERVER_TYPE: new.type,
        SERVER_PREVIOUS_TYPE: old.type,
    }
    if new.reason:
        attributes[ERROR_TYPE] = new.reason.error_type
    line = server_line(address, topology, server_change(old, new))
    return ClusterEvent(CLIENT_SERVER_DESCRIPTION_CHANGED, time, attributes, line, address)


def _topology_changed(old: Topology, new: Topology, time: int) -> ClusterEvent:
    attributes: Attributes = {
        TOPOLOGY_TYPE: new.type,
        TOPOLOGY_PREVIOUS_TYPE: old.type,
        TOPOLOGY_WRITABLE: new.is_writable,
        TOPOLOGY_READABLE: new.is_readable,
        **new.replica_set_attributes,
    }
    return ClusterEvent(
        CLIENT_TOPOLOGY_DESCRIPTION_CHANGED,
        time,
        attributes,
        # A topology without a name is described by its servers, but it may have none left.
        topology_line(new if new.replica_set or new.servers else old, topology_change(old, new)),
        is_warning=old.is_writable and not new.is_writable,
    )


def _primary_changed(old: Address, new: Address, topology: Topology, time: int) -> ClusterEvent:
    attributes: Attributes = {
        PRIMARY_ADDRESS: written(new),
        PRIMARY_PREVIOUS_ADDRESS: written(old),
    }
    line = topology_line(topology, f"primary {written(old)} -> {written(new)}")
    return ClusterEvent(CLIENT_TOPOLOGY_PRIMARY_CHANGED, time, attributes, line)
