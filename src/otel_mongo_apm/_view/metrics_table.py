"""Draws metrics as a table in a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv.attributes.db_attributes import DB_OPERATION_NAME
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from otel_mongo_apm._otel.semconv import (
    DB_CLIENT_CONNECTION,
    DB_CLIENT_OPERATION,
    DB_CLIENT_RESPONSE,
    MONGODB_CLIENT,
    MONGODB_CLIENT_CONNECTION,
)

from .trace_tree import attributes_text, duration, without_operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .exports import Exported

# By the beginning of their names.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Commands": (DB_CLIENT_OPERATION, DB_CLIENT_RESPONSE),
    "Connection pools": (DB_CLIENT_CONNECTION, MONGODB_CLIENT_CONNECTION),
    "Cluster": (MONGODB_CLIENT,),
    "Others": ("",),
}


def metrics_table(metrics: Sequence[Exported]) -> Table:
    """Draw metrics: of a histogram the count, average and sum, of the others their value.

    Counters that are still 0 are left out. They exist so that a backend sees the first increase.
    """
    table = Table("Metric", box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.columns[0].ratio = 1
    for heading in ("Count", "Average", "Sum or value"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = sorted(filter(_has_something, metrics), key=_order)
    for title, members in groupby(shown, lambda metric: group(metric["name"])):
        table.add_section()
        table.add_row(Text(title, "bold cyan"))
        for metric in members:
            _add_rows(table, metric)
    return table


def group(name: str) -> str:
    """Tell what a metric is about.

    >>> group("mongodb.client.connection.closes"), group("mongodb.client.instances")
    ('Connection pools', 'Cluster')
    """
    return next(title for title, prefixes in GROUPS.items() if name.startswith(prefixes))


def measured(point: Exported, unit: str) -> tuple[str, str, str]:
    """Format a data point's count, average and sum; or its value alone.

    >>> measured({"count": 2, "sum": 0.5}, "s")
    ('2', '250.00 ms', '500.00 ms')
    >>> measured({"value": 3}, "{connection}")
    ('', '', '3')
    """
    if "count" not in point:
        return "", "", quantity(point["value"], unit)
    count, total = point["count"], point["sum"]
    return str(count), quantity(total / count, unit), quantity(total, unit)


def quantity(value: float, unit: str) -> str:
    """Format a value.

    >>> quantity(0.5, "s"), quantity(1200, "{row}")
    ('500.00 ms', '1,200')
    """
    return duration(value) if unit == "s" else f"{value:,.6g}"


def point_text(attributes: Mapping[str, Any]) -> Text:
    """Say what a data point is about.

    >>> point_text({"db.operation.name": "find", "db.namespace": "shop"}).plain
    'find shop'
    """
    operation = attributes.get(DB_OPERATION_NAME, "")
    return Text(" ").join(
        filter(None, [Text(operation), attributes_text(without_operation(attributes, operation))])
    )


def _order(metric: Exported) -> tuple[int, str]:
    return list(GROUPS).index(group(metric["name"])), metric["name"]


def _has_something(metric: Exported) -> bool:
    data = metric["data"]
    return not data.get("is_monotonic") or any(point["value"] for point in data["data_points"])


def _add_rows(table: Table, metric: Exported) -> None:
    name = Text.assemble((metric["name"], "bold"), (f"  {metric['unit']}", "dim"))
    points, unit = metric["data"]["data_points"], metric["unit"]
    if [bool(point["attributes"]) for point in points] == [False]:
        table.add_row(name, *measured(points[0], unit))
        return
    table.add_row(name)
    for point in points:
        table.add_row(
            Padding(point_text(point["attributes"]), (0, 0, 0, 2)), *measured(point, unit)
        )
