"""Commands without a server: PyMongo's own events, our listeners, and the SDK's floor."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, NoOpTracerProvider, SpanKind, StatusCode, set_span_in_context
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandStartedEvent,
    CommandSucceededEvent,
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionPoolListener,
    ConnectionReadyEvent,
)

from otel_mongo_apm import event_listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import Histogram
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Span
    from rounds import Contender

ADDRESS = ("db.example", 27017)
MILLISECOND = dt.timedelta(milliseconds=1)
CURSOR_ID = 4711
SESSION = {"lsid": {"id": b"0123456789abcdef"}, "$db": "shop"}
DOCUMENT = {"_id": 1, "name": "Alice", "age": 30, "tags": ["a", "b"], "address": {"city": "Rome"}}


@dataclass(frozen=True)
class Exchange:
    """A command and what comes of it.

    Args:
        command: As it is sent.
        reply: As it is answered, if it succeeds.
        failure: As it is answered otherwise.
        rows: How many documents it brings, if it is one to bring any.
        cursor_id: Of the cursor that an earlier command opened.
        address: The server's.
    """

    command: Mapping[str, Any]
    reply: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    rows: int | None = None
    cursor_id: int | None = None
    address: tuple[str, int] = ADDRESS

    @property
    def name(self) -> str:
        """The command's name."""
        return next(iter(self.command))

    @property
    def attributes(self) -> dict[str, str | int]:
        """What any instrumentation would say of it."""
        return {
            "db.system.name": "mongodb",
            "network.peer.address": self.address[0],
            "network.peer.port": self.address[1],
            "db.namespace": "shop",
            "db.operation.name": self.name,
            "db.collection.name": self.command.get("collection") or self.command[self.name],
        }

    @property
    def error(self) -> dict[str, str]:
        """What it would add of a failure."""
        return {"error.type": "11600", "db.response.status_code": "11600"} if self.failure else {}

    @property
    def measured_error(self) -> dict[str, str]:
        """What it would add of a failure when it measures it."""
        name = {"mongodb.client.error.name": "InterruptedAtShutdown"} if self.failure else {}
        return {**self.error, **name}

    def started(self) -> CommandStartedEvent:
        """PyMongo's event of its start."""
        return CommandStartedEvent(self.command, "shop", 1, self.address, 1)

    def ended(self) -> CommandSucceededEvent | CommandFailedEvent:
        """PyMongo's event of its end."""
        if self.failure:
            # Of another operation, so that the next command is no retry of it.
            return CommandFailedEvent(MILLISECOND, self.failure, self.name, 1, self.address, 2)
        return CommandSucceededEvent(MILLISECOND, self.reply or {}, self.name, 1, self.address, 1)


def _batch(name: str, cursor_id: int) -> dict[str, Any]:
    return {"cursor": {"id": cursor_id, "ns": "shop.users", name: [{}] * 10}, "ok": 1.0}


FIND = Exchange(
    {
        "find": "users",
        "filter": {"age": {"$gt": 30}, "status": "active"},
        "limit": 10,
        **SESSION,
    },
    _batch("firstBatch", 0),
    rows=10,
)
FIND_OPEN = Exchange(FIND.command, _batch("firstBatch", CURSOR_ID), rows=10)
GET_MORE = Exchange(
    {"getMore": CURSOR_ID, "collection": "users", **SESSION},
    _batch("nextBatch", CURSOR_ID),
    rows=10,
    cursor_id=CURSOR_ID,
)
FAILURE = Exchange(
    FIND.command,
    failure={"ok": 0.0, "code": 11600, "codeName": "InterruptedAtShutdown", "errmsg": "bye"},
)


def insert(documents: int) -> Exchange:
    """An insert of some documents."""
    command = {"insert": "users", "ordered": True, **SESSION, "documents": [DOCUMENT] * documents}
    return Exchange(command, {"n": documents, "ok": 1.0})


EXCHANGES = {
    "find of 10 documents": FIND,
    "insert of 1": insert(1),
    "insert of 100": insert(100),
    "getMore of 10": GET_MORE,
    "find that fails": FAILURE,
}

NO_SDK = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}
OFF = {"query_text": "off"}


def providers(sampler: Sampler | None = None) -> dict[str, Any]:
    """An SDK that keeps nothing; as all of the contenders have one, it adds to none."""
    return {
        "tracer_provider": TracerProvider(sampler, shutdown_on_exit=False),
        "meter_provider": MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
    }


