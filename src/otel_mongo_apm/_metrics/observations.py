"""What the observable instruments find at collection: the state of the clients that are alive."""

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

# Several clients may have pools of one name or the same cluster in sight, and each series has one
# value: what follows brings together what they have or see, and then tells it.


def _added_up(numbers: Iterable[tuple[Attributes, int]]) -> Iterator[Observation]:
    """The sum of all numbers that have the same attributes."""
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
    """What pools may have; where one has no limit there is none."""
    pools = list(observed.pools())
    unlimited = [pool.attributes for pool in pools if not pool.max_size]
    limited = (pool for pool in pools if pool.attributes not in unlimited)
    return _added_up((pool.attributes, pool.max_size) for pool in limited)


def connection_minima(observed: Observed) -> Iterator[Observation]:
    """What pools keep."""
    return _added_up((pool.attributes, pool.min_size) for pool in observed.pools())


def pending_requests(observed: Observed) -> Iterator[Observation]:
    """How many callers wait for a connection."""
    pools = list(observed.pools())
    for pool in pools:
        pool.drop_the_silent()
    return _added_up((pool.attributes, len(pool.pending)) for pool in pools)


def server_status(observed: Observed) -> Iterator[Observation]:
    """1 for the type that a server has to some client, 0 for one that it had."""
    status: dict[tuple[Address, str], int] = {}
    for cluster in observed.clusters():
        for address, server in cluster.topology.servers.items():
            for server_type in list(cluster.types_seen.get(address, ())):
                status.setdefault((address, server_type), 0)
            status[address, server.type] = 1
    for (address, server_type), value in status.items():
        yield Observation(value, {**server_attributes(address), SERVER_TYPE: server_type})


def round_trip_times(observed: Observed) -> Iterator[Observation]:
    """The round-trip time of each server that is known, on average of the clients."""
    times: defaultdict[Address, list[float]] = defaultdict(list)
    for address, description in observed.server_descriptions():
        if description.round_trip_time is not None:
            times[address].append(description.round_trip_time)
    for address, seconds in times.items():
        yield Observation(sum(seconds) / len(seconds), server_attributes(address))


def topology_status(observed: Observed) -> Iterator[Observation]:
    """1 for each type that a topology has."""
    for topology_type, replica_set in {
        (cluster.topology.type, cluster.topology.replica_set) for cluster in observed.clusters()
    }:
        yield Observation(1, {TOPOLOGY_TYPE: topology_type, **replica_set_attributes(replica_set)})


def server_counts(observed: Observed) -> Iterator[Observation]:
    """How many servers there are of each type; one in sight of several clients counts once."""
    servers = {
        (address, server.type)
        for cluster in observed.clusters()
        for address, server in cluster.topology.servers.items()
    }
    for server_type, number in Counter(server_type for _, server_type in servers).items():
        yield Observation(number, {SERVER_TYPE: server_type})


def writable(observed: Observed) -> Iterator[Observation]:
    """1 for a replica set that can be written to, 0 if some client finds that it cannot."""
    return _each_replica_set(
        (cluster.topology.replica_set, cluster.topology.is_writable)
        for cluster in observed.clusters()
        if _is_there_to_write(cluster)
    )


def _is_there_to_write(cluster: ObservedCluster) -> bool:
    """Whether a client is not connected directly to a server that never was one to write to."""
    if cluster.topology.type != SINGLE:
        return True
    seen = set().union(*(cluster.types_seen.get(each, ()) for each in cluster.topology.servers))
    known = seen - {UNKNOWN}
    return not known or not known <= READ_ONLY_TYPES


def readable(observed: Observed) -> Iterator[Observation]:
    """1 for a replica set that can be read from, 0 if some client finds that it cannot."""
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
    """How many clients there are that were not closed."""
    clusters = observed.clusters_even_closed()
    yield Observation(sum(not (each.is_inherited or each.is_closed) for each in clusters))
