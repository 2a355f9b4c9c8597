"""Connection pools of real clients: waits, counts, times and failures."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import local_mongodb
import pymongo
import pytest
from bson.codec_options import CodecOptions
from local_mongodb import eventually
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.encryption import Algorithm, ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts
from pymongo.errors import PyMongoError, WaitQueueTimeoutError
from pymongo.monitoring import ConnectionPoolListener
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from in_memory import InMemoryTelemetry
    from local_mongodb import Mongod

SECOND = 1_000_000_000  # In nanoseconds, as the times of spans.
MILLISECOND = SECOND // 1000
CHECK_OUT = "check out connection"
# By this name mongod knows which connections and commands are the test's.
APPLICATION = "pools"
POOL_NAME = "db.client.connection.pool.name"
FIND = {
    "db.operation.name": "find",
    "db.namespace": "shop",
    "db.collection.name": "users",
}
STATE = "db.client.connection.state"
HOLD = 0.2
THRESHOLD = 0.01


@contextlib.contextmanager
def fail_point(server: Mongod, mode: Any = "alwaysOn", **behaviour: Any) -> Iterator[None]:
    """Let the commands of `APPLICATION` be slow or fail."""
    server.command(
        "configureFailPoint", "failCommand", mode=mode, data={"appName": APPLICATION, **behaviour}
    )
    try:
        yield
    finally:
        server.command("configureFailPoint", "failCommand", mode="off")


@pytest.fixture
def server(standalone, unseen_control) -> Mongod:
    """A server; the clients that control it are kept out of the test's telemetry."""
    return standalone


@contextlib.contextmanager
def slow_finds(server: Mongod, seconds: float = HOLD) -> Iterator[None]:
    """Let each `find` hold its connection for a while."""
    with fail_point(
        server, failCommands=["find"], blockConnection=True, blockTimeMS=round(seconds * 1000)
    ):
        yield


class CheckOuts(ConnectionPoolListener):
    """What the driver says of the checkouts of each trace: how long, and until when."""

    def __init__(self) -> None:
        self.ended: dict[int, tuple[float, int]] = {}

    def connection_checked_out(self, event):
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            self.ended[span.trace_id] = (event.duration, time.time_ns())

    def connection_check_out_failed(self, event):
        self.connection_checked_out(event)

    def _ignore(self, event):
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = _ignore
    connection_created = connection_ready = connection_closed = _ignore
    connection_check_out_started = connection_checked_in = _ignore


def pool_of(client: Any) -> Any:
    """PyMongo's own pool of a client with one server."""
    (server,) = client._topology._servers.values()
    return server.pool


def sockets_of(client: Any) -> int:
    pool = pool_of(client)
    return len(pool.conns) + pool.active_sockets


def connections_at(server: Mongod) -> int:
    """How many connections of `APPLICATION` mongod has, without the one of its monitor."""
    stages = [
        {"$currentOp": {"allUsers": True, "idleConnections": True}},
        {"$match": {"appName": APPLICATION, "connectionId": {"$exists": True}}},
        {"$group": {"_id": "$connectionId"}},
    ]
    reply = server.command("aggregate", pipeline=stages, cursor={})
    return len(reply["cursor"]["firstBatch"]) - 1


def counts(telemetry: InMemoryTelemetry, pool_name: str) -> dict[str, int]:
    """The connections of a pool by their state, and how many wait for one."""
    found = {
        point.attributes[STATE]: point.data.value
        for point in telemetry.points("db.client.connection.count")
        if point.attributes[POOL_NAME] == pool_name
    }
    for point in telemetry.points("db.client.connection.pending_requests"):
        if point.attributes[POOL_NAME] == pool_name:
            found["pending"] = point.data.value
    return found


def pool_names(telemetry: InMemoryTelemetry) -> set[str]:
    return {p.attributes[POOL_NAME] for p in telemetry.points("db.client.connection.count")}


def closes(telemetry: InMemoryTelemetry) -> dict[str, int]:
    """How many connections were closed for which reason."""
    return {
        point.attributes["mongodb.client.connection.close.reason"]: point.data.value
        for point in telemetry.points("mongodb.client.connection.closes")
        if point.data.value
    }


def pool_name(server: Mongod) -> str:
    """The name of a pool of `APPLICATION`."""
    return f"{server.host}/{APPLICATION}"


