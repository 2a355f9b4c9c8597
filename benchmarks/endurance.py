"""Many commands in a process of their own: how its memory grows, how long the collector pauses it.

    python benchmarks/endurance.py CONTENDER NUMBER

Without a server, from PyMongo's own events; a batch processor exports the spans to nobody.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pymongo import CommandTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from synthetic import Exchange, providers
from test_growth import collections, megabytes

from otel_mongo_apm import event_listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

COLLECTIONS = 100


class _Nowhere(SpanExporter):
    """Exports to nobody."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        """Drop spans."""
        return SpanExportResult.SUCCESS


class Pauses:
    """How often each generation was collected, and how long that took."""

    def __init__(self) -> None:
        self.seconds: list[list[float]] = [[], [], []]
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """Learn from Python's garbage collector."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.seconds[info["generation"]].append(time.perf_counter() - self._began)


def listener(contender: str) -> Any:
    """The contender's listener to commands."""
    sdk = providers()
    sdk["tracer_provider"].add_span_processor(BatchSpanProcessor(_Nowhere()))
    if contender == "contrib":
        return CommandTracer(sdk["tracer_provider"].get_tracer("contrib"))
    return event_listeners(**sdk)[0]


def sender(contender: str) -> Callable[[int], None]:
    """What sends a number of commands to several collections, and has their replies."""
    commands = listener(contender)
    exchanges: list[Exchange] = collections(COLLECTIONS)

    def send(number: int) -> None:
        for each in range(number):
            # New events, as PyMongo makes them.
            exchange = exchanges[each % COLLECTIONS]
            commands.started(exchange.started())
            commands.succeeded(exchange.ended())

    return send


def main() -> None:
    """Send, and print what came of it."""
    contender, number = sys.argv[1], int(sys.argv[2])
    send = sender(contender)
    send(10_000)
    gc.collect()
    before, pauses = megabytes(), Pauses()
    gc.callbacks.append(pauses)
    send(number)
    gc.callbacks.remove(pauses)
    gc.collect()
    found = {
        "rss": [round(before, 1), round(megabytes(), 1)],
        "collections": [len(each) for each in pauses.seconds],
        "longest": [round(max(each, default=0) * 1e3, 2) for each in pauses.seconds],
        "paused": round(sum(map(sum, pauses.seconds)) * 1e3, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
