"""The requests that the application served: in numbers, and the slow ones as traces."""

from __future__ import annotations

from collections import defaultdict
from itertools import filterfalse, product
from statistics import median
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from timeline import since

from otel_mongo_apm._view.exports import by_trace, has_failed, is_cluster_span, period, root, spans
from otel_mongo_apm._view.trace_tree import duration, trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phases import Deeds, Phases
    from rich.console import RenderableType

    from otel_mongo_apm._view.exports import Exported

    Trace = list[Exported]

SLOW = 0.5  # Seconds.


def requests(printed: Sequence[Exported]) -> list[Trace]:
    """Pick the traces of requests."""
    return [each for each in by_trace(spans(printed)) if not is_cluster_span(root(each))]


def requests_table(served: Sequence[Trace], phases: Phases) -> Table:
    """Draw how many requests there were and how long they took."""
    table = Table("Request", "Outage", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Number", "Median", "Slowest", "Failed attempts", "Failed requests"):
        table.add_column(heading, justify="right")
    chosen: dict[tuple[str, str], list[Trace]] = defaultdict(list)
    for request in served:
        chosen[root(request)["name"], phases.of(period(root(request)))].append(request)
    for name, part in product(sorted({name for name, _ in chosen}), phases._fields):
        table.add_row(name, part, *_numbers(chosen[name, part]), end_section=part == "after")
    return table


def slow_requests(served: Sequence[Trace], deeds: Deeds) -> Iterator[RenderableType]:
    """Draw two of the slow requests: one with an attempt that failed, one that only waited."""
    slow = [request for request in served if period(root(request)).length >= SLOW]
    for alike in (list(filter(has_failed_span, slow)), list(filterfalse(has_failed_span, slow))):
        if alike:
            chosen = max(alike, key=len)
            start, end = period(root(chosen))
            what = "with a failed attempt" if has_failed_span(chosen) else "without any"
            yield (
                f"{len(alike)} {what}, such as this"
                f" from {since(start, deeds)} to {since(end, deeds)}:"
            )
            yield trace(chosen, {span["context"]["span_id"]: span["name"] for span in chosen})
    if not slow:
        yield "None."


def has_failed_span(request: Trace) -> bool:
    """Whether an attempt failed."""
    return any(map(has_failed, request))


def _numbers(chosen: Sequence[Trace]) -> Iterator[str]:
    lengths = [period(root(request)).length for request in chosen]
    yield str(len(lengths))
    yield duration(median(lengths)) if lengths else ""
    yield duration(max(lengths)) if lengths else ""
    inner = [span for request in chosen for span in request if span is not root(request)]
    yield str(sum(map(has_failed, inner)))
    yield str(sum(has_failed(root(request)) for request in chosen))
