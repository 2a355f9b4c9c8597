"""Traces and metrics below headings: the application's traces, the cluster's, then metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exports import is_cluster_span
from .metrics_table import metrics_table
from .terminal import heading
from .trace_tree import NAMES_NOTE, traces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from .exports import Exported

METRICS_NOTE = "of the whole run; those of open clients alone are no longer there"


def draw_traces(spans: Sequence[Exported], console: Console, note: str = "") -> None:
    """Draw the application's traces, then the cluster's.

    Args:
        spans: Those of both, in the order in which they are to be drawn.
        console: Where to.
        note: What there is to say of the application's.
    """
    cluster = [span for span in spans if is_cluster_span(span)]
    draw("Traces", note, traces([span for span in spans if not is_cluster_span(span)]), console)
    draw("Cluster", NAMES_NOTE, traces(cluster), console)


def draw_metrics(metrics: Sequence[Exported], console: Console, note: str = METRICS_NOTE) -> None:
    """Draw metrics, if there are any."""
    if metrics:
        draw("Metrics", note, [metrics_table(metrics)], console)


def draw(title: str, note: str, parts: Sequence[RenderableType], console: Console) -> None:
    """Draw a section, if it has any parts."""
    if parts:
        console.print(heading(title, note))
    for part in parts:
        console.print()
        console.print(part)
