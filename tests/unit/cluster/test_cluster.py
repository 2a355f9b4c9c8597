"""The cluster of a client: looks at it, and what is told of them."""

from __future__ import annotations

import gc
import logging
import time
import weakref

import pymongo.errors
import pytest
from descriptions import A, B, Client, closed, replica_set, single
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.hello import Hello
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

from otel_mongo_apm import Settings
from otel_mongo_apm._cluster import listener, spans, state
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._setup.client import ClientTelemetry, end_clusters

REFUSED = pymongo.errors.AutoReconnect("a.example:27017: [Errno 111] Connection refused")
NOT_WRITABLE = "Topology rs0: ReplicaSetWithPrimary -> ReplicaSetNoPrimary, no writable server"


def well():
    return replica_set({A: "rs_primary", B: "rs_secondary"})


def lost():
    return replica_set({A: REFUSED, B: "rs_secondary"})


def moved():
    return replica_set({A: REFUSED, B: "rs_primary"})


STARTED = ServerHeartbeatStartedEvent(A, awaited=True)


class Cluster:
    """A client whose description the test decides, and its heartbeats."""

    def __init__(self, telemetry, description=None, **settings):
        self.client = Client(description or replica_set({A: None, B: None}))
        shared = Telemetry(Settings(**telemetry.providers, **settings))
        self.telemetry = ClientTelemetry(shared, ClientReference(weakref.ref(self.client)))
        self.heartbeats = self.telemetry.heartbeat_listener()
        self.beats()

    def beats(self):
        """Be looked at, and told of as if by our own thread."""
        self.heartbeats.started(STARTED)
        if self.telemetry.telemetry.is_on:
            self.telemetry.cluster.tell()

    def becomes(self, description):
        self.client.topology_description = description
        self.beats()

    def closes(self):
        self.client._closed = True
        self.becomes(closed())


@pytest.fixture(autouse=True)
def _monitor(monkeypatch):
    """Be one of PyMongo's monitors, which heartbeats come from; and our own thread, which tells."""
    monkeypatch.setattr(listener, "is_background", lambda: True)
    monkeypatch.setattr(state, "attend", lambda cluster: None)


@pytest.fixture
def cluster(telemetry):
    return Cluster(telemetry)


def events_of(span):
    return [event.name.removeprefix("mongodb.client.") for event in span.events]


def test_discovery(cluster, telemetry):
    """The first usable server ends a discovery, which tells all of it."""
    cluster.becomes(well())

    span = telemetry.span
    assert span.name == "mongodb.topology.discovery"
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None
    assert dict(span.attributes) == {"mongodb.replica_set.name": "rs0"}
    assert events_of(span) == [
        "topology.opened",
        *["server.opened"] * 2,
        "topology.description_changed",
        *["server.description_changed"] * 2,
        "topology.description_changed",
    ]
    assert all(span.start_time <= event.timestamp <= span.end_time for event in span.events)


def test_an_outage(cluster, telemetry, monkeypatch):
    """From the last writable server to the next one there is an outage, with both primaries."""
    # On a busy machine it takes longer from the failed heartbeat to what came of it.
    monkeypatch.setattr(spans, "PRELUDE", 60 * spans.SECOND)
    cluster.becomes(well())
    telemetry.forget()
    cluster.heartbeats.failed(ServerHeartbeatFailedEvent(1.0, REFUSED, A, awaited=True))
    cluster.becomes(lost())
    cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.1, REFUSED, A, awaited=False))
    during = telemetry.metrics()
    cluster.becomes(moved())

    span = telemetry.span
    assert span.name == "mongodb.topology.outage"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "No writable server"
    assert span.parent is None
    assert dict(span.attributes) == {
        "mongodb.replica_set.name": "rs0",
        "mongodb.client.primary.previous_address": "a.example:27017",
        "mongodb.client.primary.address": "b.example:27018",
    }
    assert events_of(span) == [
        "server.heartbeat.failed",
        "server.description_changed",
        "topology.description_changed",
        "server.heartbeat.failed",
        "server.description_changed",
        "topology.description_changed",
        "topology.primary_changed",
    ]
    assert during["mongodb.client.topology.writable"][0].data.value == 0
    after = telemetry.metrics()
    assert after["mongodb.client.topology.writable"][0].data.value == 1
    (outage,) = after["mongodb.client.topology.outage.duration"]
    assert outage.attributes == {"mongodb.replica_set.name": "rs0"}
    assert outage.data.count == 1
    assert outage.data.sum == pytest.approx((span.end_time - span.start_time) / 1e9)
    assert outage.data.explicit_bounds == (0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120)
    (changes,) = after["mongodb.client.topology.primary_changes"]
    assert changes.data.value == 1
    assert changes.attributes == {"mongodb.replica_set.name": "rs0"}


