"""Timeline: the recent events, and what of them a span takes along."""

from __future__ import annotations

from otel_mongo_apm._cluster.timeline import MAX_EVENTS, ClusterEvent, Timeline


def event(time: int, name: str = "x") -> ClusterEvent:
    return ClusterEvent(name, time, {}, name)


def test_latest_tells_that_something_happened():
    """One look at a number tells whether there is news."""
    timeline = Timeline()
    before = timeline.latest
    timeline.add(event(5))

    assert before == 0
    assert timeline.latest != before
    assert timeline.after(before) == [event(5)]
    assert timeline.after(timeline.latest) == []


def test_between():
    """Events are found by their time, both ends included."""
    timeline = Timeline()
    for time in (1, 2, 3, 4):
        timeline.add(event(time))

    assert timeline.between(2, 3) == [event(2), event(3)]


def test_old_events_are_forgotten():
    """A timeline does not grow without end."""
    timeline = Timeline()
    for time in range(1000):
        timeline.add(event(time))

    assert len(timeline.after(0)) == MAX_EVENTS
    assert timeline.after(998) == [event(998), event(999)]


def test_what_is_read_first(telemetry):
    """An event in a span says what happened under a name that sorts before all others."""
    happened = ClusterEvent("x", 5, {"db.a": 1, "error.type": "T"}, "Server a: lost", ("a", 1))
    with telemetry.tracer.start_as_current_span("request") as span:
        happened.add_to(span)

    (told,) = telemetry.span.events
    assert min(told.attributes) == "cluster.event"
    assert told.attributes == {"cluster.event": "Server a: lost", "db.a": 1, "error.type": "T"}
