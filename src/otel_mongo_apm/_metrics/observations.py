"""The values of the observable instruments: the state of the clients that are alive."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_mongo_apm._otel.addresses import replica_set_attributes, server_attributes
from otel_mongo_apm._otel.semconv import (
    CONNECTION_STATE,
    IDLE,
    SERVER_TYPE,
    TOPOLOGY_TYPE,
    USED,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.util.types import AttributeValue

    from otel_mongo_apm._otel.addresses import Address, Attributes

    from .observed import Observed, ObservedCluster

# Types of topologies and servers.
UNKNOWN, SINGLE = "unknown", "single"
READ_ONLY_TYPES = {"rs_secondary", "rs_arbiter", "rs_other", "rs_ghost"}

# Several clients may have pools of the same name or see the same cluster, but each series has only
# one value. So these functions combine the values of all clients.


def _added_up(numbers: Iterable[tuple[Attributes, int]]) -> Iterator[Observation]:
    """Yield the sum of the numbers with the same attributes."""
    sums: Counter[tuple[tuple[str, AttributeValue], ...]] = Counter()
    for attributes, number in numbers:
        sums[tuple(attributes.items())] += number
    for items, number in sums.items():
        yield Observation(number, dict(items))


def connection_counts(observed: Observed) -> Iterator[Observation]:
    """Idle and used connections of the pools."""
    pools = list(observed.pools())
    idle = (({**pool.attributes, CONNECTION_STATE: IDLE}, pool.idle) for pool in pools)
    used = (({**pool.attributes, CONNECTION_STATE: USED}, len(pool.used)) for pool in pools)
    return _added_up([*idle, *used])


def connection_limits(observed: Observed) -> Iterator[Observation]:
    """Yield the limits of pools; a sum that includes an unlimited pool is left out."""
    pools = list(observed.pools())
    unlimited = [pool.attributes for pool in pools if not pool.max_size]
    limited = (pool for pool in pools if pool.attributes not in unlimited)
    return _added_up((pool.attributes, pool.max_size) for pool in limited)


def connection_minima(observed: Observed) -> Iterator[Observation]:
    """Yield the minimum sizes of pools."""
    return _added_up((pool.attributes, pool.min_size) for pool in observed.pools())


def pending_requests(observed: Observed) -> Iterator[Observation]:
    """Yield the numbers of callers that wait for a connection."""
    pools = list(observed.pools())
    for pool in pools:
        pool.drop_the_silent()
    return _added_up((pool.attributes, len(pool.pending)) for pool in pools)


def server_status(observed: Observed) -> Iterator[Observation]:
    """Yield 1 for a type that a server has for some client, 0 for its previous types."""
    status: dict[tuple[Address, str], int] = {}
    for cluster in observed.clusters():
        for address, server in cluster.topology.servers.items():
            for server_type in list(cluster.types_seen.get(address, ())):
                status.setdefault((address, server_type), 0)
            status[address, server.type] = 1
    for (address, server_type), value in status.items():
        yield Observation(value, {**server_attributes(address), SERVER_TYPE: server_type})


def round_trip_times(observed: Observed) -> Iterator[Observation]:
    """Yield the round-trip time of each known server, averaged over the clients."""
    times: defaultdict[Address, list[float]] = defaultdict(list)
    for address, description in observed.server_descriptions():
        if description.round_trip_time is not None:
            times[address].append(description.round_trip_time)
    for address, seconds in times.items():
        yield Observation(sum(seconds) / len(seconds), server_attributes(address))


def topology_status(observed: Observed) -> Iterator[Observation]:
    """Yield 1 for each type that a topology has."""
    for topology_type, replica_set in {
        (cluster.topology.type, cluster.topology.replica_set) for cluster in observed.clusters()
    }:
        yield Observation(1, {TOPOLOGY_TYPE: topology_type, **replica_set_attributes(replica_set)})


def server_counts(observed: Observed) -> Iterator[Observation]:
    """Yield the number of servers of each type; one that several clients see counts once."""
    servers = {
        (address, server.type)
        for cluster in observed.clusters()
        for address, server in cluster.topology.servers.items()
    }
    for server_type, number in Counter(server_type for _, server_type in servers).items():
        yield Observation(number, {SERVER_TYPE: server_type})


def writable(observed: Observed) -> Iterator[Observation]:
    """Yield 1 for a writable replica set, 0 if some client finds no writable server."""
    return _each_replica_set(
        (cluster.topology.replica_set, cluster.topology.is_writable)
        for cluster in observed.clusters()
        if _is_there_to_write(cluster)
    )


def _is_there_to_write(cluster: ObservedCluster) -> bool:
    """Whether a client is meant to write: not if it is connected directly to a read-only server."""
    if cluster.topology.type != SINGLE:
        return True
    seen = set().union(*(cluster.types_seen.get(each, ()) for each in cluster.topology.servers))
    known = seen - {UNKNOWN}
    return not known or not known <= READ_ONLY_TYPES


def readable(observed: Observed) -> Iterator[Observation]:
    """Yield 1 for a readable replica set, 0 if some client finds no readable server."""
    return _each_replica_set(
        (cluster.topology.replica_set, cluster.topology.is_readable)
        for cluster in observed.clusters()
    )


def _each_replica_set(found: Iterable[tuple[str | None, bool]]) -> Iterator[Observation]:
    worst: dict[str | None, bool] = {}
    for replica_set, is_well in found:
        worst[replica_set] = is_well and worst.get(replica_set, True)
    for replica_set, is_well in worst.items():
        yield Observation(int(is_well), replica_set_attributes(replica_set))


def instances(observed: Observed) -> Iterator[Observation]:
    """Yield the number of clients that are not closed."""
    clusters = observed.clusters_even_closed()
    yield Observation(sum(not (each.is_inherited or each.is_closed) for each in clusters))
