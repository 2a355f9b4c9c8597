"""Which traces of a run are drawn."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .exports import Period, by_trace, is_cluster_span, period, root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exports import Exported

# Of one trace; nobody reads more.
MAX_SPANS = 200


def chosen(
    spans: Sequence[Exported], slowest: int, pattern: str | None
) -> tuple[list[Exported], str]:
    """Choose the slowest traces of the application, slowest first, and all of the cluster.

    Args:
        spans: All spans, in the order of their start.
        slowest: How many traces of the application there are to be at most; 0 for all.
        pattern: What the name of a trace's first span must match, if anything.

    Returns:
        Their spans, and a note that says what is missing.
    """
    traces = [
        trace
        for trace in by_trace(spans)
        if pattern is None or fnmatchcase(root(trace)["name"], pattern)
    ]
    cluster = [trace for trace in traces if is_cluster_span(root(trace))]
    application = [trace for trace in traces if not is_cluster_span(root(trace))]
    kept = application
    if slowest and len(application) > slowest:
        kept = sorted(application, key=length, reverse=True)[:slowest]
    drawn = [span for trace in [*kept, *cluster] for span in trace[:MAX_SPANS]]
    return drawn, ", ".join(_notes(application, kept))


def _notes(application: Sequence[list[Exported]], kept: Sequence[list[Exported]]) -> list[str]:
    notes = []
    if len(kept) < len(application):
        notes.append(f"the {len(kept)} slowest of {len(application):,}")
    if any(len(trace) > MAX_SPANS for trace in kept):
        notes.append(f"the first {MAX_SPANS} spans of each")
    return notes


def length(trace: Sequence[Exported]) -> float:
    """How long a trace took from its first start to its last end, in seconds."""
    periods = [period(span) for span in trace]
    return Period(min(each.start for each in periods), max(each.end for each in periods)).length
