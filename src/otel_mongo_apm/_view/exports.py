"""What OpenTelemetry's console exporters print, read back.

printed = list(exported(lines))
for span in spans(printed):
    print(span["name"], period(span).length)
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_mongo_apm._otel.semconv import MONGODB_TOPOLOGY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Exported = dict[str, Any]


class Period(NamedTuple):
    """A time from start to end, in seconds since the epoch."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """How long it is."""
        return self.end - self.start

    def overlaps(self, other: Period) -> bool:
        """Whether some moment is in both."""
        return self.start < other.end and other.start < self.end


def exported(lines: Iterable[str]) -> Iterator[Exported | str]:
    """Yield each object that an exporter printed, and each line that the application did.

    >>> list(exported(["Hello", "{", '  "name": "find"', "}", "Bye"]))
    ['Hello', {'name': 'find'}, 'Bye']
    """
    block: list[str] = []
    for line in map(str.rstrip, lines):
        if block or line == "{":
            block.append(line)
        else:
            yield line
        if block and line == "}":
            yield json.loads("".join(block))
            block = []


def spans(printed: Iterable[Exported | str]) -> list[Exported]:
    """Pick the spans, in the order of their start."""
    found = [item for item in printed if isinstance(item, dict) and "context" in item]
    return sorted(found, key=lambda span: str(span["start_time"]))


def log_records(printed: Iterable[Exported | str]) -> list[Exported]:
    """Pick the log records, in the order of their time."""
    found = [item for item in printed if isinstance(item, dict) and "severity_text" in item]
    return sorted(found, key=lambda record: str(record["timestamp"]))


def metric_exports(printed: Iterable[Exported | str]) -> list[list[Exported]]:
    """Pick the exports of metrics, in their order; each is a list of metrics by name."""
    return [
        _metrics(item) for item in printed if isinstance(item, dict) and "resource_metrics" in item
    ]


def metrics(printed: Iterable[Exported | str]) -> list[Exported]:
    """Pick the metrics of the last export; they are cumulative."""
    return [metric for metrics in metric_exports(printed)[-1:] for metric in metrics]


def period(span: Exported) -> Period:
    """Tell when a span ran."""
    return Period(moment(span["start_time"]), moment(span["end_time"]))


def moment(text: str) -> float:
    """Read a time, in seconds since the epoch.

    >>> moment("1970-01-01T00:00:01.500000Z")
    1.5
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def has_failed(span: Exported) -> bool:
    """Whether it reports an error."""
    return bool(span["status"]["status_code"] == "ERROR")


def is_cluster_span(span: Exported) -> bool:
    """Whether it tells of the cluster, not of something that the application did.

    >>> is_cluster_span({"name": "mongodb.topology.outage"})
    True
    """
    return str(span["name"]).startswith(MONGODB_TOPOLOGY)


def by_trace(spans: Iterable[Exported]) -> list[list[Exported]]:
    """Put together the spans of each trace."""
    traces: dict[str, list[Exported]] = {}
    for span in spans:
        traces.setdefault(span["context"]["trace_id"], []).append(span)
    return list(traces.values())


def root(trace: Sequence[Exported]) -> Exported:
    """Find the span that the others of its trace belong to; the first, if there are several."""
    return next((span for span in trace if span["parent_id"] is None), trace[0])


def _metrics(export: Exported) -> list[Exported]:
    found = [
        metric
        for resource in export["resource_metrics"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
    ]
    return sorted(found, key=lambda metric: str(metric["name"]))