def test_a_long_outage(cluster, telemetry, monkeypatch):
    """An outage that will not end is told in parts, each linked to the one before."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.becomes(lost())
    monkeypatch.setattr(spans, "MAX_PART", 0)
    cluster.becomes(lost())
    monkeypatch.undo()
    cluster.becomes(moved())

    first, last = telemetry.spans
    assert first.status.description == "No writable server so far"
    assert last.status.description == "No writable server"
    assert [link.context.span_id for link in last.links] == [first.context.span_id]
    assert first.end_time == last.start_time
    assert first.context.trace_id != last.context.trace_id
    (outage,) = telemetry.points("mongodb.client.topology.outage.duration")
    assert outage.data.sum == pytest.approx((last.end_time - first.start_time) / 1e9)


def set_clock(monkeypatch, hours):
    time_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() + hours * 3600 * spans.SECOND)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set(cluster, telemetry, monkeypatch, hours):
    """To set the clock in an outage makes it neither longer nor shorter, nor ends a part of it."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.becomes(lost())
    set_clock(monkeypatch, hours)
    cluster.beats()
    cluster.becomes(moved())

    (outage,) = telemetry.points("mongodb.client.topology.outage.duration")
    assert 0 <= outage.data.sum < 60
    assert telemetry.span.status.description == "No writable server"
    duration = telemetry.span.end_time - telemetry.span.start_time
    assert outage.data.sum == pytest.approx(duration / spans.SECOND)


def test_a_clock_that_is_set_back_in_a_long_outage(cluster, telemetry, monkeypatch):
    """A part of an outage ends when it has lasted too long, whatever the clock says."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.becomes(lost())
    set_clock(monkeypatch, hours=-1)
    monkeypatch.setattr(spans, "MAX_PART", 0)
    cluster.beats()
    cluster.becomes(moved())

    first, last = telemetry.spans
    assert first.start_time <= first.end_time == last.start_time <= last.end_time


def test_a_clock_that_was_set_back(cluster, telemetry, monkeypatch):
    """Of what happens after the clock was set back, the time is the new one."""
    set_clock(monkeypatch, hours=-1)
    now = time.time_ns()
    cluster.becomes(well())

    assert now <= telemetry.span.events[-1].timestamp <= time.time_ns()


def test_many_events(cluster, telemetry):
    """Of more events than a span holds, the first and the last are told."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.becomes(lost())
    for _ in range(200):
        cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.1, REFUSED, A, awaited=False))
    cluster.becomes(moved())

    names = events_of(telemetry.span)
    assert len(names) == 128
    assert names[0] == "server.description_changed"
    assert names[-1] == "topology.primary_changed"


