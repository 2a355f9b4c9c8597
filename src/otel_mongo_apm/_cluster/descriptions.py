"""What a client knows of its cluster, and what has changed between two looks at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._otel.addresses import replica_set_attributes, server_attributes, written
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

from .timeline import ClusterEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.server_description import ServerDescription
    from pymongo.topology_description import TopologyDescription

    from otel_mongo_apm._otel.addresses import Address, Attributes

UNKNOWN = "unknown"

SERVER_TYPES: Mapping[str, str] = {
    "LoadBalancer": "load_balancer",
    "Mongos": "mongos",
    "PossiblePrimary": "possible_primary",
    "RSArbiter": "rs_arbiter",
    "RSGhost": "rs_ghost",
    "RSOther": "rs_other",
    "RSPrimary": "rs_primary",
    "RSSecondary": "rs_secondary",
    "Standalone": "standalone",
    "Unknown": UNKNOWN,
}
TOPOLOGY_TYPES: Mapping[str, str] = {
    "LoadBalanced": "load_balanced",
    "ReplicaSetNoPrimary": "replica_set_no_primary",
    "ReplicaSetWithPrimary": "replica_set_with_primary",
    "Sharded": "sharded",
    "Single": "single",
    "Unknown": UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as the client knows it.

    Args:
        type: One of the values of `SERVER_TYPES`.
        error_type: Why it is unknown, if it is because of an error.
    """

    type: str = UNKNOWN
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Topology:
    """All servers of a cluster, as the client knows them.

    Args:
        type: One of the values of `TOPOLOGY_TYPES`.
        replica_set: Its name, if it is one.
        is_writable: Whether a server would take a write.
        is_readable: Whether a server would take a read, with any read preference.
        primary: The replica set's primary; while there is none, the last one there was.
        servers: Each server by its address.
    """

    type: str = UNKNOWN
    replica_set: str | None = None
    is_writable: bool = False
    is_readable: bool = False
    primary: Address | None = None
    servers: Mapping[Address, Server] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known and nothing went wrong: not yet, or no longer, connected."""
        return all(
            server.type == UNKNOWN and server.error_type is None for server in self.servers.values()
        )

    @property
    def replica_set_attributes(self) -> Attributes:
        """The replica set's name, if it has one."""
        return replica_set_attributes(self.replica_set)

    @property
    def title(self) -> str:
        """What people call it: the replica set's name, or its servers."""
        return self.replica_set or ", ".join(sorted(map(written, self.servers)))

    @property
    def state(self) -> tuple[str, bool, bool, str | None]:
        """What makes a change of the topology, beyond those of its servers."""
        return self.type, self.is_writable, self.is_readable, self.replica_set


def topology(description: TopologyDescription, last_primary: Address | None) -> Topology:
    """Take from PyMongo's description what we tell."""
    servers = description.server_descriptions()
    primary = next((a for a, s in servers.items() if s.server_type_name == "RSPrimary"), None)
    return Topology(
        type=TOPOLOGY_TYPES.get(description.topology_type_name, UNKNOWN),
        replica_set=description.replica_set_name,
        is_writable=any(server.is_writable for server in servers.values()),
        is_readable=any(server.is_readable for server in servers.values()),
        primary=primary or last_primary,
        servers={address: _server(server) for address, server in servers.items()},
    )


def _server(description: ServerDescription) -> Server:
    error = description.error
    return Server(
        type=SERVER_TYPES.get(description.server_type_name, UNKNOWN),
        error_type=exception_failure(error).error_type if error else None,
    )


def changes(old: Topology, new: Topology, time: int) -> Iterator[ClusterEvent]:
    """What has happened between two looks, servers first.

    Args:
        old: What was known.
        new: What is known now.
        time: Now, in nanoseconds since the epoch.
    """
    for address in new.servers.keys() - old.servers.keys():
        yield _server_event(CLIENT_SERVER_OPENED, address, "is known", time)
    for address, server in new.servers.items():
        before = old.servers.get(address, Server())
        if server.type != before.type:
            yield _server_changed(address, before, server, time)
    for address in old.servers.keys() - new.servers.keys():
        yield _server_event(CLIENT_SERVER_CLOSED, address, "is no longer known", time)
    if new.state != old.state:
        yield _topology_changed(old, new, time)
    if old.primary and new.primary and old.primary != new.primary:
        yield _primary_changed(old.primary, new.primary, new, time)


def _server_event(name: str, address: Address, what: str, time: int) -> ClusterEvent:
    line = f"Server {written(address)} {what}"
    return ClusterEvent(name, time, server_attributes(address), line, address)


def _server_changed(address: Address, old: Server, new: Server, time: int) -> ClusterEvent:
    attributes: Attributes = {
        **server_attributes(address),
        SERVER_TYPE: new.type,
        SERVER_PREVIOUS_TYPE: old.type,
    }
    line = f"Server {written(address)} was {old.type} and is {new.type}"
    if new.error_type:
        attributes[ERROR_TYPE] = new.error_type
        line += f": {new.error_type}"
    return ClusterEvent(CLIENT_SERVER_DESCRIPTION_CHANGED, time, attributes, line, address)


def _topology_changed(old: Topology, new: Topology, time: int) -> ClusterEvent:
    attributes: Attributes = {
        TOPOLOGY_TYPE: new.type,
        TOPOLOGY_PREVIOUS_TYPE: old.type,
        TOPOLOGY_WRITABLE: new.is_writable,
        TOPOLOGY_READABLE: new.is_readable,
        **new.replica_set_attributes,
    }
    is_loss = old.is_writable and not new.is_writable
    return ClusterEvent(
        CLIENT_TOPOLOGY_DESCRIPTION_CHANGED,
        time,
        attributes,
        _topology_line(old, new),
        is_warning=is_loss,
    )


def _topology_line(old: Topology, new: Topology) -> str:
    if old.is_writable and not new.is_writable:
        return f"No writable server available in {new.title or old.title}"
    if old.type != new.type:
        return f"Topology of {new.title} was {old.type} and is {new.type}"
    state = "writable" if new.is_writable else "only readable" if new.is_readable else "unavailable"
    return f"Topology of {new.title} is {new.type}, {state}"


def _primary_changed(old: Address, new: Address, topology: Topology, time: int) -> ClusterEvent:
    attributes: Attributes = {
        PRIMARY_ADDRESS: written(new),
        PRIMARY_PREVIOUS_ADDRESS: written(old),
    }
    line = f"Primary of {topology.title} is {written(new)}, after {written(old)}"
    return ClusterEvent(CLIENT_TOPOLOGY_PRIMARY_CHANGED, time, attributes, line)
