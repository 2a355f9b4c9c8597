"""Servers that cannot be reached, and clients to which little or nothing happens."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import local_mongodb
import pymongo
import pytest
from local_mongodb import eventually
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, instrument_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from in_memory import InMemoryTelemetry
    from local_mongodb import Mongod
    from opentelemetry.sdk.trace import ReadableSpan

MILLISECOND = 1_000_000  # In nanoseconds, as the times of spans.
DISCOVERY = "mongodb.topology.discovery"
OUTAGE = "mongodb.topology.outage"
SELECT_SERVER = "select server"
TIMEOUT = 300  # Milliseconds, as long as a client looks for a server.
# In seconds. Where nothing waits for anything this is far from reached, on a busy machine, too.
PATIENCE = 5.0


@pytest.fixture
def nowhere() -> str:
    """The URI of a server that is not there."""
    return f"mongodb://{local_mongodb.HOST}:{local_mongodb.free_port()}"


@pytest.fixture
def many_seeds() -> str:
    """The URI of sixty servers that are not there."""
    ports: set[int] = set()
    while len(ports) < 60:
        ports.add(local_mongodb.free_port())
    return "mongodb://" + ",".join(f"{local_mongodb.HOST}:{port}" for port in ports)


def children(telemetry: InMemoryTelemetry, parent: Any) -> list[ReadableSpan]:
    span_id = parent.get_span_context().span_id
    return [span for span in telemetry.spans if span.parent and span.parent.span_id == span_id]


def event_names(span: ReadableSpan) -> set[str]:
    return {event.name.removeprefix("mongodb.client.") for event in span.events}


def configured(uri: str) -> dict[str, Any]:
    """What is told of the servers that a client is configured with: of many the first five."""
    servers = sorted(uri.removeprefix("mongodb://").split(","))
    if len(servers) > 1:
        return {"server.address": ",".join(servers[:5])}
    return {"server.address": local_mongodb.HOST, "server.port": int(uri.rpartition(":")[2])}


def check_failures(spans: list[ReadableSpan], operations: list[str], uri: str) -> None:
    """Each call that found no server has one span, as an error of its own."""
    assert [dict(span.attributes) for span in spans] == [
        {
            "db.system.name": "mongodb",
            "db.operation.name": operation,
            **configured(uri),
            "error.type": "pymongo.errors.ServerSelectionTimeoutError",
        }
        for operation in operations
    ]
    for span in spans:
        milliseconds = (span.end_time - span.start_time) / MILLISECOND
        assert span.name == SELECT_SERVER
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ServerSelectionTimeoutError"
        assert TIMEOUT <= milliseconds < TIMEOUT + PATIENCE * 1000
        assert event_names(span) <= {"topology.opened", "server.opened", "server.heartbeat.failed"}


def test_no_server(instrumented, nowhere, telemetry):
    """Each call that finds no server is one error, of the caller's, for as long as it looked."""
    with (
        pymongo.MongoClient(nowhere, serverSelectionTimeoutMS=TIMEOUT) as client,
        telemetry.tracer.start_as_current_span("request") as request,
    ):
        with pytest.raises(ServerSelectionTimeoutError):
            client.shop.users.find_one()
        with pytest.raises(ServerSelectionTimeoutError):
            client.shop.users.insert_one({})
        with pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("ping")

    check_failures(children(telemetry, request), ["find", "insert", "ping"], nowhere)
    # One of the three waits was long enough for another heartbeat.
    waits = telemetry.named(SELECT_SERVER)
    assert "server.heartbeat.failed" in set[str]().union(*map(event_names, waits))


@needs_async
async def test_no_server_for_tasks(instrumented, nowhere, telemetry):
    """Each task's call that finds no server is one error, of that task's."""

    async def request(operation: Any) -> list[ReadableSpan]:
        with (
            telemetry.tracer.start_as_current_span("request") as request,
            pytest.raises(ServerSelectionTimeoutError),
        ):
            await operation
        return children(telemetry, request)

    async with pymongo.AsyncMongoClient(nowhere, serverSelectionTimeoutMS=TIMEOUT) as client:
        finds, inserts = await asyncio.gather(
            request(client.shop.users.find_one()), request(client.shop.users.insert_one({}))
        )

    check_failures(finds, ["find"], nowhere)
    check_failures(inserts, ["insert"], nowhere)
    assert telemetry.commands == []


