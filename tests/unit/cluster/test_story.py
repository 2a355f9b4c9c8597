"""What the log says of a cluster: a story of few lines, whatever happens."""

from __future__ import annotations

import logging

import pymongo.errors
import pytest
from descriptions import A, B, C, replica_set, single

from otel_mongo_apm._cluster import story
from otel_mongo_apm._cluster.changes import changes
from otel_mongo_apm._cluster.descriptions import Topology, topology
from otel_mongo_apm._cluster.story import SECOND, Story
from otel_mongo_apm._cluster.timeline import ClusterEvent
from otel_mongo_apm._otel.semconv import CLIENT_SERVER_HEARTBEAT_FAILED, CLIENT_TOPOLOGY_CLOSED

REFUSED = pymongo.errors.AutoReconnect("a.example:27017: [Errno 111] Connection refused")
WELL = {A: "rs_primary", B: "rs_secondary"}
LOST = {A: REFUSED, B: "rs_secondary"}
MOVED = {A: REFUSED, B: "rs_primary"}


class Reader:
    """Who reads the log of a client whose cluster the test decides."""

    def __init__(self):
        self.story = Story()
        self.topology = Topology()
        self.seconds = 0.0
        self.lines = []
        self.quiet = []
        self.repeats = 0

    def sees(self, servers, after=0.0):
        description = servers if hasattr(servers, "topology_type") else replica_set(servers)
        new = topology(description, self.topology.primary)
        self.seconds += after
        for event in changes(self.topology, new, round(self.seconds * SECOND)):
            self._take(self.story.line(event))
        self.topology = new

    def misses(self, address):
        time = round(self.seconds * SECOND)
        line = f"Server {address[0]}: heartbeat failed"
        event = ClusterEvent(CLIENT_SERVER_HEARTBEAT_FAILED, time, {}, line, address)
        self._take(self.story.line(event))

    def waits(self):
        if line := self.story.overdue():
            self._take(line)

    def _take(self, line):
        self.repeats += line.repeats
        taker = self.quiet if line.level == logging.DEBUG else self.lines
        taker.append((logging.getLevelName(line.level), line.text))

    def told(self):
        told, self.lines = self.lines, []
        return told


@pytest.fixture
def reader():
    reader = Reader()
    reader.sees({A: None, B: None})
    return reader


@pytest.fixture
def started(reader):
    reader.sees(WELL)
    reader.told()
    return reader


@pytest.fixture
def clock(monkeypatch):
    """Let the test decide how late it is."""
    now = [1000.0]
    monkeypatch.setattr(story.time, "monotonic", lambda: now[0])
    return now


def test_a_start(reader):
    """To start a client is one line, however many servers it finds."""
    reader.sees({A: "rs_secondary", B: None})
    reader.sees({A: "rs_secondary", B: "rs_primary"})
    reader.waits()

    assert reader.lines == [
        (
            "INFO",
            (
                "Topology rs0: ReplicaSetNoPrimary -> ReplicaSetWithPrimary, writable,"
                " primary b.example:27018"
            ),
        )
    ]


def test_a_start_without_a_primary(reader, clock):
    """Where there is no primary it is said after a while, and the primary when it comes."""
    reader.sees({A: "rs_secondary", B: None})
    reader.waits()
    assert reader.lines == []
    clock[0] += 1
    reader.waits()
    reader.waits()
    reader.sees({A: "rs_secondary", B: "rs_primary"})

    first, second = reader.told()
    assert first == ("INFO", "Topology rs0: ReplicaSetNoPrimary, no writable server")
    assert "writable, primary b.example:27018" in second[1]


def test_an_outage(started):
    """An outage is a story: who was lost and why, what that meant, how long it took."""
    started.misses(A)
    started.sees(LOST)
    for _ in range(20):
        started.misses(A)
    started.sees(MOVED, after=3.2)
    started.sees({A: "rs_secondary", B: "rs_primary"}, after=10)

    assert started.lines == [
        ("WARNING", "Server a.example:27017 of rs0: RSPrimary -> Unknown, connection refused"),
        (
            "WARNING",
            "Topology rs0: ReplicaSetWithPrimary -> ReplicaSetNoPrimary, no writable server",
        ),
        (
            "INFO",
            (
                "Topology rs0: ReplicaSetNoPrimary -> ReplicaSetWithPrimary, writable,"
                " primary b.example:27018, after 3.2 s without a writable server"
            ),
        ),
        (
            "INFO",
            (
                "Server a.example:27017 of rs0: Unknown -> RSSecondary,"
                " after 13.2 s and 21 failed heartbeats"
            ),
        ),
    ]
    assert started.repeats == 20


