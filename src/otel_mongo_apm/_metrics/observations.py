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

    from otel_mongo_apm._otel.addresses import Address

    from .observed import Observed


def connection_counts(observed: Observed) -> Iterator[Observation]:
    """Idle and used connections of each pool."""
    for pool in observed.pools():
        yield Observation(pool.idle, {**pool.attributes, CONNECTION_STATE: IDLE})
        yield Observation(len(pool.used), {**pool.attributes, CONNECTION_STATE: USED})


def connection_maxima(observed: Observed) -> Iterator[Observation]:
    """What each pool may have; one without a limit is left out."""
    for pool in observed.pools():
        if pool.max_size:
            yield Observation(pool.max_size, pool.attributes)


def connection_minima(observed: Observed) -> Iterator[Observation]:
    """What each pool keeps."""
    for pool in observed.pools():
        yield Observation(pool.min_size, pool.attributes)


def pending_requests(observed: Observed) -> Iterator[Observation]:
    """How many callers wait for each pool."""
    for pool in observed.pools():
        pool.drop_the_silent()
        yield Observation(len(pool.pending), pool.attributes)


# Several clients may have the same cluster in sight, and each series has one value: what follows
# brings together what they see, and then tells it.


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
    )


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
