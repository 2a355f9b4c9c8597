"""One client's listeners, called by many threads that are switched as often as possible."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from events import ADDRESS, failed, started, succeeded
from pymongo.monitoring import (
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolCreatedEvent,
    ServerHeartbeatStartedEvent,
)
from threads import THREADS, at_once

from otel_mongo_apm import Settings
from otel_mongo_apm._commands import cursors, in_flight
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._setup.client import ClientTelemetry

if TYPE_CHECKING:
    from in_memory import InMemoryTelemetry

pytestmark = pytest.mark.usefixtures("switching")

ROUNDS = 50
FIND = {"find": "users", "filter": {}, "$db": "shop"}
DURATION = "db.client.operation.duration"


@pytest.fixture
def client(telemetry: InMemoryTelemetry) -> ClientTelemetry:
    settings = Settings(**telemetry.providers, wait_span_threshold=10)
    return ClientTelemetry(Telemetry(settings), ClientReference())


def cursor(identifier: int, batch: str = "firstBatch") -> dict[str, object]:
    return {"cursor": {"id": identifier, "ns": "shop.users", batch: [{}]}, "ok": 1.0}


def counted(telemetry: InMemoryTelemetry) -> Counter[str]:
    """How many commands were measured, by name and error."""
    counts: Counter[str] = Counter()
    for point in telemetry.points(DURATION):
        error = point.attributes.get("error.type", "")
        counts[f"{point.attributes['db.operation.name']}{error}"] += point.data.count
    return counts


def test_commands(client, telemetry):
    """Of 64 threads' commands none is lost or counted twice, even if all have one request ID."""
    commands = client.command_listener()

    def work(number: int) -> None:
        for round_ in range(1, ROUNDS + 1):
            identifier = number * ROUNDS + round_
            commands.started(started(FIND))
            commands.succeeded(succeeded("find", cursor(identifier)))
            commands.started(started({"getMore": identifier, "collection": "users"}))
            commands.succeeded(succeeded("getMore", cursor(0, "nextBatch")))
            commands.started(started({"count": "users"}))
            commands.failed(failed("count", {"code": 2}))

    at_once(work)

    each = THREADS * ROUNDS
    assert len(client.in_flight) == 0
    assert len(commands._cursors) == 0
    assert telemetry.started_and_ended == (3 * each, 3 * each)
    assert Counter(span.name for span in telemetry.spans) == {
        "find users": each,
        "getMore users": each,
        "count users": each,
    }
    assert counted(telemetry) == {"find": each, "getMore": each, "count2": each}
    opened_by = {s.context.span_id: s.context.trace_id for s in telemetry.named("find users")}
    links = [link.context for span in telemetry.named("getMore users") for link in span.links]
    assert {link.span_id: link.trace_id for link in links} == opened_by
    assert len(links) == each


def test_bounds(client, telemetry, monkeypatch):
    """However many threads fill the tables, those stay bounded, and what they lose has ended."""
    monkeypatch.setattr(in_flight, "MAX_OPEN", 20)
    monkeypatch.setattr(cursors, "MAX_CURSORS", 20)
    commands = client.command_listener()

    def work(number: int) -> None:
        for round_ in range(ROUNDS):
            commands.started(started(FIND))
            if round_ % 2:
                commands.succeeded(succeeded("find", cursor(number * ROUNDS + round_)))

    at_once(work)

    # Threads that find one place free may all take it; later ones then make no new room.
    assert len(client.in_flight) <= 20 + THREADS
    assert len(commands._cursors) <= 20 + THREADS
    begun, ended = telemetry.started_and_ended
    assert begun == THREADS * ROUNDS
    assert begun - ended == len(client.in_flight)