def pool_attributes(server: Mongod, name: str | None = None) -> dict[str, Any]:
    """What is told of a pool of a client that is configured with one server."""
    return {
        "db.system.name": "mongodb",
        "server.address": server.address[0],
        "server.port": server.port,
        POOL_NAME: name or pool_name(server),
    }


def peer(server: Mongod) -> dict[str, Any]:
    """What is told of a server that was contacted."""
    return {"network.peer.address": server.address[0], "network.peer.port": server.port}


def check_waits(telemetry: InMemoryTelemetry, check_outs: CheckOuts, server: Mongod) -> None:
    """Who has waited has a span of the wait, as long as the driver says it was."""
    requests = {s.context.trace_id: s.context for s in telemetry.spans if s.name == "request"}
    waits = {span.context.trace_id: span for span in telemetry.named(CHECK_OUT) if span.parent}
    seconds = {trace_id: duration for trace_id, (duration, _) in check_outs.ended.items()}

    assert len(requests) == 5
    assert sum(each > HOLD / 2 for each in seconds.values()) == 4
    assert waits.keys() == {trace_id for trace_id, each in seconds.items() if each >= THRESHOLD}
    for trace_id, span in waits.items():
        length = span.end_time - span.start_time
        assert length == pytest.approx(seconds[trace_id] * SECOND, abs=5 * MILLISECOND)
        until = check_outs.ended[trace_id][1]
        assert span.end_time == pytest.approx(until, abs=100 * MILLISECOND)
        assert span.parent.span_id == requests[trace_id].span_id
        assert span.kind is SpanKind.INTERNAL
        assert span.status.status_code is StatusCode.UNSET
        assert dict(span.attributes) == {
            **pool_attributes(server),
            **peer(server),
            **FIND,
            "mongodb.client.connection.created": False,
        }


def test_threads_that_wait(instrumented, server, telemetry):
    """Of five threads with one connection, four have a span of their wait, truly timed."""
    check_outs, line = CheckOuts(), threading.Barrier(5)

    def request(_: int) -> None:
        line.wait()
        with telemetry.tracer.start_as_current_span("request"):
            client.shop.users.find_one()

    with (
        pymongo.MongoClient(
            server.uri, maxPoolSize=1, appname=APPLICATION, event_listeners=[check_outs]
        ) as client,
        slow_finds(server),
        ThreadPoolExecutor(5) as threads,
    ):
        client.admin.command("ping")
        list(threads.map(request, range(5)))

    check_waits(telemetry, check_outs, server)


@needs_async
async def test_tasks_that_wait(instrumented, server, telemetry):
    """Of five tasks with one connection, four have a span of their wait, truly timed."""
    check_outs = CheckOuts()

    async def request() -> None:
        with telemetry.tracer.start_as_current_span("request"):
            await client.shop.users.find_one()

    async with pymongo.AsyncMongoClient(
        server.uri, maxPoolSize=1, appname=APPLICATION, event_listeners=[check_outs]
    ) as client:
        await client.admin.command("ping")
        with slow_finds(server):
            await asyncio.gather(*(request() for _ in range(5)))

    check_waits(telemetry, check_outs, server)


def test_no_threshold(server, telemetry):
    """With a threshold of nothing every wait has a span."""
    MongoInstrumentor().instrument(**telemetry.providers, wait_span_threshold=0)
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")
        with telemetry.tracer.start_as_current_span("request") as request:
            client.admin.command("ping")

    inside = [s for s in telemetry.spans if s.parent == request.get_span_context()]
    assert [span.name for span in inside] == ["select server", CHECK_OUT, "ping admin"]


WHAT = ("db.operation.name", "db.namespace", "db.collection.name")
CREATED = "mongodb.client.connection.created"


def check_outs_of(telemetry: InMemoryTelemetry) -> list[tuple[object, ...]]:
    """For which operation each connection was checked out, and whether it was created."""
    return [
        (*map(span.attributes.get, WHAT), span.attributes[CREATED])
        for span in telemetry.named(CHECK_OUT)
        if "db.namespace" in span.attributes
    ]


KNOWN = [
    ("insert", "shop", "users", True),
    ("find", "shop", "users", False),
    ("aggregate", "shop", "users", False),
    ("distinct", "shop", "users", False),
    ("update", "shop", "users", False),
]


def test_what_a_connection_is_for(server, telemetry):
    """A check out says for which operation it is, on what, and whether it created a connection."""
    MongoInstrumentor().instrument(**telemetry.providers, wait_span_threshold=0)
    with pymongo.MongoClient(server.uri, maxPoolSize=1) as client:
        users = client.shop.users
        users.insert_one({})
        users.find_one()
        list(users.aggregate([]))
        users.distinct("name")
        users.update_one({}, {"$set": {"name": 1}})

    assert check_outs_of(telemetry) == KNOWN


