"""Complaints: where what is emitted is not as the conventions and our document have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conventions import (
    AT_CREATION,
    COMMAND_SPAN,
    CONDITIONAL,
    METRICS,
    OF_COLLECTIONS,
    REQUIRED,
    STATES,
)
from documented import ALL_TYPES, ERROR_NAME, EVENTS, OF_CLUSTER, OF_COMMANDS, OF_WAITS, OUR_METRICS
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum
from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.sdk.trace import ReadableSpan


def wrong_attributes(attributes: Mapping[str, Any], known: Container[str]) -> Iterator[str]:
    """What is not known where it is, is of another type, or is empty."""
    for name, value in attributes.items():
        if name not in known:
            yield f"{name} is not known here"
        elif type(value) is not ALL_TYPES[name]:
            yield f"{name} is {value!r}, not of type {ALL_TYPES[name].__name__}"
        elif value == "":
            yield f"{name} is empty"


def missing_attributes(
    attributes: Mapping[str, Any], levels: Mapping[str, str], *, failed: bool
) -> Iterator[str]:
    """What is required, or required by a condition that is met, and not there; and the reverse."""
    conditions = {
        "db.namespace": True,
        "error.type": failed,
        "db.response.status_code": failed and attributes.get("error.type", "").isdigit(),
        # The default port may be left out; a Unix socket has none.
        "server.port": not attributes.get("server.address", "/").startswith("/"),
        "db.collection.name": attributes.get("db.operation.name") in OF_COLLECTIONS,
    }
    for name, level in levels.items():
        needed = level == REQUIRED or (level == CONDITIONAL and conditions.get(name))
        if needed and name not in attributes:
            yield f"{name} is missing"
    for name in ("error.type", "db.response.status_code"):
        if name in attributes and not failed:
            yield f"{name} is there without a failure"


def wrong_values(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Values that the conventions do not allow."""
    if attributes.get("db.system.name", "mongodb") != "mongodb":
        yield "db.system.name is not mongodb"
    if attributes.get("db.operation.batch.size") == 1:
        yield "db.operation.batch.size is 1"
    if attributes.get("db.client.connection.state", "idle") not in STATES:
        yield "db.client.connection.state is neither idle nor used"


def wrong_command(span: ReadableSpan, at_creation: Mapping[str, Any]) -> Iterator[str]:
    """Where a command's span is not as the conventions have it."""
    attributes = dict(span.attributes)
    failed = span.status.status_code is StatusCode.ERROR
    target = attributes.get("db.collection.name", attributes.get("db.namespace"))
    if span.name != f"{attributes.get('db.operation.name')} {target}":
        yield "the name is not operation and target"
    if span.kind is not SpanKind.CLIENT:
        yield "the kind is not CLIENT"
    if span.status.status_code is StatusCode.OK:
        yield "the status is for applications to set"
    yield from wrong_attributes(attributes, OF_COMMANDS)
    yield from missing_attributes(attributes, COMMAND_SPAN, failed=failed)
    yield from wrong_values(attributes)
    if late := (AT_CREATION & attributes.keys()) - at_creation.keys():
        yield f"{sorted(late)} come after creation"


def wrong_wait(span: ReadableSpan) -> Iterator[str]:
    """Where a wait's span is not as documented."""
    failed = span.status.status_code is StatusCode.ERROR
    attributes = dict(span.attributes)
    if span.kind is not (SpanKind.CLIENT if failed else SpanKind.INTERNAL):
        yield "the kind is neither INTERNAL nor that of a failure"
    yield from wrong_attributes(attributes, OF_WAITS)
    yield from missing_attributes(attributes, {"db.system.name": REQUIRED}, failed=failed)
    yield from missing_attributes(attributes, {"error.type": CONDITIONAL}, failed=failed)


def wrong_cluster_span(span: ReadableSpan) -> Iterator[str]:
    """Where a cluster's span is not as documented."""
    if span.kind is not SpanKind.INTERNAL:
        yield "the kind is not INTERNAL"
    if span.parent:
        yield "it is no root"
    yield from wrong_attributes(dict(span.attributes), OF_CLUSTER)


def wrong_events(span: ReadableSpan) -> Iterator[str]:
    """Where an event in a span is not as documented."""
    for event in span.events:
        if event.name not in EVENTS:
            yield f"{event.name} is not known"
        else:
            yield from wrong_attributes(dict(event.attributes), EVENTS[event.name])


def kind_of(metric: Metric) -> str:
    """The kind of instrument, as far as its points tell: not whether it is observable."""
    match metric.data:
        case Sum(is_monotonic=True):
            return "Counter"
        case Sum():
            return "UpDownCounter"
        case Histogram():
            return "Histogram"
        case Gauge():
            return "Gauge"


def wrong_metric(metric: Metric) -> Iterator[str]:
    """Where a metric is neither as the conventions have it nor as documented."""
    expected = METRICS.get(metric.name) or OUR_METRICS.get(metric.name)
    if expected is None:
        yield "it is not known"
        return
    if (kind_of(metric), metric.unit) != (expected.kind, expected.unit):
        yield f"it is a {kind_of(metric)} in {metric.unit}"
    for point in metric.data.data_points:
        attributes = dict(point.attributes)
        yield from wrong_attributes(attributes, {*expected.attributes, ERROR_NAME})
        yield from missing_attributes(
            attributes, expected.attributes, failed="error.type" in attributes
        )
        yield from wrong_values(attributes)
        if expected.buckets and tuple(point.explicit_bounds) != expected.buckets:
            yield f"its buckets are {point.explicit_bounds}"
