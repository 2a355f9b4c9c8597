"""A replica set of three: its primary is killed, steps down or hangs; members come and go."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import local_mongodb
import pymongo
import pytest
from local_mongodb import eventually
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandListener, ConnectionPoolListener
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from in_memory import InMemoryTelemetry
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

MILLISECOND = 1_000_000  # In nanoseconds, as the times of spans.
OUTAGE = "mongodb.topology.outage"
DISCOVERY = "mongodb.topology.discovery"
KILLS = 5
WRITERS = 8
# So long that there are no elections but those that a test asks for.
ELECTION_TIMEOUT = 5.0
# Between two writes of a writer; else they would keep all processors busy.
BREATH = 0.02
# How a server refuses a write that is no longer the primary, or not yet.
NOT_READY = {"InterruptedDueToReplStateChange", "NotWritablePrimary", "PrimarySteppedDown"}
# A primary is missed for as long as every writer needs to notice.
MISSED = 0.5


@pytest.fixture(scope="module")
def servers(standalone) -> Iterator[local_mongodb.ReplicaSet]:
    """A replica set of three; `standalone` is there to skip if there is no mongod."""
    with local_mongodb.replica_set(3) as servers:
        primary = servers.primary()
        configuration = primary.command("replSetGetConfig")["config"]
        configuration["version"] += 1
        configuration["settings"]["electionTimeoutMillis"] = round(ELECTION_TIMEOUT * 1000)
        primary.command("replSetReconfig", configuration)
        yield servers


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unseen_control")]


@pytest.fixture
def topology_listeners() -> bool:
    """Whether PyMongo's own listeners tell what changes, rather than a look at each heartbeat."""
    return False


@pytest.fixture
def instrumented(telemetry, topology_listeners):
    MongoInstrumentor().instrument(topology_listeners=topology_listeners, **telemetry.providers)
    return telemetry


both_ways = pytest.mark.parametrize(
    "topology_listeners", [False, True], ids=["looking", "listening"]
)


