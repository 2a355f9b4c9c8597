"""What happened when, as a table."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from phases import OUTAGE
from rich import box
from rich.table import Table
from rich.text import Text

from otel_mongo_apm._view.exports import has_failed, log_records, moment, period, spans
from otel_mongo_apm._view.trace_tree import duration, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phases import Deeds

    from otel_mongo_apm._view.exports import Exported


class Entry(NamedTuple):
    """Something that happened."""

    time: float
    teller: str
    text: str
    style: str = ""


def timeline(printed: Sequence[Exported], deeds: Deeds) -> Table:
    """Draw what the demonstration did, what the cluster told and what requests met."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Since the kill", justify="right", no_wrap=True)
    table.add_column("Told by", style="dim", no_wrap=True)
    table.add_column("What happened")
    told = sorted(entries(printed, deeds), key=lambda entry: entry.time)
    for _, same in groupby(told, lambda entry: entry[1:]):
        first, *more = same
        text = Text(first.text, first.style)
        if more:
            until = since(more[-1].time, deeds)
            text.append(f"  ({len(more) + 1} times, until {until})", "dim")
        table.add_row(since(first.time, deeds), first.teller, text)
    return table


def since(time: float, deeds: Deeds) -> str:
    """Write a time, counted from the kill."""
    return f"{time - deeds.killed:+.3f} s"


def entries(printed: Sequence[Exported], deeds: Deeds) -> Iterator[Entry]:
    """Tell everything, in no order."""
    yield Entry(deeds.killed, "demo", f"Kills the primary, {deeds.server}", "bold magenta")
    yield Entry(deeds.restarted, "demo", f"Starts {deeds.server} again", "bold magenta")
    yield Entry(deeds.ended, "demo", "Ends the application", "bold magenta")
    for record in log_records(printed):
        style = "yellow" if record["severity_text"] == "WARN" else ""
        yield Entry(moment(record["timestamp"]), "log event", record["body"], style)
    for span in spans(printed):
        if span["name"] == OUTAGE:
            yield _outage(span)
        elif has_failed(span) and span["kind"] == "SpanKind.CLIENT":
            yield _failure(span)


def _outage(span: Exported) -> Entry:
    length = duration(period(span).length)
    text = f"{span['name']} ends, {length} after the driver noticed"
    return Entry(period(span).end, "span", text, "bold green")


def _failure(span: Exported) -> Entry:
    error, where = span["status"]["description"], place(span["attributes"])
    return Entry(period(span).end, "span", f"{span['name']} failed: {error}, {where}", "red")