@needs_async
async def test_what_an_asynchronous_connection_is_for(server, telemetry):
    """The same is said of an AsyncMongoClient's."""
    MongoInstrumentor().instrument(**telemetry.providers, wait_span_threshold=0)
    async with pymongo.AsyncMongoClient(server.uri, maxPoolSize=1) as client:
        users = client.shop.users
        await users.insert_one({})
        await users.find_one()
        await (await users.aggregate([])).to_list()
        await users.distinct("name")
        await users.update_one({}, {"$set": {"name": 1}})

    assert check_outs_of(telemetry) == KNOWN


def check_time_out(telemetry: InMemoryTelemetry, server: Mongod) -> None:
    """A wait that was too long is an error of the caller's, and it counts."""
    error_type = "pymongo.errors.WaitQueueTimeoutError"
    (failed,) = (s for s in telemetry.named(CHECK_OUT) if s.status.status_code is StatusCode.ERROR)
    (request,) = telemetry.named("request")
    (time_out,) = telemetry.points("db.client.connection.timeouts")
    failures = telemetry.points("mongodb.client.connection.checkout.failures")
    (failure,) = (point for point in failures if point.data.value)

    assert failed.kind is SpanKind.CLIENT
    assert failed.status.description == "WaitQueueTimeoutError"
    assert failed.parent.span_id == request.context.span_id
    assert failed.end_time - failed.start_time >= 50 * MILLISECOND
    assert dict(failed.attributes) == {
        **pool_attributes(server),
        **peer(server),
        **FIND,
        "error.type": error_type,
    }
    assert time_out.attributes == pool_attributes(server)
    assert time_out.data.value == 1
    assert failure.attributes == {**pool_attributes(server), "error.type": error_type}
    assert failure.data.value == 1


def test_a_thread_that_waits_too_long(instrumented, server, telemetry):
    """`waitQueueTimeoutMS` is an error's span, and counts as a time-out and as a failure."""
    with (
        pymongo.MongoClient(
            server.uri, maxPoolSize=1, waitQueueTimeoutMS=50, appname=APPLICATION, retryReads=False
        ) as client,
        slow_finds(server, 1),
        ThreadPoolExecutor() as threads,
    ):
        client.admin.command("ping")
        holder = threads.submit(client.shop.users.find_one)
        eventually(lambda: counts(telemetry, pool_name(server))["used"], "a connection in use")
        with (
            telemetry.tracer.start_as_current_span("request"),
            pytest.raises(WaitQueueTimeoutError),
        ):
            client.shop.users.find_one()
        holder.result()
        # Older versions of PyMongo clear the pool for that.
        idle = sockets_of(client)
        assert counts(telemetry, pool_name(server)) == {"idle": idle, "used": 0, "pending": 0}

    check_time_out(telemetry, server)


@needs_async
async def test_a_task_that_waits_too_long(instrumented, server, telemetry):
    """`waitQueueTimeoutMS` is an error's span, and counts as a time-out and as a failure."""
    async with pymongo.AsyncMongoClient(
        server.uri, maxPoolSize=1, waitQueueTimeoutMS=50, appname=APPLICATION, retryReads=False
    ) as client:
        await client.admin.command("ping")
        with slow_finds(server, 1):
            holder = asyncio.create_task(client.shop.users.find_one())
            await asyncio.to_thread(
                eventually,
                lambda: counts(telemetry, pool_name(server))["used"],
                "a connection in use",
            )
            with (
                telemetry.tracer.start_as_current_span("request"),
                pytest.raises(WaitQueueTimeoutError),
            ):
                await client.shop.users.find_one()
            await holder
        assert counts(telemetry, pool_name(server)) == {"idle": 1, "used": 0, "pending": 0}

    check_time_out(telemetry, server)


@pytest.mark.alone
def test_counts_in_between(instrumented, server, telemetry):
    """While five threads want three connections, three are used and two threads wait."""
    with (
        pymongo.MongoClient(server.uri, maxPoolSize=3, appname=APPLICATION) as client,
        slow_finds(server, 1),
        ThreadPoolExecutor(5) as threads,
    ):
        finds = [threads.submit(client.shop.users.find_one) for _ in range(5)]
        eventually(
            lambda: counts(telemetry, pool_name(server)) == {"idle": 0, "used": 3, "pending": 2},
            "the threads to use and to wait",
        )
        for find in finds:
            find.result()
        assert counts(telemetry, pool_name(server)) == {"idle": 3, "used": 0, "pending": 0}


