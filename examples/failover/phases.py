"""Before, during and after the outage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otel_mongo_apm._view.exports import Period, period, spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_mongo_apm._view.exports import Exported

OUTAGE = "mongodb.topology.outage"


class Deeds(NamedTuple):
    """What the demonstration did, and when; in seconds since the epoch."""

    server: str
    killed: float
    restarted: float
    ended: float


class Phases(NamedTuple):
    """The parts of the story."""

    before: Period
    during: Period
    after: Period

    def of(self, time: Period) -> str:
        """Name the part that a time is in; one that is partly in the outage is in it."""
        if time.overlaps(self.during):
            return "during"
        return "before" if time.start < self.during.start else "after"


def phases(printed: Sequence[Exported], deeds: Deeds) -> Phases:
    """Divide the time: the outage begins with the kill, and is over when its span is."""
    ends = [period(span).end for span in spans(printed) if span["name"] == OUTAGE]
    over = min((end for end in ends if end > deeds.killed), default=deeds.restarted)
    return Phases(Period(0, deeds.killed), Period(deeds.killed, over), Period(over, deeds.ended))
