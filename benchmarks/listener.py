"""What a command costs: our listeners against a bare span and a bare measurement, in one run.

    make bench

Times of a shared machine say little, so each is shown beside the floor: what the SDK itself
costs for a span, and a measurement, with the same attributes. Rounds are interleaved.
"""

from __future__ import annotations

import datetime as dt
import statistics
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind, set_span_in_context
from pymongo.monitoring import CommandStartedEvent, CommandSucceededEvent
from rich import print as show
from rich.table import Table

from otel_mongo_apm import event_listeners

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS, ROUNDS = 500, 60
ADDRESS = ("db.example", 27017)
FIND = {
    "find": "users",
    "filter": {"age": {"$gt": 30}, "status": "active"},
    "limit": 10,
    "lsid": {"id": b"0123456789abcdef"},
    "$db": "shop",
}
REPLY = {"cursor": {"id": 0, "ns": "shop.users", "firstBatch": [{}] * 10}, "ok": 1.0}
ATTRIBUTES = {
    "db.system.name": "mongodb",
    "db.operation.name": "find",
    "db.namespace": "shop",
    "db.collection.name": "users",
    "server.address": "db.example",
    "server.port": 27017,
}
STARTED = CommandStartedEvent(FIND, "shop", 1, ADDRESS, 1, server_connection_id=1)
SUCCEEDED = CommandSucceededEvent(
    dt.timedelta(milliseconds=1), REPLY, "find", 1, ADDRESS, 1, server_connection_id=1
)


def listener(**settings: Any) -> Callable[[], None]:
    """One command through our listener."""
    settings.setdefault("meter_provider", MeterProvider([InMemoryMetricReader()]))
    settings.setdefault("tracer_provider", TracerProvider())
    commands: Any = event_listeners(**settings)[0]

    def send() -> None:
        commands.started(STARTED)
        commands.succeeded(SUCCEEDED)

    return send


def floor(*, metric: bool, **provider: Any) -> Callable[[], None]:
    """One span, and perhaps one measurement, with the same attributes."""
    tracer = TracerProvider(**provider).get_tracer("floor")
    meter = MeterProvider([InMemoryMetricReader()]).get_meter("floor")
    histogram = meter.create_histogram("floor")

    def send() -> None:
        span = tracer.start_span("find users", kind=SpanKind.CLIENT, attributes=ATTRIBUTES)
        if metric:
            histogram.record(0.001, ATTRIBUTES, set_span_in_context(span))
        span.end()

    return send


def microseconds(contenders: dict[str, Callable[[], None]]) -> dict[str, float]:
    """The median CPU time of one command of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, send in contenders.items():
            began = time.process_time()
            for _ in range(COMMANDS):
                send()
            times[name].append((time.process_time() - began) / COMMANDS * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Measure, and show a table."""
    off = {"query_text": "off"}
    nothing = {
        "tracer_provider": NoOpTracerProvider(),
        "meter_provider": NoOpMeterProvider(),
    }
    contenders = {
        "floor: span": floor(metric=False),
        "span": listener(metrics=False, **off),
        "span, sanitized text": listener(metrics=False),
        "floor: span, measurement": floor(metric=True),
        "span, both measurements": listener(**off),
        "default: all of them": listener(),
        "floor: unsampled span": floor(metric=False, sampler=ALWAYS_OFF),
        "unsampled span": listener(metrics=False, tracer_provider=TracerProvider(ALWAYS_OFF)),
        "no SDK": listener(**nothing),
    }
    times = microseconds(contenders)
    table = Table("", "µs per command", "of the floor above", title="A find of 10 documents")
    base = 1.0
    for name, each in times.items():
        base = each if name.startswith("floor") else base
        table.add_row(name, f"{each:.1f}", f"{each / base:.2f}")
    show(table)


if __name__ == "__main__":
    main()