class SpanCounts(SpanProcessor):
    """Counts spans as they start and end."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started[span.context.span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended[span.context.span_id] += 1


@pytest.fixture
def span_counts(telemetry) -> SpanCounts:
    counts = SpanCounts()
    telemetry.tracer_provider.add_span_processor(counts)
    return counts


class Watch:
    """Watches a client's live description, whatever is told of it."""

    def __init__(self) -> None:
        # When it was first found to be writable or not, and when last before that it was not so.
        self.changes: list[tuple[bool, int, int]] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, client: Any) -> None:
        self._thread = threading.Thread(target=self._watch, args=(client,))
        self._thread.start()

    def end(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _watch(self, client: Any) -> None:
        was_writable, last = True, time.time_ns()
        while not self._stopping.wait(0.002):
            asked, is_writable = time.time_ns(), client.topology_description.has_writable_server()
            if is_writable != was_writable:
                self.changes.append((is_writable, last, time.time_ns()))
            was_writable, last = is_writable, asked


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.end()


class Attempts(CommandListener, ConnectionPoolListener):
    """Counts the driver's attempts, good and failed, in each of the application's traces."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[int, bool]] = Counter()

    def started(self, event):
        pass

    def succeeded(self, event):
        self._count(failed=not {"writeErrors", "writeConcernError"}.isdisjoint(event.reply))

    def failed(self, event):
        self._count(failed=True)

    def connection_check_out_failed(self, event):
        self._count(failed=True)

    def _count(self, *, failed: bool) -> None:
        # No two threads or tasks have a trace in common.
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            self.ended[span.trace_id, failed] += 1

    def _ignore(self, event):
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = _ignore
    connection_created = connection_ready = connection_closed = _ignore
    connection_check_out_started = connection_checked_out = connection_checked_in = _ignore


@dataclass
class Write:
    """What the application knows of a write."""

    trace_id: int
    began: int
    ended: int = 0
    acknowledged: bool = False


class Writes:
    """The writes of all threads or tasks, each with a span of the application around it."""

    def __init__(self, telemetry: InMemoryTelemetry) -> None:
        self.all: list[Write] = []
        self._tracer = telemetry.tracer
        self._stopping = threading.Event()

    @property
    def go_on(self) -> bool:
        return not self._stopping.is_set()

    def stop(self) -> None:
        self._stopping.set()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        with self._tracer.start_as_current_span("write") as span:
            write = Write(span.get_span_context().trace_id, time.time_ns())
            with contextlib.suppress(PyMongoError):
                yield
                write.acknowledged = True
            write.ended = time.time_ns()
        self.all.append(write)


@pytest.fixture
def writes(telemetry) -> Iterator[Writes]:
    writes = Writes(telemetry)
    yield writes
    writes.stop()


def state(telemetry: InMemoryTelemetry, name: str) -> int | None:
    """What a metric of the replica set tells now."""
    return next(
        (
            point.data.value
            for point in telemetry.points(f"mongodb.client.topology.{name}")
            if point.attributes == {"mongodb.replica_set.name": "rs0"}
        ),
        None,
    )


def statuses(telemetry: InMemoryTelemetry) -> dict[int, dict[str, int]]:
    """Which types each server has and had, by its port."""
    found: dict[int, dict[str, int]] = {}
    for point in telemetry.points("mongodb.client.server.status"):
        types = found.setdefault(point.attributes["server.port"], {})
        types[point.attributes["mongodb.client.server.type"]] = point.data.value
    return found


def server_counts(telemetry: InMemoryTelemetry) -> dict[str, int]:
    return {
        point.attributes["mongodb.client.server.type"]: point.data.value
        for point in telemetry.points("mongodb.client.topology.servers")
    }


def elect(servers: local_mongodb.ReplicaSet) -> local_mongodb.Mongod:
    """Make one of the secondaries the primary now."""

    def elected() -> bool:
        for member in servers.secondaries():
            with contextlib.suppress(PyMongoError):  # Another one has newer documents.
                return bool(member.command("replSetStepUp"))
        return False

    eventually(elected, "an election")
    return servers.wait_for_primary()


def kill_and_restart(
    servers: local_mongodb.ReplicaSet, telemetry: InMemoryTelemetry
) -> tuple[str, str]:
    """Kill the primary, let another be elected, restart it; return the primaries' addresses."""
    killed = servers.kill_primary()
    eventually(lambda: state(telemetry, "writable") == 0, "the outage")
    time.sleep(MISSED)
    assert state(telemetry, "writable") == 0
    elected = elect(servers)
    eventually(lambda: state(telemetry, "writable") == 1, "the outage's end")
    killed.start()
    servers.wait_for_secondaries()
    return killed.host, elected.host


def event_names(span: ReadableSpan) -> set[str]:
    return {event.name.removeprefix("mongodb.client.") for event in span.events}


def check_outages(
    telemetry: InMemoryTelemetry, watch: Watch, successions: list[tuple[str, str]]
) -> None:
    """Each outage is told once, at its time: roots, whose traces have nothing else."""
    eventually(lambda: len(telemetry.named(OUTAGE)) == len(successions), "the last outage's span")
    outages = telemetry.named(OUTAGE)
    edges = [edge for span in outages for edge in ((False, span.start_time), (True, span.end_time))]
    (durations,) = telemetry.points("mongodb.client.topology.outage.duration")

    assert [dict(span.attributes) for span in outages] == [
        {
            "mongodb.replica_set.name": "rs0",
            "mongodb.client.primary.previous_address": before,
            "mongodb.client.primary.address": after,
        }
        for before, after in successions
    ]
    assert state(telemetry, "primary_changes") == len(successions)
    assert durations.attributes == {"mongodb.replica_set.name": "rs0"}
    assert durations.data.count == len(successions)
    assert [is_writable for is_writable, _ in edges] == [change[0] for change in watch.changes]
    for (_, told), (_, not_before, not_after) in zip(edges, watch.changes, strict=True):
        assert not_before - 100 * MILLISECOND <= told <= not_after + 100 * MILLISECOND
    for span in outages:
        assert span.parent is None
        assert span.kind is SpanKind.INTERNAL
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "No writable server"
        assert [s.name for s in telemetry.spans if s.context.trace_id == span.context.trace_id] == [
            OUTAGE
        ]
        assert event_names(span) >= {
            "server.description_changed",
            "topology.description_changed",
            "topology.primary_changed",
        }


def check_writes(telemetry: InMemoryTelemetry, writes: Writes, attempts: Attempts) -> None:
    """Each attempt has one span: of an acknowledged write one is good; what failed is an error."""
    roots = {s.context.span_id: s.context.trace_id for s in telemetry.spans if s.name == "write"}
    told = Counter(
        (roots[span.parent.span_id], span.status.status_code is StatusCode.ERROR)
        for span in telemetry.spans
        if span.parent and span.kind is SpanKind.CLIENT
    )

    assert {write.trace_id for write in writes.all} == set(roots.values())
    assert told == attempts.ended
    assert {write.trace_id: told[write.trace_id, False] for write in writes.all} == {
        write.trace_id: int(write.acknowledged) for write in writes.all
    }


def check_explanations(telemetry: InMemoryTelemetry, writes: Writes) -> None:
    """Who waited for a new primary has a span that says so."""
    waits = [span for span in telemetry.named("select server") if span.parent]
    for outage in telemetry.named(OUTAGE):
        end = outage.end_time
        slow = [w for w in writes.all if w.began < end - 100 * MILLISECOND and w.ended > end]
        explained = {
            span.context.trace_id
            for span in waits
            if span.start_time < end <= span.end_time
            and "topology.primary_changed" in event_names(span)
        }

        assert slow
        assert {write.trace_id for write in slow} <= explained


def test_threads(instrumented, servers, telemetry, span_counts, watch, writes):
    """Five primaries are killed under eight threads that write: all is told, and told once."""
    attempts = Attempts()

    def write(_: int) -> None:
        while writes.go_on:
            with writes.one():
                client.shop.orders.insert_one({})
            time.sleep(BREATH)

    with (
        pymongo.MongoClient(servers.uri, event_listeners=[attempts]) as client,
        ThreadPoolExecutor(WRITERS) as threads,
    ):
        client.admin.command("ping")
        watch.begin(client)
        writers = threads.map(write, range(WRITERS))
        successions = [kill_and_restart(servers, telemetry) for _ in range(KILLS)]
        writes.stop()
        assert list(writers) == [None] * WRITERS
        watch.end()

    check_outages(telemetry, watch, successions)
    check_writes(telemetry, writes, attempts)
    check_explanations(telemetry, writes)
    exported = Counter(span.context.span_id for span in telemetry.spans)
    assert span_counts.started == span_counts.ended == exported


@needs_async
async def test_tasks(instrumented, servers, telemetry, span_counts, watch, writes):
    """Five primaries are killed under eight tasks that write: all is told, and told once."""
    attempts = Attempts()

    async def write() -> None:
        while writes.go_on:
            with writes.one():
                await client.shop.orders.insert_one({})
            await asyncio.sleep(BREATH)

    async with pymongo.AsyncMongoClient(servers.uri, event_listeners=[attempts]) as client:
        await client.admin.command("ping")
        watch.begin(client)
        writers = asyncio.gather(*(write() for _ in range(WRITERS)))
        successions = [
            await asyncio.to_thread(kill_and_restart, servers, telemetry) for _ in range(KILLS)
        ]
        writes.stop()
        await writers
        watch.end()

    check_outages(telemetry, watch, successions)
    check_writes(telemetry, writes, attempts)
    check_explanations(telemetry, writes)
    exported = Counter(span.context.span_id for span in telemetry.spans)
    assert span_counts.started == span_counts.ended == exported


@both_ways
def test_an_idle_client(instrumented, servers, telemetry, watch):
    """A client that nobody uses tells of its discovery and of an outage as soon as they end."""
    with pymongo.MongoClient(servers.uri) as client:
        eventually(lambda: telemetry.named(DISCOVERY), "the discovery")
        eventually(lambda: len(client.nodes) == len(servers.members), "all servers")
        watch.begin(client)
        successions = [kill_and_restart(servers, telemetry)]
        watch.end()

        check_outages(telemetry, watch, successions)
    discovery, outage = telemetry.spans
    assert dict(discovery.attributes) == {"mongodb.replica_set.name": "rs0"}
    assert {"topology.opened", "server.opened"} <= event_names(discovery)
    assert discovery.parent is None
    assert outage.name == OUTAGE


@both_ways
@needs_async
async def test_an_idle_asyncio_client(instrumented, servers, telemetry, watch):
    """So does an asyncio client that was only connected, and that in someone's trace."""
    async with pymongo.AsyncMongoClient(servers.uri) as client:
        with telemetry.tracer.start_as_current_span("start-up") as start_up:
            await client.aconnect()
        await asyncio.to_thread(eventually, lambda: telemetry.named(DISCOVERY), "the discovery")
        watch.begin(client)
        successions = [await asyncio.to_thread(kill_and_restart, servers, telemetry)]
        watch.end()

        check_outages(telemetry, watch, successions)
    (discovery,) = telemetry.named(DISCOVERY)
    assert dict(discovery.attributes) == {"mongodb.replica_set.name": "rs0"}
    assert discovery.parent is None
    assert start_up.events == ()
    assert {span.name for span in telemetry.spans} == {"start-up", DISCOVERY, OUTAGE}


@both_ways
def test_a_step_down(instrumented, servers, telemetry, watch, topology_listeners):
    """A primary that steps down is an outage without a failure; who writes meanwhile waits."""
    with pymongo.MongoClient(servers.uri) as client, ThreadPoolExecutor() as threads:
        client.shop.orders.insert_one({})
        watch.begin(client)
        before = servers.step_down()
        eventually(lambda: state(telemetry, "writable") == 0, "the outage")
        insert = threads.submit(client.shop.orders.insert_one, {})
        time.sleep(MISSED)
        after = elect(servers)
        insert.result()
        watch.end()

        check_outages(telemetry, watch, [(before.host, after.host)])
        assert statuses(telemetry)[before.port]["rs_primary"] == 0
        assert statuses(telemetry)[before.port]["rs_secondary"] == 1
        assert statuses(telemetry)[after.port]["rs_primary"] == 1
    told = set[str]().union(*map(event_names, telemetry.spans))
    assert told.isdisjoint({"server.heartbeat.failed", "connection.pool.cleared"})
    wait = telemetry.named("select server")[-1]
    assert wait.kind is SpanKind.INTERNAL
    assert dict(wait.attributes) == {
        "db.system.name": "mongodb",
        "db.operation.name": "insert",
        "server.address": ",".join(sorted(member.host for member in servers.members)),
    }
    # PyMongo's own events come when the wait may be over.
    assert topology_listeners or "topology.primary_changed" in event_names(wait)
    # A new primary may refuse the first attempt if it is not quite ready.
    first, *refused, last = telemetry.named("insert orders")
    assert first.status.status_code is last.status.status_code is StatusCode.UNSET
    assert {span.status.description for span in refused} <= NOT_READY
    assert last.start_time >= wait.end_time


def test_a_primary_that_hangs(instrumented, servers, telemetry, watch):
    """A write to a primary that hangs fails when a heartbeat does, and that explains it."""
    options = {"heartbeatFrequencyMS": 500, "connectTimeoutMS": 1000}
    hung = servers.wait_for_primary()
    with pymongo.MongoClient(servers.uri, **options) as client, ThreadPoolExecutor() as threads:
        # Without a majority: the other secondary may still try to read from the one that hangs.
        orders = client.shop.get_collection("orders", write_concern=pymongo.WriteConcern(1))
        orders.insert_one({})
        eventually(lambda: len(client.nodes) == len(servers.members), "all servers")
        watch.begin(client)
        hung.pause()
        try:
            insert = threads.submit(orders.insert_one, {})
            eventually(lambda: state(telemetry, "writable") == 0, "the outage")
            after = servers.wait_for_primary()
            insert.result()
        finally:
            hung.resume()
        servers.wait_for_secondaries()
        eventually(
            lambda: statuses(telemetry)[hung.port].get("rs_secondary"), "the primary's return"
        )
        watch.end()

        check_outages(telemetry, watch, [(hung.host, after.host)])
    _, failed, retried = telemetry.named("insert orders")
    assert failed.status.status_code is StatusCode.ERROR
    assert event_names(failed) >= {"server.heartbeat.failed", "connection.pool.cleared"}
    assert retried.status.status_code is StatusCode.UNSET
    assert retried.attributes["network.peer.port"] == after.port
    wait = telemetry.named("select server")[-1]
    assert failed.end_time <= wait.start_time
    assert wait.end_time <= retried.start_time
    assert "topology.primary_changed" in event_names(wait)


@both_ways
def test_members_come_and_go(instrumented, servers, telemetry, caplog):
    """A member that is added is known, one that is removed is not, and the writes go on."""
    caplog.set_level("INFO", "otel_mongo_apm.cluster")
    with pymongo.MongoClient(servers.uri) as client:
        eventually(lambda: server_counts(telemetry) == {"rs_primary": 1, "rs_secondary": 2}, "all")
        known = statuses(telemetry).keys()
        caplog.clear()
        added = servers.add()
        eventually(lambda: server_counts(telemetry) == {"rs_primary": 1, "rs_secondary": 3}, "it")
        assert statuses(telemetry).keys() == {*known, added.port}
        servers.remove(added)
        eventually(lambda: server_counts(telemetry) == {"rs_primary": 1, "rs_secondary": 2}, "rest")
        assert statuses(telemetry).keys() == known
        client.shop.orders.insert_one({})

    lines = [line for line in caplog.messages if line.startswith(f"Server {added.host} ")]
    assert lines[0] == f"Server {added.host} of rs0: added"
    assert lines[-1].startswith(f"Server {added.host} of rs0: removed")
    assert telemetry.named(OUTAGE) == []
    assert state(telemetry, "primary_changes") == 0
    assert telemetry.named("insert orders")[0].status.status_code is StatusCode.UNSET