class _PoolsByHand(ConnectionPoolListener):
    """Measures the waits for connections, and nothing else."""

    def __init__(self, wait: Histogram) -> None:
        self._wait = wait

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        host, port = event.address
        self._wait.record(event.duration, {"db.client.connection.pool.name": f"{host}:{port}"})

    def _ignore(self, event: Any) -> None:
        """Do nothing."""

    pool_created = pool_ready = pool_cleared = pool_closed = _ignore
    connection_created = connection_ready = connection_closed = _ignore
    connection_check_out_started = connection_check_out_failed = connection_checked_in = _ignore


def by_hand(
    meter_provider: MeterProvider,
) -> tuple[Callable[[Span, CommandSucceededEvent], None], ConnectionPoolListener]:
    """The measurements of our default as a hook for another's spans, and a listener to pools."""
    meter = meter_provider.get_meter("by hand")
    duration, wait = meter.create_histogram("duration"), meter.create_histogram("wait")

    def hook(span: Any, event: CommandSucceededEvent) -> None:
        host, port = event.connection_id
        attributes = {
            "db.system.name": "mongodb",
            "db.namespace": event.database_name,
            "db.operation.name": event.command_name,
            "db.collection.name": span.attributes["db.mongodb.collection"],
            "server.address": host,
            "server.port": port,
        }
        duration.record(event.duration_micros / 1e6, attributes, set_span_in_context(span))

    return hook, _PoolsByHand(wait)


def listener(exchange: Exchange, **settings: Any) -> Contender:
    """Commands through our listener."""
    commands: Any = event_listeners(**providers() | settings)[0]
    if exchange.cursor_id:
        commands.started(FIND_OPEN.started())
        commands.succeeded(FIND_OPEN.ended())
    started, ended = exchange.started(), exchange.ended()
    end = commands.failed if exchange.failure else commands.succeeded
    start = commands.started

    def send(number: int) -> None:
        for _ in range(number):
            start(started)
            end(ended)

    return send


def listener_with_pool(exchange: Exchange, **settings: Any) -> Contender:
    """Commands through our listeners, each on a connection that is free."""
    commands, pools, *_ = event_listeners(**providers() | settings)
    pools.connection_ready(ConnectionReadyEvent(ADDRESS, 1, 0.001))
    asked = ConnectionCheckOutStartedEvent(ADDRESS)
    checked_out = ConnectionCheckedOutEvent(ADDRESS, 1, 0.00001)
    checked_in = ConnectionCheckedInEvent(ADDRESS, 1)
    started, ended = exchange.started(), exchange.ended()

    def send(number: int) -> None:
        for _ in range(number):
            pools.connection_check_out_started(asked)
            pools.connection_checked_out(checked_out)
            commands.started(started)
            commands.succeeded(ended)
            pools.connection_checked_in(checked_in)

    return send


def floor(
    exchange: Exchange,
    sampler: Sampler | None = None,
    *,
    metrics: bool = True,
    wait_time: bool = False,
) -> Contender:
    """What the SDK costs by itself: a span and a measurement with the same attributes."""
    sdk = providers(sampler)
    tracer = sdk["tracer_provider"].get_tracer("floor")
    meter = sdk["meter_provider"].get_meter("floor")
    duration = meter.create_histogram("duration")
    wait, pool = meter.create_histogram("wait"), {"db.client.connection.pool.name": "db.example"}
    name, attributes, rows = f"{exchange.name} users", exchange.attributes, exchange.rows
    error, measured = exchange.error, {**attributes, **exchange.measured_error}
    opened_by = tracer.start_span("find users").get_span_context()
    client, failed = SpanKind.CLIENT, StatusCode.ERROR

    def start() -> Any:
        links = (Link(opened_by),) if exchange.cursor_id else ()
        span = tracer.start_span(name, kind=client, attributes=attributes, links=links)
        if rows is not None and span.is_recording():
            span.set_attribute("db.response.returned_rows", rows)
        if error and span.is_recording():
            span.set_attributes(error)
            span.set_status(failed, "InterruptedAtShutdown")
        return span

    def measure(span: Any) -> None:
        context = set_span_in_context(span) if span.is_recording() else None
        duration.record(0.001, measured, context)

    def send(number: int) -> None:
        for _ in range(number):
            if wait_time:
                wait.record(0.00001, pool)
            span = start()
            if metrics:
                measure(span)
            span.end()

    return send