def check_refusal(telemetry: InMemoryTelemetry, request: Any, server: Mongod) -> None:
    """A server that does not accept the credentials is an error, with the server's code."""
    (failed,) = (span for span in children(telemetry, request) if span.kind is SpanKind.CLIENT)
    failures = telemetry.points("mongodb.client.connection.checkout.failures")
    (failure,) = (point for point in failures if point.data.value)
    told = [span.to_json() for span in telemetry.spans]
    told += [str(point.attributes) for points in telemetry.metrics().values() for point in points]

    assert failed.name == "check out connection"
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "AuthenticationFailed"
    pool = {
        "db.system.name": "mongodb",
        "server.address": server.address[0],
        "server.port": server.port,
        "db.client.connection.pool.name": server.host,
    }
    assert dict(failed.attributes) == {
        **pool,
        "db.operation.name": "insert",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "network.peer.address": server.address[0],
        "network.peer.port": server.port,
        "error.type": "18",
        "db.response.status_code": "18",
    }
    assert failure.attributes == {**pool, "error.type": "18"}
    assert failure.data.value == 1
    # Not of the digits alone, which may be those of a span's ID.
    assert [text for text in told if "u4711" in text or "p4711" in text] == []


def test_wrong_credentials(instrumented, with_auth, telemetry):
    """Wrong credentials are an error that tells the server's code and nothing of them."""
    with (
        pymongo.MongoClient(*with_auth.address, username="u4711", password="p4711") as client,
        telemetry.tracer.start_as_current_span("request") as request,
        pytest.raises(OperationFailure),
    ):
        client.shop.users.insert_one({})

    check_refusal(telemetry, request, with_auth)


@needs_async
async def test_wrong_credentials_of_a_task(instrumented, with_auth, telemetry):
    """Wrong credentials are an error that tells the server's code and nothing of them."""
    async with pymongo.AsyncMongoClient(
        *with_auth.address, username="u4711", password="p4711"
    ) as client:
        with (
            telemetry.tracer.start_as_current_span("request") as request,
            pytest.raises(OperationFailure),
        ):
            await client.shop.users.insert_one({})

    check_refusal(telemetry, request, with_auth)


def test_many_seeds(instrumented, many_seeds, telemetry):
    """A client with sixty servers that are not there gives up in time."""
    began = time.monotonic()
    with pymongo.MongoClient(many_seeds, serverSelectionTimeoutMS=TIMEOUT) as client:
        assert time.monotonic() - began < PATIENCE
        with (
            telemetry.tracer.start_as_current_span("request") as request,
            pytest.raises(ServerSelectionTimeoutError),
        ):
            client.shop.users.find_one()

    check_failures(children(telemetry, request), ["find"], many_seeds)
    assert time.monotonic() - began < 2 * PATIENCE