def test_counts_after_many_threads(instrumented, server, telemetry):
    """After a run with lost connections, as many are counted as PyMongo and mongod have."""
    with (
        pymongo.MongoClient(
            server.uri, maxPoolSize=5, appname=APPLICATION, serverMonitoringMode="poll"
        ) as client,
        ThreadPoolExecutor(16) as threads,
    ):

        def request(_: int) -> None:
            with contextlib.suppress(PyMongoError):
                client.shop.users.find_one()

        with fail_point(
            server, {"activationProbability": 0.02}, failCommands=["find"], closeConnection=True
        ):
            list(threads.map(request, range(300)))
        list(threads.map(request, range(100)))

        idle = sockets_of(client)
        assert idle > 0
        assert counts(telemetry, pool_name(server)) == {"idle": idle, "used": 0, "pending": 0}
        eventually(lambda: connections_at(server) == idle, "mongod to count the same")


@pytest.mark.alone
@pytest.mark.timeout(120, method="thread")  # PyMongo may lose a lock to a cancellation, for good.
@needs_async
def test_counts_after_many_tasks(instrumented, server, telemetry):
    """After tasks that were cancelled at any point, as many are counted as PyMongo has.

    mongod may have more. PyMongo forgets to close a connection if the point is when that is ready
    and its task has not got it yet; nobody will use it again.
    """
    chance = random.Random(4711)

    async def run() -> None:
        async with pymongo.AsyncMongoClient(
            server.uri, maxPoolSize=5, appname=APPLICATION, serverMonitoringMode="poll"
        ) as client:
            tasks = [asyncio.create_task(client.shop.users.find_one()) for _ in range(60)]
            for task in chance.sample(tasks, 20):
                await asyncio.sleep(chance.random() / 300)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(client.shop.users.find_one() for _ in range(20)))
            counted = counts(telemetry, pool_name(server))
            assert counted == {"idle": sockets_of(client), "used": 0, "pending": 0}
            assert 0 < counted["idle"] <= await asyncio.to_thread(connections_at, server)

    for _ in range(10):
        asyncio.run(run())
        gc.collect()
        eventually(lambda: connections_at(server) == -1, "the connections to be closed")


@needs_async
def test_tasks_that_are_cancelled_while_they_wait(instrumented, server, telemetry):
    """Of a task that is cancelled while it waits PyMongo says no more; it waits no more, either."""

    async def run() -> None:
        async with pymongo.AsyncMongoClient(
            server.uri, maxPoolSize=1, appname=APPLICATION
        ) as client:
            await client.admin.command("ping")
            with slow_finds(server, 1):
                first, *others = (
                    asyncio.create_task(client.shop.users.find_one()) for _ in range(4)
                )
                await asyncio.to_thread(
                    eventually,
                    lambda: (
                        counts(telemetry, pool_name(server)) == {"idle": 0, "used": 1, "pending": 3}
                    ),
                    "the tasks to wait",
                )
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                assert counts(telemetry, pool_name(server)) == {"idle": 0, "used": 1, "pending": 0}
                await first
                assert counts(telemetry, pool_name(server)) == {"idle": 1, "used": 0, "pending": 0}

    asyncio.run(run())


def test_two_clients(instrumented, server, telemetry):
    """Clients of one server are added up, but for those of another application, or closed."""
    with pymongo.MongoClient(server.uri) as first, pymongo.MongoClient(server.uri) as second:
        first.admin.command("ping")
        second.admin.command("ping")
        with pymongo.MongoClient(server.uri, appname="reports") as third:
            third.admin.command("ping")
            assert pool_names(telemetry) == {server.host, f"{server.host}/reports"}
        assert pool_names(telemetry) == {server.host}
        assert counts(telemetry, server.host)["idle"] == 2
        first.close()
        assert counts(telemetry, server.host)["idle"] == 1

    assert pool_names(telemetry) == set()


