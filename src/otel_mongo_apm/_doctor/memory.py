"""An OpenTelemetry SDK in memory, to see what a trial produces; where there is none, nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_mongo_apm._otel.semconv import SCOPE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.sdk.trace import ReadableSpan

NANOSECONDS_PER_MILLISECOND = 1_000_000


@dataclass(frozen=True)
class Event:
    """A span event."""

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """A span that has ended."""

    name: str
    kind: str
    status: str
    milliseconds: float
    attributes: Mapping[str, Any]
    events: Sequence[Event]


@dataclass(frozen=True)
class Point:
    """What was measured of one set of attributes: a value, or how many of which sum."""

    attributes: Mapping[str, Any]
    measured: Mapping[str, float]


@dataclass(frozen=True)
class Measurements:
    """What one instrument measured."""

    name: str
    unit: str
    points: Sequence[Point]


class Memory:
    """Providers of tracers and meters; what they are given stays here."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def spans(self) -> list[Span]:
        """This package's spans that have ended, first started first."""
        ended = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [_span(span) for span in ended if _scope_name(span) == SCOPE_NAME]

    def measurements(self) -> list[Measurements]:
        """What is measured now, by name."""
        data = self._reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return [_measurements(metric) for metric in sorted(found, key=lambda each: each.name)]


def _scope_name(span: ReadableSpan) -> str | None:
    return span.instrumentation_scope.name if span.instrumentation_scope else None


def _span(span: ReadableSpan) -> Span:
    took = (span.end_time or 0) - (span.start_time or 0)
    return Span(
        span.name,
        span.kind.name,
        " ".join(filter(None, [span.status.status_code.name, span.status.description])),
        took / NANOSECONDS_PER_MILLISECOND,
        dict(span.attributes or {}),
        [Event(event.name, dict(event.attributes or {})) for event in span.events],
    )


def _measurements(metric: Metric) -> Measurements:
    return Measurements(
        metric.name,
        metric.unit or "",
        [Point(dict(each.attributes or {}), _measured(each)) for each in metric.data.data_points],
    )


def _measured(point: Any) -> dict[str, float]:
    if hasattr(point, "value"):
        return {"value": point.value}
    return {"count": point.count, "sum": point.sum}