@needs_async
async def test_many_seeds_of_a_task(instrumented, many_seeds, telemetry):
    """An asyncio client with sixty servers that are not there gives up in time; others go on."""
    ticks = [time.monotonic()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            ticks.append(time.monotonic())

    ticking = asyncio.create_task(tick())
    async with pymongo.AsyncMongoClient(many_seeds, serverSelectionTimeoutMS=TIMEOUT) as client:
        with (
            telemetry.tracer.start_as_current_span("request") as request,
            pytest.raises(ServerSelectionTimeoutError),
        ):
            await client.shop.users.find_one()
    ticking.cancel()
    ticks.append(time.monotonic())

    check_failures(children(telemetry, request), ["find"], many_seeds)
    assert max(after - before for before, after in pairwise(ticks)) < PATIENCE


@needs_async
def test_a_client_of_a_module(instrumented, standalone, telemetry):
    """An asyncio client may be made where there is no event loop yet."""
    client = pymongo.AsyncMongoClient(standalone.uri)

    async def use() -> None:
        async with client:
            await client.admin.command("ping")

    asyncio.run(use())

    assert telemetry.command.name == "ping admin"
    assert len(telemetry.named(DISCOVERY)) == 1


def go_and_return(server: Mongod, telemetry: InMemoryTelemetry) -> None:
    """Stop a server until that is noticed, and start it again until that is."""
    server.stop()
    try:
        eventually(lambda: writable(telemetry) == 0, "the outage")
    finally:
        server.start()
    eventually(lambda: writable(telemetry) == 1, "the outage's end")


def writable(telemetry: InMemoryTelemetry) -> int | None:
    points = telemetry.points("mongodb.client.topology.writable")
    return points[0].data.value if points else None


@needs_async
async def test_a_strangers_context(instrumented, standalone, telemetry):
    """A client that was first used in some request tells that request's trace nothing of others.

    An asyncio client's monitors are tasks that its first use has started, and in its context.
    """
    async with pymongo.AsyncMongoClient(standalone.uri, heartbeatFrequencyMS=500) as client:
        with telemetry.tracer.start_as_current_span("first request") as first:
            await client.admin.command("ping")
            telemetry.forget()
            await asyncio.to_thread(go_and_return, standalone, telemetry)
        with telemetry.tracer.start_as_current_span("second request") as second:
            await client.admin.command("ping")

    assert first.events == second.events == ()
    (outage,) = telemetry.named(OUTAGE)
    assert outage.parent is None
    assert outage.links == ()
    first_trace = first.get_span_context().trace_id
    assert [s.name for s in telemetry.spans if s.context.trace_id == first_trace] == [
        "first request"
    ]
    heartbeats = telemetry.points("mongodb.client.server.heartbeat.duration")
    exemplars = [exemplar for point in heartbeats for exemplar in point.data.exemplars]
    assert [exemplar for exemplar in exemplars if exemplar.trace_id] == []


class Records(LogRecordProcessor):
    """The log records so far."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def on_emit(self, log_record: Any) -> None:
        self.all.append(log_record.log_record)

    def emit(self, log_data: Any) -> None:
        """As `on_emit` was called once."""
        self.on_emit(log_data)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def logger_provider(records) -> Iterator[LoggerProvider]:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(records)
    yield provider
    provider.shutdown()


@pytest.fixture
def live(standalone, telemetry, logger_provider, caplog) -> Callable[[str], Awaitable[None]]:
    """Let a client, in someone's trace, see its server go and return."""
    caplog.set_level("INFO", "otel_mongo_apm.cluster")

    async def live(events: str) -> None:
        MongoInstrumentor().instrument(
            **telemetry.providers, logger_provider=logger_provider, events=events
        )
        with telemetry.tracer.start_as_current_span("request"):
            async with pymongo.AsyncMongoClient(standalone.uri, heartbeatFrequencyMS=500) as client:
                await client.admin.command("ping")
                await asyncio.to_thread(go_and_return, standalone, telemetry)

    return live


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    logged = [record for record in caplog.records if record.name == "otel_mongo_apm.cluster"]
    return [(record.levelname, record.getMessage()) for record in logged]


@needs_async
@pytest.mark.parametrize(
    ("events", "in_spans", "as_records", "as_lines"),
    [
        ("span", True, False, True),
        ("logs", False, True, True),
        ("both", True, True, True),
        ("none", False, False, False),
    ],
)
async def test_where_events_are_told(
    live, telemetry, records, caplog, events, in_spans, as_records, as_lines
):
    """Events are told in spans, as log records, as plain lines, or not at all."""
    await live(events)

    cluster_spans = [span.name for span in telemetry.spans if span.name.startswith("mongodb.")]
    assert cluster_spans == ([DISCOVERY, OUTAGE] if in_spans else [])
    assert any(span.events for span in telemetry.spans) == in_spans
    assert bool(records.all) == as_records
    assert bool(lines(caplog)) == as_lines


@needs_async
async def test_events_as_logs(live, records, standalone, caplog):
    """As logs, events have names, severities and no stranger's trace; plain lines say the same."""
    await live("logs")

    severities: dict[str, set[str]] = {}
    for record in records.all:
        name = record.event_name.removeprefix("mongodb.client.")
        severities.setdefault(name, set()).add(record.severity_number.name)
        assert record.severity_text == record.severity_number.name
        assert record.timestamp
        assert not record.trace_id
        assert not record.span_id
    assert severities == {
        "topology.opened": {"INFO"},
        "topology.closed": {"INFO"},
        "server.opened": {"INFO"},
        "server.description_changed": {"INFO"},
        "topology.description_changed": {"INFO", "WARN"},
        "server.heartbeat.failed": {"WARN"},
        "connection.pool.cleared": {"WARN"},
    }
    bodies = [each.body for each in records.all]
    assert {text for _, text in lines(caplog)} <= set(bodies)
    lost = f"Topology {standalone.host}: Single, no usable server"
    assert ("WARNING", lost) in lines(caplog)
    (record,) = (each for each in records.all if each.body == lost)
    assert record.event_name == "mongodb.client.topology.description_changed"
    assert dict(record.attributes) == {
        "mongodb.client.topology.type": "single",
        "mongodb.client.topology.previous_type": "single",
        "mongodb.client.topology.writable": False,
        "mongodb.client.topology.readable": False,
    }


def test_the_last_event(instrumented, standalone, caplog):
    """That a client was closed is told, too."""
    caplog.set_level("INFO", "otel_mongo_apm.cluster")
    with pymongo.MongoClient(standalone.uri) as client:
        client.admin.command("ping")

    last = ("INFO", f"Topology {standalone.host}: closed")
    eventually(lambda: last in lines(caplog), "the last event")


@needs_async
async def test_the_last_event_of_an_asyncio_client(instrumented, standalone, caplog):
    """That an asyncio client was closed is told, too."""
    caplog.set_level("INFO", "otel_mongo_apm.cluster")
    async with pymongo.AsyncMongoClient(standalone.uri) as client:
        await client.admin.command("ping")
        await asyncio.sleep(0.1)  # So that no heartbeat is under way.

    last = ("INFO", f"Topology {standalone.host}: closed")
    eventually(lambda: last in lines(caplog), "the last event")


def test_a_client_that_is_closed(instrumented, standalone, telemetry):
    """To close a client is no outage, and does not take long."""
    seconds = []
    for number in range(1, 6):
        client = pymongo.MongoClient(standalone.uri)
        eventually(
            lambda expected=number: len(telemetry.named(DISCOVERY)) == expected, "the server"
        )
        began = time.monotonic()
        client.close()
        seconds.append(time.monotonic() - began)

    assert min(seconds) < 0.3
    assert [span.name for span in telemetry.spans] == [DISCOVERY] * 5
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.UNSET}
    assert telemetry.points("mongodb.client.topology.outage.duration") == []
    assert telemetry.points("mongodb.client.topology.writable") == []


