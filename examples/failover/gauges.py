"""Metrics before, during and after the outage, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from otel_mongo_apm._view.exports import metric_exports
from otel_mongo_apm._view.metrics_table import quantity
from otel_mongo_apm._view.trace_tree import attributes_text, brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from phases import Phases

    from otel_mongo_apm._view.exports import Exported, Period

    # By the metric's name and what the data point is about.
    Values = Mapping[tuple[str, str], str]

WRITABLE = "mongodb.client.topology.writable"
SERVER_STATUS = "mongodb.client.server.status"
SERVER_TYPE = "mongodb.client.server.type"
SHOWN = (
    WRITABLE,
    "mongodb.client.topology.readable",
    "mongodb.client.topology.servers",
    SERVER_STATUS,
    "mongodb.client.topology.primary_changes",
    "mongodb.client.topology.outage.duration",
    "db.client.connection.count",
    "mongodb.client.connection.pool.clears",
    "mongodb.client.connection.closes",
)
NONE = "-"
NANO = 1e-9


def gauges_table(printed: Sequence[Exported], phases: Phases) -> Table:
    """Draw what was exported last in each part of the story."""
    exports = metric_exports(printed)
    columns = [values(last_in(part, exports)) for part in phases]
    table = Table("Metric", box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.columns[0].ratio = 1
    for heading in ("Before", "During", "After"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in SHOWN:
        table.add_row(Text(name, "bold"))
        for about in sorted({key[1] for column in columns for key in column if key[0] == name}):
            cells = [column.get((name, about), NONE) for column in columns]
            table.add_row(Padding(about, (0, 0, 0, 2)), *cells)
    return table


def writable_strip(printed: Sequence[Exported], phases: Phases) -> Text:
    """Draw the gauge of each export up to the end: high for 1, low for 0."""
    strip = Text()
    for export in metric_exports(printed):
        points = [p for m in export if m["name"] == WRITABLE for p in m["data"]["data_points"]]
        for point in points:
            if point["time_unix_nano"] * NANO < phases.after.end:
                strip.append(*("█", "green") if point["value"] else ("▁", "red"))
    return strip


def last_in(part: Period, exports: Sequence[list[Exported]]) -> list[Exported]:
    """Pick the last export of a part of the story; nothing if there was none."""
    found = [export for export in exports if part.start <= exported_at(export) < part.end]
    return found[-1] if found else []


def exported_at(export: Sequence[Exported]) -> float:
    """Tell when metrics were collected, in seconds since the epoch."""
    times = (p["time_unix_nano"] for metric in export for p in metric["data"]["data_points"])
    return max(times, default=0) * NANO


def values(metrics: Sequence[Exported]) -> Values:
    """Format what is shown."""
    return {
        (metric["name"], about): value
        for metric in metrics
        if metric["name"] in SHOWN
        for about, value in _points(metric)
    }


def _points(metric: Exported) -> Iterator[tuple[str, str]]:
    for point in metric["data"]["data_points"]:
        attributes = dict(point["attributes"])
        if metric["name"] != SERVER_STATUS:
            yield _about(attributes), _value(point, metric["unit"])
        elif point["value"]:  # It is 1 for the type that the server has.
            server_type = attributes.pop(SERVER_TYPE)
            yield _about(attributes), server_type


def _about(attributes: Mapping[str, Any]) -> str:
    return attributes_text(brief(attributes)).plain


def _value(point: Exported, unit: str) -> str:
    if "count" in point:
        return f"{point['count']} x {quantity(point['sum'] / point['count'], unit)}"
    return quantity(point["value"], unit)