def test_a_server_that_was_never_there(reader):
    """A server that cannot be reached at first is one warning, with its first heartbeat."""
    for _ in range(20):
        reader.misses(A)
        reader.sees({A: REFUSED, B: None})

    assert reader.lines == [("WARNING", "Server a.example: heartbeat failed")]
    assert reader.repeats == 19


def test_a_server_that_is_removed_is_forgotten(started):
    """A server that is gone keeps nothing, and its last heartbeat has no line."""
    started.sees({A: "rs_primary"})
    started.misses(B)

    assert started.lines == [("INFO", "Server b.example:27018 of rs0: removed")]
    assert started.story._servers.keys() == {A}
    assert started.story._lost == {}


def test_members_that_come(started):
    """A server that is added later is told, what it is only to those who debug."""
    started.sees({**WELL, C: "rs_secondary"})

    assert started.lines == [("INFO", "Server c.example:27019 of rs0: added")]


def test_another_primary_at_once(started):
    """A primary that changes between two looks has one line."""
    started.sees({A: "rs_secondary", B: "rs_primary"}, after=1)

    assert started.lines == [("INFO", "Topology rs0: primary a.example:27017 -> b.example:27018")]


def test_the_last_server(started):
    """That there is nothing left to read from either is a warning."""
    started.sees(LOST)
    started.told()
    started.sees({A: REFUSED, B: REFUSED})

    assert [level for level, _ in started.lines] == ["WARNING", "WARNING"]
    assert started.lines[-1][1] == "Topology rs0: ReplicaSetNoPrimary, no usable server"


def test_a_cluster_that_flaps(started, clock):
    """Whatever happens there is only a handful of lines, and each that warns has its good end."""
    for number in range(100):
        started.sees(LOST if number % 2 == 0 else WELL, after=0.1)

    told = started.told()
    assert len(told) <= 4 * story.MAX_LINES
    levels = [level for level, _ in told]
    assert levels.count("WARNING") == levels.count("INFO") <= 2 * story.MAX_LINES
    clock[0] += story.MINUTE
    started.sees(LOST)
    (first, *_) = started.told()
    assert first[1].endswith(" more at DEBUG level)")


def test_opened_again(started):
    """A client that was closed and used again begins anew."""
    event = ClusterEvent(CLIENT_TOPOLOGY_CLOSED, 0, {}, "Topology rs0: closed")
    started._take(started.story.line(event))
    started.story.begin()
    started.topology = Topology()
    started.sees(WELL)

    assert [level for level, _ in started.lines] == ["INFO", "INFO"]


def test_one_server():
    """A server that stands alone is called by its address."""
    alone = Reader()
    alone.sees(single(None))
    alone.sees(single("standalone"))
    alone.sees(single(REFUSED))

    assert [text for _, text in alone.lines] == [
        "Topology a.example:27017: Single, writable",
        "Server a.example:27017: Standalone -> Unknown, connection refused",
        "Topology a.example:27017: Single, no usable server",
    ]


def test_many_servers():
    """Of a cluster without a name a few servers are named, and how many more there are."""
    servers = {("h", port): None for port in range(1, 61)}

    reader = Reader()
    reader.sees(replica_set(servers, name=None))
    assert reader.quiet[-1][1].startswith("Topology h:1, h:10, h:11 and 57 more: ")


def test_applications():
    """Where the client has named its application, each line names it, too."""
    old, new = (topology(replica_set(each), None, "orders") for each in (WELL, LOST))

    assert [event.line for event in changes(old, new, 0)] == [
        "Server a.example:27017 of rs0 (orders): RSPrimary -> Unknown, connection refused",
        "Topology rs0 (orders): ReplicaSetWithPrimary -> ReplicaSetNoPrimary, no writable server",
    ]