@needs_async
async def test_an_asyncio_client_that_is_closed(instrumented, standalone, telemetry):
    """To close an asyncio client is no outage, and does not take long."""
    seconds = []
    for _ in range(5):
        client = pymongo.AsyncMongoClient(standalone.uri)
        await client.admin.command("ping")
        began = time.monotonic()
        await client.close()
        seconds.append(time.monotonic() - began)

    assert min(seconds) < 0.3
    assert telemetry.named(OUTAGE) == []
    assert len(telemetry.named(DISCOVERY)) == 5
    assert telemetry.points("mongodb.client.topology.writable") == []


def test_a_client_that_has_found_nothing(instrumented, nowhere, telemetry):
    """A client that is closed before it has found a server tells of its vain discovery."""
    with pymongo.MongoClient(nowhere):
        eventually(
            lambda: telemetry.points("mongodb.client.server.heartbeat.duration"), "a heartbeat"
        )
        time.sleep(0.1)  # So that it is over.

    assert telemetry.span.name == DISCOVERY
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description == "No usable server until the client was closed"
    assert "server.heartbeat.failed" in event_names(telemetry.span)


def test_the_wrong_replica_set(instrumented, standalone, telemetry, caplog):
    """A server that PyMongo drops, as it is of no such replica set, does not close the client."""
    caplog.set_level("DEBUG", "otel_mongo_apm.cluster")
    client = pymongo.MongoClient(
        standalone.host, replicaSet="another", serverSelectionTimeoutMS=TIMEOUT
    )
    with client, pytest.raises(ServerSelectionTimeoutError):
        client.shop.users.find_one()

    eventually(lambda: telemetry.named(DISCOVERY), "the discovery")
    (discovery,) = telemetry.named(DISCOVERY)
    assert discovery.end_time - discovery.start_time >= TIMEOUT * MILLISECOND
    assert [record.message for record in caplog.records] == [
        "Topology another: opened",
        f"Server {standalone.host} of another: added",
        "Topology another: Unknown -> ReplicaSetNoPrimary, no usable server",
        f"Server {standalone.host} of another: removed",
        "Topology another: closed",
    ]


@pytest.mark.parametrize("is_existing", [False, True])
def test_uninstrumented_too_early(nowhere, telemetry, is_existing):
    """A discovery that goes on when `uninstrument()` is called ends there, and that is told."""
    if is_existing:
        client = pymongo.MongoClient(nowhere, connect=False)
        instrument_client(client, **telemetry.providers)
    else:
        MongoInstrumentor().instrument(**telemetry.providers)
        client = pymongo.MongoClient(nowhere, serverSelectionTimeoutMS=TIMEOUT)
    with client, pymongo.timeout(TIMEOUT / 1000):
        with pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("ping")
        MongoInstrumentor().uninstrument()

    (discovery,) = telemetry.named(DISCOVERY)
    assert discovery.status.description == "No usable server until it was uninstrumented"
    assert "server.heartbeat.failed" in event_names(discovery)