def test_connections_closed_by_others(client, telemetry):
    """A command that is ended by its thread and by who closes its connection has ended once."""
    commands = client.command_listener()
    pools = client.pool_listener(commands)

    def work(number: int) -> None:
        for round_ in range(ROUNDS):
            mine = number * ROUNDS + round_
            others = (mine + 7) % (THREADS * ROUNDS)
            pools.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, mine, 0.0))
            commands.started(started(FIND))
            pools.connection_closed(ConnectionClosedEvent(ADDRESS, others, "stale"))
            commands.succeeded(succeeded("find"))
            pools.connection_checked_in(ConnectionCheckedInEvent(ADDRESS, mine))

    at_once(work)

    each = THREADS * ROUNDS
    assert len(client.in_flight) == 0
    assert telemetry.started_and_ended == (each, each)
    assert sum(counted(telemetry).values()) == each
    assert client.pools[ADDRESS].used == {}


def test_pools(client, telemetry):
    """Connections are counted right, through waits, clears and closes that are told twice."""
    pools = client.pool_listener()
    pools.pool_created(PoolCreatedEvent(ADDRESS, {}))

    def work(number: int) -> None:
        for round_ in range(ROUNDS):
            connection = number * ROUNDS + round_
            pools.connection_check_out_started(ConnectionCheckOutStartedEvent(ADDRESS))
            pools.connection_ready(ConnectionReadyEvent(ADDRESS, connection, 0.001))
            pools.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, connection, 0.001))
            if not round_ % 10:
                pools.pool_cleared(PoolClearedEvent(ADDRESS))
            pools.connection_checked_in(ConnectionCheckedInEvent(ADDRESS, connection))
            if round_ % 2:
                pools.connection_closed(ConnectionClosedEvent(ADDRESS, connection, "stale"))
                pools.connection_closed(ConnectionClosedEvent(ADDRESS, connection, "stale"))

    at_once(work)

    each = THREADS * ROUNDS
    pool = client.pools[ADDRESS]
    assert (len(pool.connections), pool.used, pool.pending) == (each // 2, {}, {})
    metrics = telemetry.metrics()
    assert metrics["db.client.connection.create_time"][0].data.count == each
    assert metrics["db.client.connection.wait_time"][0].data.count == each
    assert metrics["mongodb.client.connection.closes"][0].data.value == each // 2
    assert metrics["mongodb.client.connection.pool.clears"][0].data.value == each // 10


def test_a_pool_that_all_make(client):
    """Whichever thread is the first to tell of a pool, all count in the same one."""

    def work(number: int) -> None:
        for port in range(ROUNDS):
            address = ("db.example", port)
            client.pools[address].connections.add(number)

    at_once(work)

    assert [len(pool.connections) for pool in client.pools.values()] == [THREADS] * ROUNDS


def test_collection_meanwhile(client, telemetry):
    """What is collected while threads come and go is whole: no exception, and no negative count."""
    pools = client.pool_listener()
    pools.pool_created(PoolCreatedEvent(ADDRESS, {}))
    found: list[int] = []

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            if number:
                pools.connection_check_out_started(ConnectionCheckOutStartedEvent(ADDRESS))
                pools.connection_ready(ConnectionReadyEvent(ADDRESS, number, 0.001))
                pools.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, number, 0.001))
                pools.connection_checked_in(ConnectionCheckedInEvent(ADDRESS, number))
                pools.connection_closed(ConnectionClosedEvent(ADDRESS, number, "stale"))
            else:
                points = telemetry.points("db.client.connection.count")
                points += telemetry.points("db.client.connection.pending_requests")
                found.extend(point.data.value for point in points)

    at_once(work)

    assert len(found) == 3 * ROUNDS
    assert min(found) >= 0


def test_the_beginning_of_monitoring(client, telemetry):
    """Of all monitors that begin at once one opens the topology."""
    heartbeats = client.heartbeat_listener()

    at_once(lambda _: heartbeats.started(ServerHeartbeatStartedEvent(ADDRESS)))

    opened = [e for e in client.timeline.after(0) if e.name.endswith("topology.opened")]
    assert len(opened) == 1
