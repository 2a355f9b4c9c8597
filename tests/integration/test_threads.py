"""Many threads with one client: nothing is lost, nothing is counted twice, nothing is left."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from pymongo.errors import ConnectionFailure, OperationFailure, WaitQueueTimeoutError
from pymongo.monitoring import CommandListener
from threads import THREADS, at_once

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._commands.listener import CommandTelemetry

if TYPE_CHECKING:
    from in_memory import InMemoryTelemetry

pytestmark = pytest.mark.usefixtures("shop", "switching")

ROUNDS = 6


class Sent(CommandListener):
    """How many commands the driver has sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.number = 0

    def started(self, event):
        with self._lock:
            self.number += 1

    def succeeded(self, event):
        pass

    failed = succeeded


def in_flight(client: Any) -> int:
    listeners = client.options.event_listeners
    (commands,) = (each for each in listeners if isinstance(each, CommandTelemetry))
    return len(commands.in_flight)


def connections(telemetry: InMemoryTelemetry) -> dict[str, int]:
    points = telemetry.points("db.client.connection.count")
    points += telemetry.points("db.client.connection.pending_requests")
    return {
        point.attributes.get("db.client.connection.state", "pending"): point.data.value
        for point in points
    }


def idle_in(client: Any) -> int:
    """How many connections are idle, as PyMongo counts them."""
    return sum(len(server.pool.conns) for server in client._topology._servers.values())


def measured(telemetry: InMemoryTelemetry) -> int:
    points = telemetry.points("db.client.operation.duration")
    return sum(point.data.count for point in points)


@pytest.mark.parametrize("max_pool_size", [10, 100])
def test_one_client(telemetry, mongodb_uri, max_pool_size):
    """64 threads' commands are all exported and measured, and the pool is as PyMongo has it."""
    MongoInstrumentor().instrument(**telemetry.providers)
    sent = Sent()
    with pymongo.MongoClient(
        mongodb_uri, maxPoolSize=max_pool_size, event_listeners=[sent]
    ) as client:
        users = client.shop.users
        users.insert_many([{"_id": number} for number in range(30)])

        def work(number: int) -> None:
            for round_ in range(ROUNDS):
                with telemetry.tracer.start_as_current_span("request"):
                    users.insert_one({"thread": number, "round": round_})
                    assert len(list(users.find({"_id": {"$lt": 30}}, batch_size=10))) == 30
                    with contextlib.suppress(OperationFailure):
                        users.find_one({"$no": 1})

        at_once(work)
        assert in_flight(client) == 0
        assert connections(telemetry) == {"used": 0, "pending": 0, "idle": idle_in(client)}

    each = THREADS * ROUNDS
    started, ended = telemetry.started_and_ended
    assert started == ended == len(telemetry.spans)
    # Of each round: an insert, a find with three getMores at most, a find that fails.
    assert len(telemetry.named("insert users")) == each + 1
    assert len(telemetry.named("find users")) == 2 * each
    assert measured(telemetry) == sent.number
    assert sent.number == len(telemetry.commands) + 1  # To end sessions is nobody's trace.
    requests = {span.context.span_id: span.context for span in telemetry.named("request")}
    for span in telemetry.commands[1:]:
        assert span.parent is None or span.parent.span_id in requests
    assert sum(span.parent is None for span in telemetry.commands) == 1


def test_waits_in_vain(telemetry, mongodb_uri):
    """Of 64 threads most find no connection in time; none of them is counted as waiting."""
    MongoInstrumentor().instrument(**telemetry.providers)
    failures: list[type[ConnectionFailure]] = []
    with pymongo.MongoClient(
        mongodb_uri, maxPoolSize=2, waitQueueTimeoutMS=20, retryReads=False
    ) as client:
        client.shop.users.insert_one({})

        def find() -> None:
            try:
                client.shop.users.find_one({"$where": "sleep(20) || true"})
            except ConnectionFailure as error:
                # With PyMongo 4.7 a wait that was too long clears the pool that others wait for.
                failures.append(type(error))

        def work(number: int) -> None:
            for _ in range(ROUNDS):
                find()

        at_once(work)
        assert in_flight(client) == 0
        assert connections(telemetry) == {"used": 0, "pending": 0, "idle": idle_in(client)}

    assert failures
    (time_outs,) = telemetry.points("db.client.connection.timeouts")
    assert time_outs.data.value == failures.count(WaitQueueTimeoutError)
    started, ended = telemetry.started_and_ended
    assert started == ended == len(telemetry.spans)


def test_many_clients(telemetry, mongodb_uri):
    """64 threads with a client each are told apart: by their pools' names, all of one server."""
    MongoInstrumentor().instrument(**telemetry.providers)
    all_there = threading.Barrier(THREADS + 1)
    collected: dict[str, Any] = {}

    def work(_: int) -> None:
        with pymongo.MongoClient(mongodb_uri) as client:
            client.shop.users.insert_one({})
            all_there.wait()
            all_there.wait()

    def collect() -> None:
        all_there.wait()
        collected.update(telemetry.metrics())
        all_there.wait()

    with ThreadPoolExecutor(1) as collector:
        collector.submit(collect)
        at_once(work)

    name = "db.client.connection.pool.name"
    pools = [p.attributes[name] for p in collected["db.client.connection.pending_requests"]]
    assert len(pools) == 1
    idle = [
        p.data.value
        for p in collected["db.client.connection.count"]
        if "idle" in p.attributes.values()
    ]
    assert idle == [THREADS]
    assert telemetry.points("db.client.connection.count") == []
    started, ended = telemetry.started_and_ended
    assert started == ended == len(telemetry.spans)
