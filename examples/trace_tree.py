"""Draws in a terminal what OpenTelemetry's console exporters print.

printed = list(exported(lines))
for tree in traces(spans(printed)):
    console.print(tree)
console.print(metrics_table(metrics(printed)))
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

Exported = dict[str, Any]

BAR_WIDTH = 24
MAX_VALUE_LENGTH = 100
# Told in a name, in a place or on a line of its own; or everywhere the same.
TOLD_ELSEWHERE = {
    "db.system.name",
    "db.namespace",
    "db.operation.name",
    "db.collection.name",
    "db.query.text",
    "exception.stacktrace",
    "server.address",
    "server.port",
}


class Period(NamedTuple):
    """A time from start to end, in seconds."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """How long it is."""
        return self.end - self.start


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


def metrics(printed: Iterable[Exported | str]) -> list[Exported]:
    """Pick the metrics of the last export; they are cumulative."""
    exports = [item for item in printed if isinstance(item, dict) and "resource_metrics" in item]
    found = [
        metric
        for resource in (exports[-1]["resource_metrics"] if exports else ())
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
    ]
    return sorted(found, key=lambda metric: str(metric["name"]))


def traces(spans: Sequence[Exported]) -> list[Tree]:
    """Draw each trace as a tree."""
    by_trace: defaultdict[str, list[Exported]] = defaultdict(list)
    for span in spans:
        by_trace[span["context"]["trace_id"]].append(span)
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    return [trace(members, names) for members in by_trace.values()]


def trace(spans: Sequence[Exported], names: Mapping[str, str]) -> Tree:
    """Draw the spans of one trace; *names* has those of the spans that they link to."""
    whole = Period(
        min(period(span).start for span in spans), max(period(span).end for span in spans)
    )
    span_ids = {span["context"]["span_id"] for span in spans}
    children: defaultdict[str | None, list[Exported]] = defaultdict(list)
    for span in spans:
        parent = span["parent_id"]
        children[parent if parent in span_ids else None].append(span)
    tree = Tree(trace_title(spans, whole), guide_style="dim")
    _grow(tree, None, children, lambda span: span_label(span, whole, names))
    return tree


def trace_title(spans: Sequence[Exported], whole: Period) -> Text:
    """Name a trace by its ID and its service."""
    service = spans[0]["resource"]["attributes"].get("service.name", "unknown service")
    count = f"{len(spans)} span" + "s" * (len(spans) != 1)
    return Text.assemble(
        (f"Trace {spans[0]['context']['trace_id'].removeprefix('0x')}", "bold"),
        (f"  {service}  {count}  {duration(whole.length)}", "dim"),
    )


def span_label(span: Exported, whole: Period, names: Mapping[str, str]) -> RenderableType:
    """Draw a span: a line with its place in the trace, and below what else there is to tell."""
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(width=9, justify="right")
    line.add_column(width=BAR_WIDTH)
    line.add_row(
        Text.assemble((span["name"], "bold"), "  ", status(span)),
        duration(period(span).length),
        bar(period(span), whole, "red" if _has_failed(span) else "cyan"),
    )
    return Group(line, *_details(span, names))


def status(span: Exported) -> Text:
    """Say how it ended; a span that says nothing ended well."""
    if _has_failed(span):
        return Text(f"ERROR {span['status'].get('description') or ''}".rstrip(), "bold red")
    return Text("OK", "green")


def period(span: Exported) -> Period:
    """Tell when it ran."""
    return Period(_time(span["start_time"]), _time(span["end_time"]))


def duration(seconds: float) -> str:
    """Format a duration.

    >>> duration(0.00123), duration(1.5)
    ('1.23 ms', '1.50 s')
    """
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def bar(part: Period, whole: Period, style: str) -> Text:
    """Draw a part of the whole.

    >>> bar(Period(5, 10), Period(0, 20), "cyan").plain
    '      ━━━━━━'
    """
    scale = BAR_WIDTH / (whole.length or 1)
    first = min(int((part.start - whole.start) * scale), BAR_WIDTH - 1)
    length = max(1, min(round(part.length * scale), BAR_WIDTH - first))
    return Text(" " * first + "━" * length, style)


def attributes_text(attributes: Mapping[str, Any]) -> Text:
    """List attributes, first the place.

    >>> attributes_text({"server.address": "/tmp/db.sock", "error.type": "11000"}).plain
    '/tmp/db.sock  error.type=11000'
    """
    told = [
        Text.assemble((f"{key}=", "dim"), shortened(str(value)))
        for key, value in attributes.items()
        if key not in TOLD_ELSEWHERE
    ]
    return _joined_texts(Text(place(attributes)), *told)


def shortened(text: str) -> str:
    """Cut a long text.

    >>> len(shortened("a" * 1000)) == MAX_VALUE_LENGTH
    True
    """
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def place(attributes: Mapping[str, Any]) -> str:
    """Name what was asked and where.

    >>> place({"db.namespace": "shop", "db.collection.name": "users"})
    'shop.users'
    >>> place({"db.namespace": "admin", "server.address": "::1", "server.port": 27017})
    'admin on ::1:27017'
    """
    namespace = _joined(".", attributes, "db.namespace", "db.collection.name")
    server = _joined(":", attributes, "server.address", "server.port")
    return " on ".join(filter(None, [namespace, server]))


def metrics_table(metrics: Sequence[Exported]) -> Table:
    """Draw metrics: of a histogram the count, average and sum, of the others their value."""
    table = Table("Metric", box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.columns[0].ratio = 1
    for heading in ("Count", "Average", "Sum or value"):
        table.add_column(heading, justify="right", no_wrap=True)
    for metric in metrics:
        _add_rows(table, metric)
    return table


def measured(point: Exported, unit: str) -> tuple[str, str, str]:
    """Format a data point's count, average and sum; or its value alone.

    >>> measured({"count": 2, "sum": 0.5}, "s")
    ('2', '250.00 ms', '500.00 ms')
    >>> measured({"value": 3}, "{connection}")
    ('', '', '3')
    """
    quantity = duration if unit == "s" else "{:,.6g}".format
    if "count" not in point:
        return "", "", quantity(point["value"])
    return str(point["count"]), quantity(point["sum"] / point["count"]), quantity(point["sum"])


def _grow(
    tree: Tree,
    parent: str | None,
    children: Mapping[str | None, Sequence[Exported]],
    label: Callable[[Exported], RenderableType],
) -> None:
    for span in children.get(parent, ()):
        _grow(tree.add(label(span)), span["context"]["span_id"], children, label)


def _details(span: Exported, names: Mapping[str, str]) -> Iterator[RenderableType]:
    attributes = span["attributes"]
    if line := attributes_text(attributes):
        yield line
    if text := attributes.get("db.query.text"):
        yield Text(text, "dim italic", no_wrap=True, overflow="ellipsis")
    for event in span["events"]:
        yield _event_text(event, period(span).start)
    for link in span["links"]:
        yield _link_text(link, names)


def _event_text(event: Exported, span_start: float) -> Text:
    after = duration(_time(event["timestamp"]) - span_start)
    name = Text.assemble((f"• {event['name']}", "yellow"), (f" after {after}", "dim"))
    return _joined_texts(name, attributes_text(event["attributes"]))


def _link_text(link: Exported, names: Mapping[str, str]) -> Text:
    span_id = link["context"]["span_id"]
    name = Text(f"→ {names.get(span_id, f'span {span_id}')}", "magenta")
    return _joined_texts(name, attributes_text(link["attributes"]))


def _add_rows(table: Table, metric: Exported) -> None:
    name, unit = metric["name"], metric["unit"]
    table.add_row(Text.assemble((name, "bold"), (f"  {unit}", "dim")))
    for point in metric["data"]["data_points"]:
        table.add_row(Padding(_point_text(point), (0, 0, 0, 2)), *measured(point, unit))
    table.add_section()


def _point_text(point: Exported) -> Text:
    attributes = point["attributes"]
    operation = Text(attributes.get("db.operation.name", ""))
    return Text(" ").join(filter(None, [operation, attributes_text(attributes)]))


def _joined_texts(*texts: Text) -> Text:
    return Text("  ").join(filter(None, texts))


def _joined(separator: str, attributes: Mapping[str, Any], *keys: str) -> str:
    return separator.join(str(attributes[key]) for key in keys if key in attributes)


def _has_failed(span: Exported) -> bool:
    return bool(span["status"]["status_code"] == "ERROR")


def _time(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
