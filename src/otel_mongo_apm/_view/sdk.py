"""An OpenTelemetry SDK whose telemetry goes into records."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.semconv.attributes.service_attributes import SERVICE_NAME

from otel_mongo_apm._otel.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

    from .records import Records

# A process that is killed has lost the measurements since the last export.
EXPORT_INTERVAL = 1000.0  # Milliseconds.
# What the SDK calls a service without a name.
UNKNOWN = "unknown_service"
OPTIONS_WITH_VALUE = {"-X", "-W"}


def providers(records: Records) -> tuple[RecordingTracerProvider, MeterProvider]:
    """Make a provider of tracers and one of meters."""
    reader = PeriodicExportingMetricReader(
        _MetricRecorder(records), export_interval_millis=EXPORT_INTERVAL
    )
    resource = _resource()
    return RecordingTracerProvider(records, resource), MeterProvider([reader], resource)


def _resource() -> Resource:
    """The application, by the name that the user has given to it or that of its program."""
    resource = Resource.create()
    if not str(resource.attributes[SERVICE_NAME]).startswith(UNKNOWN):
        return resource
    return resource.merge(Resource({SERVICE_NAME: program(sys.orig_argv)}))


def program(arguments: Sequence[str]) -> str:
    """What a command line of Python runs.

    >>> program(["/usr/bin/python3", "-X", "dev", "-m", "shop.serve", "--port", "80"])
    'shop.serve'
    >>> program(["python", "-u", "src/app.py", "-m", "fast"])
    'app.py'
    >>> program(["/usr/bin/python3", "-c", "print(1)"])
    'python3'
    """
    rest = iter(arguments[1:])
    for each in rest:
        if each == "-m":
            return next(rest, "")
        if each in OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not each.startswith("-"):
            return PurePath(each).name
        elif each.startswith("-c"):
            break
    return PurePath(arguments[0]).name


class RecordingTracerProvider(TracerProvider):
    """Records every span.

    Args:
        records: Where to.
        resource: What they are of.
    """

    def __init__(self, records: Records, resource: Resource) -> None:
        super().__init__(sampler=ALWAYS_ON, resource=resource)
        self.processor = _SpanRecorder(records)
        self.add_span_processor(self.processor)


class _SpanRecorder(SpanProcessor):
    def __init__(self, records: Records) -> None:
        self._records = records

    def on_end(self, span: ReadableSpan) -> None:
        # An attribute of bytes, as the application may have set one, is no JSON.
        with Outcome():
            self._records.add(span.to_json(indent=None))


class _MetricRecorder(MetricExporter):
    def __init__(self, records: Records) -> None:
        super().__init__()
        self._records = records

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any
    ) -> MetricExportResult:
        del timeout_millis
        with Outcome():
            self._records.replace_metrics(metrics_data.to_json(indent=None))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        del timeout_millis
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        del timeout_millis
