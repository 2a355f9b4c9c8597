"""What the benchmarks compare is comparable: the SDK's floor tells what our listeners tell."""

from __future__ import annotations

import pytest
import synthetic
from in_memory import InMemoryTelemetry
from rounds import Line, interleaved
from synthetic import EXCHANGES, OFF, floor, listener, listener_with_pool

DURATION = "db.client.operation.duration"
WAIT_TIME = "db.client.connection.wait_time"


@pytest.fixture
def told(monkeypatch):
    """Let a contender work a number of times, and tell what its SDK was told."""

    def run(make, number):
        telemetry = InMemoryTelemetry()
        with monkeypatch.context() as patch:
            patch.setattr(synthetic, "providers", lambda _=None: telemetry.providers)
            make()(number)
        metrics = telemetry.metrics()
        telemetry.shutdown()
        return telemetry.spans, metrics

    return run


def described(span):
    links = len(span.links)
    return span.name, span.kind, dict(span.attributes), span.status.description, links


def counted(metrics, *names):
    return [(point.attributes, point.data.count) for n in names for point in metrics.get(n, [])]


@pytest.mark.parametrize("name", EXCHANGES)
def test_the_floor(told, name):
    """It makes the same spans and measurements of each kind of command."""
    exchange = EXCHANGES[name]
    spans, metrics = told(lambda: floor(exchange), 3)
    our_spans, our_metrics = told(lambda: listener(exchange, **OFF), 3)

    # That of a getMore has the span, too, that opened its cursor.
    assert list(map(described, our_spans))[-3:] == list(map(described, spans))[-3:]
    measured = counted(metrics, "duration")
    ours = counted(our_metrics, DURATION)
    assert [each for each in ours if each[1] == 3] == measured


def test_the_floor_of_a_connection(told):
    """A free connection is one measurement more."""
    find = EXCHANGES["find of 10 documents"]
    _, metrics = told(lambda: floor(find, wait_time=True), 3)
    spans, our_metrics = told(lambda: listener_with_pool(find), 3)

    ((_, waits),) = counted(metrics, "wait")
    ((_, our_waits),) = counted(our_metrics, WAIT_TIME)
    assert (len(spans), waits, our_waits) == (3, 3, 3)


def test_rounds():
    """In each round all have their turn, and ratios are those of one round."""
    done = []
    contenders = {"a": lambda number: done.append(("a", number)), "b": lambda _: sum(range(10_000))}
    times = interleaved(contenders, 4, 10)

    assert done == [("a", 10)] * 5
    assert times.ratio(Line("b", "b")) == 1
    assert times.ratio(Line("b", "b", beyond="b")) == 0
    assert times.ratio(Line("a", "b")) <= times.ratio(Line("a", "b", is_throughput=True))
