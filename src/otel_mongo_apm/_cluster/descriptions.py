"""What a client knows about its cluster, from PyMongo's description."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.reasons import Reason, reason
from otel_mongo_apm._otel.addresses import replica_set_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """One server as the client sees it.

    Args:
        type: One of the values of `SERVER_TYPES`.
        reason: Why it is unknown, if it is because of an error.
    """

    type: str = UNKNOWN
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Topology:
    """All servers of a cluster as the client sees them.

    Args:
        type: One of the values of `TOPOLOGY_TYPES`.
        replica_set: Its name, if it is one.
        is_writable: Whether at least one server accepts writes.
        is_readable: Whether at least one server accepts reads, with any read preference.
        primary: The replica set's primary; while there is none, the last one.
        servers: Each server by its address.
        app_name: The client's `appName`, if it has one.
    """

    type: str = UNKNOWN
    replica_set: str | None = None
    is_writable: bool = False
    is_readable: bool = False
    primary: Address | None = None
    servers: Mapping[Address, Server] = field(default_factory=dict)
    app_name: str | None = None

    @property
    def is_blank(self) -> bool:
        """Whether all servers are unknown without an error: not yet, or no longer, connected."""
        return all(
            server.type == UNKNOWN and server.reason is None for server in self.servers.values()
        )

    @property
    def replica_set_attributes(self) -> Attributes:
        """The replica set's name, if it has one."""
        return replica_set_attributes(self.replica_set)

    @property
    def state(self) -> tuple[str, bool, bool, str | None]:
        """The values whose change is a change of the topology, besides those of its servers."""
        return self.type, self.is_writable, self.is_readable, self.replica_set


def topology(
    description: TopologyDescription, last_primary: Address | None, app_name: str | None = None
) -> Topology:
    """Extract what we report from PyMongo's topology description."""
    servers = description.server_descriptions()
    primary = next((a for a, s in servers.items() if s.server_type_name == "RSPrimary"), None)
    return Topology(
        type=TOPOLOGY_TYPES.get(description.topology_type_name, UNKNOWN),
        replica_set=description.replica_set_name,
        is_writable=any(server.is_writable for server in servers.values()),
        is_readable=any(server.is_readable for server in servers.values()),
        primary=primary or last_primary,
        servers={address: server(each) for address, each in servers.items()},
        app_name=app_name,
    )


def server(description: ServerDescription) -> Server:
    """Extract what we report from PyMongo's server description."""
    error = description.error
    return Server(
        type=SERVER_TYPES.get(description.server_type_name, UNKNOWN),
        reason=reason(error) if error else None,
    )


def age_of_change(old: Topology, new: Topology, description: TopologyDescription) -> float:
    """Return how long ago, in seconds, the driver learned of a change."""
    now, servers = time.monotonic(), description.server_descriptions()
    changed = (a for a, server in new.servers.items() if server != old.servers.get(a))
    updates = [servers[address].last_update_time for address in changed]
    return max(min((now - update for update in updates if update), default=0.0), 0.0)
