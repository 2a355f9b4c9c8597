"""What OpenTelemetry or an event of PyMongo's raises, each in turn, and who notices: a log."""

from __future__ import annotations

import functools
import inspect
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import attrgetter
from threading import Event, Timer
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from pymongo import CursorType, monitoring
from pymongo.errors import (
    BulkWriteError,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)
from scripted_server import found, more, refused
from versions import needs_async

import otel_mongo_apm
from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._driver import event_fields
from otel_mongo_apm._otel import shield
from otel_mongo_apm._setup.client import (
    CommandTelemetry,  # Imports all modules that are watched.
    client_telemetry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from in_memory import InMemoryTelemetry
    from scripted_server import ScriptedServer

PACKAGE = otel_mongo_apm.__name__
CONSTRUCTORS = (LogRecord, Observation, trace.Link)


# What fails, in turn.
POINTS = [
    "CommandFailedEvent.duration_micros",
    "CommandFailedEvent.failure",
    "CommandFailedEvent.operation_id",
    "CommandFailedEvent.request_id",
    "CommandStartedEvent.command",
    "CommandStartedEvent.command_name",
    "CommandStartedEvent.connection_id",
    "CommandStartedEvent.database_name",
    "CommandStartedEvent.operation_id",
    "CommandStartedEvent.request_id",
    "CommandSucceededEvent.duration_micros",
    "CommandSucceededEvent.reply",
    "CommandSucceededEvent.request_id",
    "ConnectionCheckOutFailedEvent.address",
    "ConnectionCheckOutFailedEvent.duration",
    "ConnectionCheckOutFailedEvent.reason",
    "ConnectionCheckOutStartedEvent.address",
    "ConnectionCheckedInEvent.address",
    "ConnectionCheckedInEvent.connection_id",
    "ConnectionCheckedOutEvent.address",
    "ConnectionCheckedOutEvent.connection_id",
    "ConnectionCheckedOutEvent.duration",
    "ConnectionClosedEvent.address",
    "ConnectionClosedEvent.connection_id",
    "ConnectionClosedEvent.reason",
    "ConnectionReadyEvent.address",
    "ConnectionReadyEvent.connection_id",
    "ConnectionReadyEvent.duration",
    "Counter.add",
    "Histogram.record",
    "Link",
    "LogRecord",
    "Logger.emit",
    "Observation",
    "PoolClearedEvent.address",
    "PoolClearedEvent.service_id",
    "PoolClosedEvent.address",
    "PoolCreatedEvent.address",
    "PoolCreatedEvent.options",
    "PoolReadyEvent.address",
    "ServerHeartbeatFailedEvent.awaited",
    "ServerHeartbeatFailedEvent.connection_id",
    "ServerHeartbeatFailedEvent.duration",
    "ServerHeartbeatFailedEvent.reply",
    "ServerHeartbeatSucceededEvent.awaited",
    "ServerHeartbeatSucceededEvent.connection_id",
    "ServerHeartbeatSucceededEvent.duration",
    "Span.add_event",
    "Span.end",
    "Span.get_span_context",
    "Span.is_recording",
    "Span.set_attribute",
    "Span.set_status",
    "SpanContext.is_valid",
    "Tracer.start_span",
    "get_current",
    "get_current_span",
    "is_instrumentation_enabled",
    "set_span_in_context",
]

# What operations ask for, and commands only of MongoDB's own convention.
OPERATION_POINTS = [
    "CommandStartedEvent.server_connection_id",
    "Span.set_attributes",
    "get_current",
]
# What an operation's spans have to do with; they have no links whose context might not be valid.
CONCERNED = ("Command", "Span.", "Tracer", "is_instrumentation", "set_span")
BY_CONVENTION = [
    *(("semconv", point) for point in POINTS),
    *(
        ("mongodb", point)
        for point in [*OPERATION_POINTS, *POINTS]
        if point in OPERATION_POINTS or point.startswith(CONCERNED)
    ),
]


EVENTS = [
    value
    for name, value in vars(monitoring).items()
    if name.endswith("Event") and not name.startswith("_")
]
# The properties of events, by what is read in their place.
PROPERTIES = {
    (event, event_fields.slot(event, name) or name): name
    for event in EVENTS
    for name, value in inspect.getmembers(event)
    if isinstance(value, property)
}


class FaultError(Exception):
    """What is raised."""


class Faults:
    """Sees all that the package asks of OpenTelemetry and of events, and lets one of it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: Counter[str] = Counter()
        self.failing: str | None = None
        self._monkeypatch = monkeypatch

    def watch_class(self, cls: type[Any]) -> None:
        """Watch the public methods and properties of a class."""
        for name, value in inspect.getmembers(cls):
            if name.startswith("_"):
                continue
            point = f"{cls.__name__.lstrip('_')}.{name}"
            if isinstance(value, property):
                watched: Any = property(self._watched(point, value.fget))
            elif inspect.isfunction(value):
                watched = self._watched(point, value)
            else:
                continue
            self._monkeypatch.setattr(cls, name, watched)

    def watch_functions(self, module: Any) -> None:
        """Watch what a module has from OpenTelemetry."""
        for name, value in list(vars(module).items()):
            origin = getattr(value, "__module__", None) or ""
            is_called = inspect.isfunction(value) or value in CONSTRUCTORS
            if origin.startswith("opentelemetry.") and is_called:
                self._monkeypatch.setattr(module, name, self._watched(name, value))

    def watch_fields(self, module: Any) -> None:
        """Watch what a module has to read the fields of events with."""
        for name, value in list(vars(module).items()):
            if isinstance(value, attrgetter):
                self._monkeypatch.setattr(module, name, self._watched_fields(value))

    def _watched_fields(self, read: attrgetter[Any]) -> Callable[[Any], Any]:
        attributes = read.__reduce__()[1]

        def ask(event: Any) -> Any:
            for attribute in attributes:
                self._ask(f"{type(event).__name__}.{PROPERTIES[type(event), attribute]}")
            return read(event)

        return ask

    def _ask(self, point: str) -> None:
        self.asked[point] += 1
        if point == self.failing:
            raise FaultError(point)

    def _watched(self, point: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def ask(*args: Any, **kwargs: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith(PACKAGE):
                self._ask(point)
            return original(*args, **kwargs)

        return ask


class OpenSpans(SpanProcessor):
    """How often each span has ended."""

    def __init__(self) -> None:
        self.ends: Counter[tuple[str, int]] = Counter()

    def on_start(self, span, parent_context=None):
        self.ends[span.name, span.context.span_id] = 0

    def on_end(self, span):
        self.ends[span.name, span.context.span_id] += 1

    @property
    def not_ended_once(self) -> list[str]:
        return [name for (name, _), times in self.ends.items() if times != 1]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, telemetry: InMemoryTelemetry) -> Faults:
    faults = Faults(monkeypatch)
    tracer, meter = TracerProvider().get_tracer("x"), telemetry.meter_provider.get_meter("x")
    for each in (
        tracer,
        tracer.start_span("x"),
        meter.create_counter("x"),
        meter.create_histogram("y"),
        LoggerProvider().get_logger("x"),
    ):
        faults.watch_class(type(each))
    faults.watch_class(trace.SpanContext)
    faults.watch_functions(trace)
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE):
            faults.watch_functions(module)
            faults.watch_fields(module)
    for event in EVENTS:
        faults.watch_class(event)
    return faults


@pytest.fixture
def open_spans(telemetry: InMemoryTelemetry) -> OpenSpans:
    open_spans = OpenSpans()
    telemetry.tracer_provider.add_span_processor(open_spans)
    return open_spans


@pytest.fixture
def convention() -> str:
    return "semconv"


@pytest.fixture
def instrumented(
    telemetry: InMemoryTelemetry,
    open_spans: OpenSpans,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    convention: str,
) -> None:
    """All clients, with everything on that can be."""
    # Else a client asks a server that it has lost no more often than twice a second.
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.01)
    monkeypatch.setattr(shield, "_silent_until", {})
    MongoInstrumentor().instrument(
        **telemetry.providers,
        logger_provider=LoggerProvider(),
        events="both",
        error_messages=True,
        wait_span_threshold=0,
        pool_use_time=True,
        span_convention=convention,
    )


@contextmanager
def out_of_service(server: ScriptedServer) -> Iterator[None]:
    """Let nobody in for a moment."""
    server.refuse()
    back = Timer(0.05, server.accept)
    back.start()
    yield
    back.join()


@contextmanager
def connection_taken(client: pymongo.MongoClient, server: ScriptedServer) -> Iterator[None]:
    """Let another thread have the only connection."""
    is_received, may_go = Event(), Event()

    def answer(_: object) -> dict[str, Any]:
        is_received.set()
        may_go.wait()
        return {"ok": 1, "values": []}

    server.on("distinct", answer)
    with ThreadPoolExecutor() as threads:
        threads.submit(client.shop.users.distinct, "name")
        is_received.wait()
        yield
        may_go.set()


def outcome(operation: Callable[[], Any]) -> Any:
    """What an operation returns, or the class of what it raises."""
    try:
        return operation()
    except PyMongoError as error:
        return type(error)


def script(server: ScriptedServer) -> None:
    server.on("find", found({"_id": 1}, cursor_id=7))
    server.on("getMore", more({"_id": 2}))
    server.on("count", refused(2, "BadValue"))
    server.on("delete", {"n": 0, "writeErrors": [{"index": 0, "code": 8, "errmsg": "no"}], "ok": 1})


def work(client: pymongo.MongoClient, server: ScriptedServer) -> Iterator[Any]:
    """An application: successes, failures, retries, cursors, waits; yields what came of each."""
    users = client.shop.users
    yield users.insert_one({"_id": 1}).inserted_id
    yield list(users.find())
    tail = users.find(cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(10)
    yield [next(tail), next(tail)]
    yield outcome(users.estimated_document_count)
    yield outcome(lambda: users.bulk_write([pymongo.DeleteOne({}), pymongo.DeleteOne({})]))
    server.drop("insert")
    yield users.insert_one({"_id": 2}).inserted_id
    with connection_taken(client, server):
        yield outcome(lambda: users.insert_one({}))
    with out_of_service(server):
        yield users.insert_one({"_id": 3}).inserted_id
    yield users.find_one()


OUTCOMES = [
    *(1, [{"_id": 1}, {"_id": 2}], [{"_id": 1}, {"_id": 2}]),
    *(OperationFailure, BulkWriteError, 2, WaitQueueTimeoutError, 3, {"_id": 1}),
]


def commands_of(client: Any) -> CommandTelemetry:
    """The listener to a client's commands."""
    listeners = client.options.event_listeners
    return next(each for each in listeners if isinstance(each, CommandTelemetry))


def pools_of(client: pymongo.MongoClient) -> tuple[int, int, int]:
    """How many connections are idle and used, and how many callers wait; as we count them."""
    (pool,) = client_telemetry(commands_of(client)).pools.values()
    return len(pool.connections) - len(pool.used), len(pool.used), len(pool.pending)


def idle_in(client: pymongo.MongoClient) -> int:
    """How many connections are idle, as PyMongo counts them."""
    return sum(len(server.pool.conns) for server in client._topology._servers.values())


def is_counted_in_spite_of(point: str) -> bool:
    """Whether the counts of connections can be right: whose is it, if that cannot be asked?"""
    if point == "ConnectionCheckedOutEvent.duration":  # It is read together with whose it is.
        return False
    is_address = point.endswith((".address", ".connection_id"))
    return not (point.startswith("Connection") and is_address)


def work_while_failing(
    server: ScriptedServer, telemetry: InMemoryTelemetry, faults: Faults, point: str
) -> pymongo.MongoClient:
    """Let the application work while one thing fails."""
    script(server)
    faults.failing = point
    with pymongo.MongoClient(
        server.uri, maxPoolSize=1, waitQueueTimeoutMS=20, heartbeatFrequencyMS=60_000
    ) as client:
        outcomes = list(work(client, server))
        for _ in range(3):
            telemetry.metrics()

        assert outcomes == OUTCOMES
        if is_counted_in_spite_of(point):
            assert pools_of(client) == (idle_in(client), 0, 0)
    faults.failing = None
    return client


@pytest.mark.parametrize(("convention", "point"), BY_CONVENTION)
def test_a_fault(instrumented, server, telemetry, faults, open_spans, caplog, capfd, point):
    """Whatever fails, the application gets what is its, and a log says so, once a minute.

    Nothing is printed. The spans that have started end, once; no command stays in flight.
    """
    client = work_while_failing(server, telemetry, faults, point)

    assert faults.asked[point]
    heard = Counter(
        record.getMessage() for record in caplog.records if record.name == shield.__name__
    )
    assert heard
    assert set(heard.values()) == {1}
    assert capfd.readouterr().err == ""
    assert len(commands_of(client).in_flight) == 0
    if point != "Span.end":
        assert open_spans.not_ended_once == []


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
def test_no_fault(instrumented, server, telemetry, faults, open_spans, caplog):
    """While nothing fails nothing is logged; what is asked is all among what can be let fail."""
    client = work_while_failing(server, telemetry, faults, "nothing")

    made_before = {"get_logger", "get_tracer"}
    assert faults.asked.keys() <= {*POINTS, *OPERATION_POINTS, *made_before}
    assert [record for record in caplog.records if record.name == shield.__name__] == []
    assert len(commands_of(client).in_flight) == 0
    assert open_spans.not_ended_once == []


@needs_async
@pytest.mark.parametrize("point", ["Tracer.start_span", "Span.end", "CommandSucceededEvent.reply"])
async def test_a_fault_async(instrumented, server, faults, caplog, capfd, point):
    """So it is for an AsyncMongoClient."""
    script(server)
    faults.failing = point
    async with pymongo.AsyncMongoClient(server.uri) as client:
        users = client.shop.users
        outcomes = [(await users.insert_one({"_id": 1})).inserted_id, await users.find().to_list()]

    assert outcomes == OUTCOMES[:2]
    heard = [record for record in caplog.records if record.name == shield.__name__]
    assert heard
    assert len({record.getMessage() for record in heard}) == len(heard)
    assert capfd.readouterr().err == ""
    assert len(commands_of(client).in_flight) == 0