def test_closed_in_an_outage(cluster, telemetry):
    """A client that is closed in an outage leaves it unfinished, and makes none of its own."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.becomes(lost())
    cluster.closes()
    cluster.closes()

    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description == "No writable server until the client was closed"
    assert events_of(telemetry.span)[-1] == "topology.closed"


def test_closed_in_good_health(cluster, telemetry, caplog):
    """To close a client is no outage, and its cluster disappears from the metrics."""
    cluster.becomes(well())
    telemetry.forget()
    with caplog.at_level(logging.INFO):
        cluster.closes()

    assert telemetry.spans == ()
    assert [record.message for record in caplog.records] == ["Topology rs0: closed"]
    assert telemetry.points("mongodb.client.server.status") == []
    assert telemetry.points("mongodb.client.instances")[0].data.value == 0


def test_all_servers_dropped(cluster, telemetry, caplog):
    """A client that knows no server any more, but was not closed, is not told of as closed."""
    cluster.becomes(well())
    with caplog.at_level(logging.INFO):
        cluster.becomes(replica_set({}))

    assert {record.message for record in caplog.records} == {
        "Server a.example:27017 of rs0: removed",
        "Server b.example:27018 of rs0: removed",
        "Topology rs0: ReplicaSetWithPrimary -> ReplicaSetNoPrimary, no usable server",
    }
    assert telemetry.points("mongodb.client.topology.writable")[0].data.value == 0


def test_opened_again(cluster, telemetry):
    """A client that comes back after it was closed, as those before PyMongo 4.8 could, does."""
    cluster.becomes(well())
    cluster.closes()
    telemetry.forget()
    cluster.client._closed = False
    cluster.becomes(well())

    assert telemetry.span.name == "mongodb.topology.discovery"
    assert telemetry.points("mongodb.client.instances")[0].data.value == 1


def test_gauges(cluster, telemetry):
    """Gauges tell what the driver knows now, and of what was before only that it is over."""
    cluster.becomes(well())
    cluster.client.topology_description = moved()

    metrics = telemetry.metrics()

    def values(name):
        return {
            tuple(point.attributes.values()): point.data.value
            for point in metrics[f"mongodb.client.{name}"]
        }

    assert values("server.status") == {
        (*A, "unknown"): 1,
        (*A, "rs_primary"): 0,
        (*B, "unknown"): 0,
        (*B, "rs_secondary"): 0,
        (*B, "rs_primary"): 1,
    }
    assert values("server.rtt") == {B: 0.002}
    assert values("topology.status") == {("replica_set_with_primary", "rs0"): 1}
    assert values("topology.servers") == {("unknown",): 1, ("rs_primary",): 1}
    assert values("topology.writable") == {("rs0",): 1}
    assert values("topology.readable") == {("rs0",): 1}
    assert values("instances") == {(): 1}


def test_two_clients_of_one_cluster(cluster, telemetry):
    """What several clients see of one cluster is told once, and trouble if one sees it."""
    other = Cluster(telemetry)
    cluster.becomes(well())
    other.becomes(lost())

    metrics = telemetry.metrics()
    assert [p.data.value for p in metrics["mongodb.client.topology.writable"]] == [0]
    assert [p.data.value for p in metrics["mongodb.client.topology.readable"]] == [1]
    assert [p.data.value for p in metrics["mongodb.client.instances"]] == [2]
    assert {
        (*point.attributes.values(),): point.data.value
        for point in metrics["mongodb.client.topology.servers"]
    } == {("rs_primary",): 1, ("rs_secondary",): 1, ("unknown",): 1}


def test_a_client_that_is_gone(cluster, telemetry):
    """A client that nobody has any more disappears, closed or not."""
    cluster.becomes(well())
    del cluster.client, cluster.telemetry, cluster.heartbeats
    gc.collect()

    assert telemetry.points("mongodb.client.server.status") == []


def test_a_client_that_is_gone_before_its_listeners(cluster, telemetry):
    """A client that is gone is not told of, although its listeners may not be collected yet."""
    cluster.becomes(lost())
    del cluster.client
    gc.collect()

    metrics = telemetry.metrics()
    assert metrics["mongodb.client.instances"][0].data.value == 0
    assert "mongodb.client.topology.writable" not in metrics
    assert "mongodb.client.server.rtt" not in metrics


def test_no_replica_set(telemetry):
    """What is no replica set is told without a name."""
    cluster = Cluster(telemetry, single(None))
    cluster.becomes(single("standalone"))
    telemetry.forget()
    cluster.becomes(single(REFUSED))
    cluster.becomes(single("standalone"))

    assert dict(telemetry.span.attributes) == {}
    (writable,) = telemetry.points("mongodb.client.topology.writable")
    assert writable.attributes == {}


def test_heartbeats_are_measured(cluster, telemetry):
    """Heartbeats are measured: those that failed and those that only wait apart from others."""
    hello = Hello({"ok": 1})
    cluster.heartbeats.succeeded(ServerHeartbeatSucceededEvent(0.25, hello, A, awaited=False))
    cluster.heartbeats.succeeded(ServerHeartbeatSucceededEvent(10.0, hello, A, awaited=True))
    cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.5, REFUSED, A, awaited=False))

    server = {"server.address": "a.example", "server.port": 27017}
    awaited = "mongodb.client.heartbeat.awaited"
    points = telemetry.points("mongodb.client.server.heartbeat.duration")
    assert [(point.attributes, point.data.sum) for point in points] == [
        ({**server, awaited: False}, 0.25),
        ({**server, awaited: True}, 10.0),
        ({**server, awaited: False, "error.type": "ConnectionRefusedError"}, 0.5),
    ]
    assert points[0].data.explicit_bounds[-1] == 30


def test_a_cancelled_check(cluster, telemetry, caplog):
    """A heartbeat that was cancelled, as by closing the client, has not failed."""
    cancelled = pymongo.errors._OperationCancelled("closed")
    cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.5, cancelled, A, awaited=True))

    assert caplog.records == []
    assert telemetry.points("mongodb.client.server.heartbeat.duration") == []


def test_switched_off(cluster, telemetry):
    """Once it is undone, nothing is told or observed any more."""
    cluster.telemetry.telemetry.turn_off()
    cluster.becomes(well())
    cluster.heartbeats.succeeded(ServerHeartbeatSucceededEvent(0.1, Hello({"ok": 1}), A))
    cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.1, REFUSED, A))

    assert telemetry.spans == ()
    assert telemetry.points("mongodb.client.server.status") == []
    assert telemetry.points("mongodb.client.server.heartbeat.duration") == []


@pytest.mark.parametrize(
    ("events", "has_spans", "has_records", "has_lines"),
    [
        ("span", True, False, True),
        ("logs", False, True, True),
        ("both", True, True, True),
        ("none", False, False, False),
    ],
)
def test_where_events_are_told(telemetry, caplog, events, has_spans, has_records, has_lines):
    """`events` decides between spans and log events; plain logging has them unless it is none."""
    # Its name in SDKs before 1.39 had no "Record".
    exporter_class = getattr(export, "InMemoryLogRecordExporter", None)
    exporter = (exporter_class or export.InMemoryLogExporter)()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(exporter))
    with caplog.at_level(logging.INFO), telemetry.tracer.start_as_current_span("stranger"):
        cluster = Cluster(telemetry, events=events, logger_provider=provider)
        cluster.becomes(well())
        cluster.becomes(lost())

    spans = [span for span in telemetry.spans if span.name != "stranger"]
    records = [record.log_record for record in exporter.get_finished_logs()]
    warned = [record for record in records if record.severity_text == "WARN"]
    assert bool(spans) == has_spans
    assert bool(records) == has_records
    assert bool(caplog.records) == has_lines
    for record in warned:
        assert record.event_name == "mongodb.client.topology.description_changed"
        assert record.body == NOT_WRITABLE
        assert record.attributes["mongodb.client.topology.writable"] is False
        assert not record.trace_id
    if has_lines:
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert [r.message for r in warnings] == [
            "Server a.example:27017 of rs0: RSPrimary -> Unknown, connection refused",
            NOT_WRITABLE,
        ]
        assert {r.name for r in caplog.records} == {"otel_mongo_apm.cluster"}


def test_in_the_child_of_a_fork(cluster, telemetry):
    """What is forgotten begins again."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.telemetry.cluster.start_anew()
    cluster.becomes(well())

    assert telemetry.span.name == "mongodb.topology.discovery"