def test_limits(instrumented, server, telemetry):
    """A pool's limits are observed, where it has one, and what it keeps."""
    with (
        pymongo.MongoClient(
            server.uri, maxPoolSize=7, minPoolSize=2, appname=APPLICATION
        ) as limited,
        pymongo.MongoClient(server.uri, maxPoolSize=None) as unlimited,
    ):
        limited.admin.command("ping")
        unlimited.admin.command("ping")
        eventually(lambda: counts(telemetry, pool_name(server))["idle"] == 2, "two connections")

        def observed(name: str) -> list[tuple[dict[str, str], int]]:
            return [(p.attributes, p.data.value) for p in telemetry.points(name)]

        limited_pool = pool_attributes(server)
        unlimited_pool = pool_attributes(server, server.host)
        assert observed("db.client.connection.limit") == [(limited_pool, 7)]
        assert observed("db.client.connection.idle.min") == [
            (limited_pool, 2),
            (unlimited_pool, 0),
        ]


def test_times(instrumented, server, telemetry):
    """It is measured how long connections take to make, and how long they are waited for."""
    with pymongo.MongoClient(server.uri) as client:
        for _ in range(3):
            client.admin.command("ping")
        (created,) = telemetry.points("db.client.connection.create_time")
        (waited,) = telemetry.points("db.client.connection.wait_time")

    assert created.attributes == waited.attributes == pool_attributes(server, server.host)
    assert created.data.count == 1
    assert waited.data.count == 3
    assert 0 < created.data.sum <= waited.data.sum
    assert telemetry.points("db.client.connection.use_time") == []


def test_time_of_use(server, telemetry):
    """On demand it is measured how long connections are used."""
    MongoInstrumentor().instrument(**telemetry.providers, pool_use_time=True)
    with pymongo.MongoClient(server.uri, appname=APPLICATION) as client, slow_finds(server):
        client.admin.command("ping")
        client.shop.users.find_one()

    (used,) = telemetry.points("db.client.connection.use_time")
    assert used.attributes == pool_attributes(server)
    assert used.data.count == 3  # With the end of the session.
    assert used.data.sum >= HOLD


def test_a_pool_that_is_cleared(instrumented, server, telemetry):
    """A lost connection clears its pool; what becomes of the connections is counted, and why."""
    with pymongo.MongoClient(server.uri, minPoolSize=2, appname=APPLICATION) as client:
        client.admin.command("ping")
        eventually(lambda: counts(telemetry, pool_name(server))["idle"] == 2, "two connections")
        with fail_point(server, {"times": 1}, failCommands=["find"], closeConnection=True):
            client.shop.users.find_one()
        eventually(lambda: closes(telemetry) == {"error": 1, "stale": 1}, "the other to be closed")

        (cleared,) = telemetry.points("mongodb.client.connection.pool.clears")
        assert cleared.attributes == pool_attributes(server)
        assert cleared.data.value == 1
        outage = eventually(lambda: telemetry.named("mongodb.topology.outage"), "the outage")[0]
    (event,) = (e for e in outage.events if e.name == "mongodb.client.connection.pool.cleared")
    assert dict(event.attributes) == {
        "cluster.event": f"Connection pool {pool_name(server)} cleared",
        "server.address": server.address[0],
        "server.port": server.port,
        POOL_NAME: pool_name(server),
    }


def test_reasons_to_close(instrumented, server, telemetry):
    """Connections that were idle for too long are told from those of a client that is closed."""
    with pymongo.MongoClient(server.uri, maxIdleTimeMS=50) as client:
        client.admin.command("ping")
        time.sleep(0.1)
        client.admin.command("ping")

    assert closes(telemetry)["idle"] >= 1
    assert closes(telemetry).keys() <= {"idle", "poolClosed"}


def test_the_client_for_encryption(instrumented, server, telemetry):
    """The client that PyMongo makes to read keys has pools of its own, of the same name."""
    pytest.importorskip("pymongocrypt")
    providers, namespace = {"local": {"key": b"k" * 96}}, "shop.keys"
    algorithm = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
    with (
        local_mongodb.MongoClient(server.uri) as control,
        ClientEncryption(providers, namespace, control, CodecOptions()) as encryption,
    ):
        secret = encryption.encrypt("alice", algorithm, encryption.create_data_key("local"))
        control.shop.secrets.insert_one({"name": secret})
        options = AutoEncryptionOpts(providers, namespace, bypass_auto_encryption=True)
        with pymongo.MongoClient(server.uri, auto_encryption_opts=options) as client:
            assert client.shop.secrets.find_one()["name"] == "alice"
            counts = {
                (point.attributes[POOL_NAME], point.data.value)
                for point in telemetry.points("db.client.connection.count")
                if point.attributes[STATE] == "idle"
            }

    assert counts == {(server.host, 2)}
    assert telemetry.points("db.client.connection.count") == []
