"""An OpenTelemetry SDK in memory, and what it holds in words that tests like."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.sdk.trace import ReadableSpan, Span, Tracer
    from opentelemetry.sdk.trace.sampling import Sampler


WAITS = ("select server", "check out connection")


@dataclass
class Point:
    """A measurement's attributes and what was measured of them."""

    attributes: dict[str, Any]
    data: Any


class _Counter(SpanProcessor):
    def __init__(self) -> None:
        self.started = self.ended = 0
        self._lock = Lock()

    def on_start(self, span: Span, parent_context: object = None) -> None:
        with self._lock:
            self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            self.ended += 1


class InMemoryTelemetry:
    """An SDK whose spans and metrics stay here."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._counter = _Counter()
        self.tracer_provider.add_span_processor(self._counter)
        # Once: in several threads at a time the SDK's own deprecation warnings show.
        self.tracer: Tracer = self.tracer_provider.get_tracer("application")
        self.meter_provider = MeterProvider(
            [self._reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False
        )

    @property
    def providers(self) -> dict[str, Any]:
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}

    @property
    def started_and_ended(self) -> tuple[int, int]:
        """How many spans have started, and how many times one has ended."""
        return self._counter.started, self._counter.ended

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, first ended first."""
        return self._exporter.get_finished_spans()

    @property
    def commands(self) -> list[ReadableSpan]:
        """Those of them that are commands'."""
        return [span for span in self.spans if span.name.count(" ") == 1 and span.name not in WAITS]

    @property
    def command(self) -> ReadableSpan:
        """The only command's span that has ended."""
        (span,) = self.commands
        return span

    @property
    def span(self) -> ReadableSpan:
        """The only span that has ended."""
        (span,) = self.spans
        return span

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def collected(self) -> list[Metric]:
        """What a collection finds now."""
        collected = self._reader.get_metrics_data()
        return [
            metric
            for resource in (collected.resource_metrics if collected else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def metrics(self) -> dict[str, list[Point]]:
        """What a collection finds now: the points of each metric, by its name."""
        return {
            metric.name: [Point(dict(p.attributes), p) for p in metric.data.data_points]
            for metric in self.collected()
        }

    def points(self, name: str) -> list[Point]:
        return self.metrics().get(name, [])

    def forget(self) -> None:
        """Forget the spans so far."""
        self._exporter.clear()

    def shutdown(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