def test_uninstrumented_in_an_outage(cluster, telemetry, caplog):
    """What is not finished when a client is uninstrumented ends then, and nothing comes after."""
    cluster.becomes(well())
    telemetry.forget()
    cluster.becomes(lost())
    shared = cluster.telemetry.telemetry
    shared.turn_off()
    end_clusters(shared)
    caplog.clear()
    cluster.becomes(moved())
    cluster.telemetry.cluster.tell()

    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description == "No writable server until it was uninstrumented"
    assert caplog.records == []


def test_uninstrumented_before_a_server_was_found(cluster, telemetry):
    """So does a discovery; that of another client goes on."""
    other = Cluster(telemetry)
    cluster.telemetry.telemetry.turn_off()
    end_clusters(cluster.telemetry.telemetry)

    assert telemetry.span.name == "mongodb.topology.discovery"
    assert telemetry.span.status.description == "No usable server until it was uninstrumented"
    telemetry.forget()
    other.becomes(well())
    assert telemetry.span.status.status_code is StatusCode.UNSET


def test_an_outage_that_ends_before_it_starts(cluster, telemetry):
    """A good description that is older than the bad one before it ends the outage all the same."""
    cluster.becomes(well())
    telemetry.forget()
    good = moved()
    cluster.becomes(lost())
    cluster.becomes(good)

    assert telemetry.span.name == "mongodb.topology.outage"
    assert telemetry.span.end_time >= telemetry.span.start_time
    (outage,) = telemetry.points("mongodb.client.topology.outage.duration")
    assert outage.data.sum >= 0


