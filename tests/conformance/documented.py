"""What our own document says, of what the conventions do not say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from contract import plain, section, tables
from conventions import COMMAND_SPAN, CONDITIONAL, POOL, TYPES, Instrument

if TYPE_CHECKING:
    from collections.abc import Mapping

TELEMETRY = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")
NAME = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)`")
DOCUMENTED_TYPES = {"string": str, "int": int, "boolean": bool}
MONGODB = "mongodb."  # Names of our own begin so.


def documented_attributes(heading: str) -> dict[str, type]:
    """The attributes of a section's tables and their types."""
    found: dict[str, type] = {}
    for row in tables(section(TELEMETRY, heading), "attribute", "type"):
        names, kinds = NAME.findall(row[0]), row[1].split(", ")
        kinds = kinds if len(kinds) == len(names) else kinds * len(names)
        found |= {name: DOCUMENTED_TYPES[kind] for name, kind in zip(names, kinds, strict=True)}
    return found


def documented_spans(heading: str, column: str) -> set[str]:
    """The names of the spans of a section's table."""
    return {plain(row[0]) for row in tables(section(TELEMETRY, heading), "name", column)}


def documented_metrics(heading: str, shared: Mapping[str, str]) -> dict[str, Instrument]:
    """The metrics of our own in a section, and besides their attributes those that all have."""
    rows = tables(section(TELEMETRY, heading), "name", "instrument", "unit", "buckets")
    return {
        plain(name): Instrument(
            kind.removeprefix("Observable"),
            plain(unit),
            {**dict.fromkeys(NAME.findall(attributes), CONDITIONAL), **shared},
            tuple(map(float, buckets.split())) if buckets != "-" else None,
        )
        for name, kind, unit, buckets, attributes in rows
        if plain(name).startswith(MONGODB)
    }


def documented_events() -> dict[str, set[str]]:
    """The attributes of each event."""
    rows = tables(section(TELEMETRY, "## Cluster events"), "event", "attributes")
    return {plain(row[0]): set(NAME.findall(row[1])) for row in rows}


WAITS = documented_spans("## Wait spans", "covers")
CLUSTER = documented_spans("## Cluster spans", "begins")
OF_COMMANDS = {
    name
    for name in documented_attributes("## Command spans")
    if name.startswith(MONGODB) or name in COMMAND_SPAN
}
OF_WAITS = documented_attributes("## Wait spans").keys()
OF_CLUSTER = documented_attributes("## Cluster spans").keys()
EVENTS = documented_events()
OUR_METRICS = {
    **documented_metrics("### Commands", {}),
    **documented_metrics("### Connection pools", POOL),
    **documented_metrics("### Cluster", {}),
}
# Of metrics, beside an `error.type` that is a number.
ERROR_NAME = "mongodb.client.error.name"
ALL_TYPES = {
    **documented_attributes("## Command spans"),
    **documented_attributes("## Wait spans"),
    **documented_attributes("## Cluster spans"),
    **documented_attributes("## Cluster events"),
    "mongodb.client.connection.close.reason": str,  # Their types are in no column of their own.
    ERROR_NAME: str,
    **TYPES,  # These are not for us to say.
}