def test_a_sampler_that_raises(cluster, telemetry, caplog, monkeypatch):
    """What keeps an outage's span from being made keeps nothing else from being told."""
    cluster.becomes(well())
    cluster.becomes(lost())
    sampler = telemetry.tracer_provider.sampler
    monkeypatch.setattr(type(sampler), "should_sample", lambda *_, **__: 1 / 0)
    caplog.clear()
    with pytest.raises(ZeroDivisionError), caplog.at_level(logging.INFO):
        cluster.becomes(moved())

    assert "without a writable server" in caplog.text
    assert telemetry.points("mongodb.client.topology.outage.duration")[0].data.count == 1
    monkeypatch.undo()
    telemetry.forget()
    cluster.telemetry.cluster.tell()
    assert telemetry.spans == ()


def test_too_much_to_tell(cluster):
    """Where nobody can tell, as with a log handler that blocks for good, the oldest are dropped."""
    for _ in range(2 * state.MAX_UNTOLD):
        cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.1, REFUSED, A, awaited=False))

    assert len(cluster.telemetry.cluster.untold) == state.MAX_UNTOLD


def test_servers_that_come_and_go(cluster):
    """Of servers that are gone nothing is kept, however many there were."""
    for port in range(500):
        cluster.becomes(replica_set({A: "rs_primary", ("pod", port): "rs_secondary"}))

    kept = cluster.telemetry.cluster
    assert kept.types_seen.keys() == {A, ("pod", 499)}


def test_who_is_asked_to_tell(cluster, monkeypatch):
    """Our own thread is only asked for when there is something to tell, or a server to be known."""
    asked = []
    monkeypatch.setattr(state, "attend", asked.append)
    cluster.becomes(well())
    asked.clear()
    hello = Hello({"ok": 1})
    cluster.heartbeats.started(STARTED)
    cluster.heartbeats.succeeded(ServerHeartbeatSucceededEvent(0.1, hello, A, awaited=False))
    assert asked == []
    cluster.heartbeats.failed(ServerHeartbeatFailedEvent(0.1, REFUSED, A, awaited=False))
    assert asked == [cluster.telemetry.cluster]
    cluster.becomes(lost())
    asked.clear()
    cluster.heartbeats.succeeded(ServerHeartbeatSucceededEvent(0.1, hello, A, awaited=False))

    assert asked == [cluster.telemetry.cluster]


def test_threads_that_are_not_known(cluster, telemetry, monkeypatch, caplog):
    """That PyMongo's threads are not known is not said by a monitor either."""
    other = Cluster(telemetry)
    other.telemetry.cluster.start_anew()
    monkeypatch.setattr(listener, "is_background", lambda: False)
    caplog.clear()
    other.heartbeats.started(STARTED)
    assert caplog.records == []
    other.telemetry.cluster.tell()

    assert "PyMongo's own threads and tasks are treated as callers" in caplog.text


def test_told_by_whoever_comes_first(cluster, telemetry):
    """Whoever is busy telling also tells what others add meanwhile, and nobody waits."""
    busy = cluster.telemetry.cluster
    with busy._telling:
        cluster.becomes(well())
        assert telemetry.spans == ()
    busy.tell()

    assert telemetry.span.name == "mongodb.topology.discovery"
