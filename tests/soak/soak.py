"""Everything at once, for long: nothing is lost, nothing is left, and memory stays as it is.

    make soak

Threads and tasks send random commands to a replica set of three. Tasks are cancelled, calls run
out of time, clients come and go; servers are killed and come back, primaries step down, commands
fail and close their connections. Now and then all rest, so that it can be seen what is left. What
was found is printed in the end, as JSON.

Run it with PYTHONMALLOC=malloc, as `make soak` does: what Python's own allocator has had once it
seldom gives back, and of that tells nothing. PyMongo's own memory grows, too, if ever more slowly:
when it takes long, another process does the same without being instrumented, to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import leftovers
import pymongo
from leftovers import Memory
from local_mongodb import ReplicaSet, eventually, replica_set
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandListener

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._commands import cursors, in_flight
from otel_mongo_apm._setup.client import client_telemetry, ours_among

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

HAS_ASYNC = pymongo.version_tuple >= (4, 11)
DOCUMENTS = 1000
# How much more memory may be allocated, in MiB per million commands, than uninstrumented; and how
# long, in minutes, it takes until that is no noise.
MAX_GROWTH, LONG_ENOUGH = 1.0, 20
# How long, in seconds, it takes until PyMongo has killed the cursors that nobody wants any more.
PAUSE = 2.5
# How many entries a table of ours may have, unless it had more from the start.
MAX_ENTRIES = 150
# Cursors that PyMongo could not kill are kept up to a number. A small one is soon reached.
cursors.MAX_CURSORS = 100
# So is what the last command of a thread or a task that has ended would be retried as.
in_flight.MAX_RETRIES = 100
# What grows for as long as there are names that were not met before.
NAMES = {"_Names._admitted", "_Keys", "_Arguments"}
# A call that sends no command is measured, too, but has no server.
SERVER = "network.peer.port"
# Few series for each command. Of all there could be, some would only come late: they are the SDK's.
FEW_SERIES = View(instrument_name="*", attribute_keys={"db.operation.name", SERVER})


class Counts(SpanProcessor, SpanExporter):
    """Counts spans, and keeps none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.started = self.ended = self.exported = 0

    def on_start(self, span, parent_context=None):
        with self._lock:
            self.started += 1

    def on_end(self, span):
        with self._lock:
            self.ended += 1

    def export(self, spans):
        with self._lock:
            self.exported += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=30_000):
        return True


class Sent(CommandListener):
    """How many commands of each name the driver has sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_name: Counter[str] = Counter()

    @property
    def number(self) -> int:
        return self.by_name.total()

    def started(self, event):
        with self._lock:
            self.by_name[event.command_name] += 1

    def succeeded(self, event):
        pass

    failed = succeeded


class Work:
    """What all do, unless all are to rest."""

    def __init__(self) -> None:
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._busy: set[object] = set()

    @contextlib.contextmanager
    def by(self, who: object) -> Iterator[None]:
        """Let somebody do a piece of work, when it may be done."""
        while self._is_to_wait(who):
            self._goes_on.wait()
        try:
            yield
        finally:
            self._busy.discard(who)

    @contextlib.asynccontextmanager
    async def by_task(self, who: object) -> AsyncIterator[None]:
        """The same for a task."""
        while self._is_to_wait(who):  # noqa: ASYNC110  # It is a thread that they wait for.
            await asyncio.sleep(0.05)
        try:
            yield
        finally:
            self._busy.discard(who)

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Let all finish what they do, and then begin no more."""
        self._goes_on.clear()
        try:
            eventually(lambda: not self._busy, "everybody's rest", 120)
            yield
        finally:
            self._goes_on.set()

    def _is_to_wait(self, who: object) -> bool:
        # First to be busy, then to look: else who is to rest might have begun meanwhile.
        self._busy.add(who)
        if self._goes_on.is_set():
            return False
        self._busy.discard(who)
        return True


@dataclass
class Soak:
    """What all that happens at once has in common."""

    servers: ReplicaSet
    seed: int
    is_instrumented: bool = True
    counts: Counts = field(default_factory=Counts)
    sent: Sent = field(default_factory=Sent)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    over: threading.Event = field(default_factory=threading.Event)
    work: Work = field(default_factory=Work)
    done: Counter[str] = field(default_factory=Counter)
    clients: dict[str, Any] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None

    def randomly(self, who: object) -> random.Random:
        return random.Random(f"{self.seed} {who}")

    @property
    def options(self) -> dict[str, Any]:
        return {
            "host": self.servers.uri,
            "event_listeners": [self.sent],
            "maxPoolSize": 8,
            "waitQueueTimeoutMS": 2000,
            "serverSelectionTimeoutMS": 3000,
        }


# What the threads do.


def write(users: Any, randomly: random.Random) -> None:
    number = randomly.randrange(DOCUMENTS)
    users.update_one({"_id": number}, {"$inc": {"n": 1}}, upsert=True)


def write_many(users: Any, randomly: random.Random) -> None:
    numbers = [randomly.randrange(DOCUMENTS) for _ in range(10)]
    users.delete_many({"_id": {"$in": numbers[:5]}})
    users.insert_many([{"_id": number} for number in numbers], ordered=False)


def read(users: Any, randomly: random.Random) -> None:
    users.find_one({"_id": randomly.randrange(DOCUMENTS)})


def read_much(users: Any, randomly: random.Random) -> None:
    # Sometimes a cursor is left open, for the collector of garbage to find.
    list(islice(users.find({}, batch_size=20), randomly.choice((10, 50, 100))))


def fail(users: Any, randomly: random.Random) -> None:
    users.find_one({"$no": 1})


def run_out_of_time(users: Any, randomly: random.Random) -> None:
    with pymongo.timeout(randomly.uniform(0.001, 0.02)):
        users.find_one({"$where": "sleep(5) || true"})


def transact(users: Any, randomly: random.Random) -> None:
    with users.database.client.start_session() as session, session.start_transaction():
        users.update_one(
            {"_id": randomly.randrange(DOCUMENTS)}, {"$inc": {"n": 1}}, session=session
        )


OPERATIONS = [write, write_many, read, read, read_much, fail, run_out_of_time, transact]


def come_and_go(soak: Soak, randomly: random.Random) -> None:
    with pymongo.MongoClient(**soak.options) as client:
        read(client.shop.users, randomly)


def work(soak: Soak, client: pymongo.MongoClient, number: int) -> None:
    """Let a thread send commands, and now and then make a client of its own."""
    randomly = soak.randomly(number)
    while not soak.over.is_set():
        with soak.work.by(number), contextlib.suppress(PyMongoError):
            if randomly.random() < 0.005:
                come_and_go(soak, randomly)
            randomly.choice(OPERATIONS)(client.shop.users, randomly)


# What the tasks do.


async def write_async(users: Any, randomly: random.Random) -> None:
    await users.update_one({"_id": randomly.randrange(DOCUMENTS)}, {"$inc": {"n": 1}}, upsert=True)


async def read_async(users: Any, randomly: random.Random) -> None:
    await users.find_one({"_id": randomly.randrange(DOCUMENTS)})


async def read_much_async(users: Any, randomly: random.Random) -> None:
    await users.find({}, batch_size=20).to_list(randomly.choice((10, 50, 100)))


async def fail_async(users: Any, randomly: random.Random) -> None:
    await users.find_one({"$no": 1})


async def dawdle_async(users: Any, randomly: random.Random) -> None:
    await users.find_one({"$where": "sleep(5) || true"})


async def transact_async(users: Any, randomly: random.Random) -> None:
    number = randomly.randrange(DOCUMENTS)
    async with (
        users.database.client.start_session() as session,
        await session.start_transaction(),
    ):
        await users.update_one({"_id": number}, {"$inc": {"n": 1}}, session=session)


ASYNC_OPERATIONS = [
    *(write_async, read_async, read_async, read_much_async),
    *(fail_async, dawdle_async, transact_async),
]


async def perhaps_cancelled(operation: Awaitable[None], randomly: random.Random) -> None:
    """Await an operation, or cancel it after a moment, one way or the other."""
    task, fate = asyncio.ensure_future(operation), randomly.random()
    if fate < 0.1:
        await asyncio.wait_for(task, randomly.uniform(0, 0.01))
    elif fate < 0.2:
        await asyncio.sleep(randomly.uniform(0, 0.01))
        task.cancel()
    await task


async def work_async(soak: Soak, client: Any, number: int) -> None:
    """Let a task send commands."""
    randomly = soak.randomly(number)
    while not soak.over.is_set():
        async with soak.work.by_task(number):
            operation = randomly.choice(ASYNC_OPERATIONS)(client.shop.users, randomly)
            try:
                await perhaps_cancelled(operation, randomly)
            except asyncio.CancelledError:
                soak.done["cancelled"] += 1
            except (PyMongoError, asyncio.TimeoutError):
                pass


async def tasks(soak: Soak, number: int) -> None:
    """Let tasks work with a client of theirs."""
    async with pymongo.AsyncMongoClient(**soak.options) as client:
        soak.clients["asynchronous"], soak.loop = client, asyncio.get_running_loop()
        await asyncio.gather(*(work_async(soak, client, each) for each in range(number)))


# What goes wrong meanwhile.


def kill(soak: Soak, randomly: random.Random) -> None:
    killed = soak.servers.kill_primary()
    soak.over.wait(randomly.uniform(0.5, 3))
    killed.start()
    soak.servers.wait_for_primary()


def step_down(soak: Soak, randomly: random.Random) -> None:
    soak.servers.step_down(2, force=randomly.random() < 0.5)


def close_connections(soak: Soak, randomly: random.Random) -> None:
    fail_command(soak, randomly, closeConnection=True)


def refuse(soak: Soak, randomly: random.Random) -> None:
    fail_command(soak, randomly, errorCode=91)  # ShutdownInProgress: clears the pool.


def fail_command(soak: Soak, randomly: random.Random, **how: Any) -> None:
    soak.servers.wait_for_primary().command(
        "configureFailPoint",
        "failCommand",
        mode={"times": randomly.randrange(1, 20)},
        data={"failCommands": ["find", "update", "insert", "getMore"], **how},
    )


TROUBLES = [kill, close_connections, step_down, refuse]


def make_trouble(soak: Soak) -> None:
    """Let something go wrong every few seconds."""
    randomly = soak.randomly("trouble")
    for trouble in cycle(TROUBLES):
        if soak.over.wait(randomly.uniform(2, 6)):
            break
        with (
            soak.work.by("trouble"),
            suppress_instrumentation(),
            contextlib.suppress(PyMongoError, TimeoutError),
        ):
            trouble(soak, randomly)
            soak.done[trouble.__name__] += 1


# What is looked at.


def listeners_of(client: Any) -> Any:
    """What ours share, of one client."""
    ours = ours_among(client.options.event_listeners)
    return client_telemetry(ours[0])


def counted(client: Any) -> dict[str, int]:
    """A client's connections and callers, as we count them."""
    ours = listeners_of(client).pools
    ours.reconcile()
    pools = [pool for pool in ours.values() if not pool.is_closed]
    for pool in pools:
        pool.drop_the_silent()
    return {
        "idle": sum(pool.idle for pool in pools),
        "used": sum(len(pool.used) for pool in pools),
        "pending": sum(len(pool.pending) for pool in pools),
    }


def idle_in(client: Any) -> int:
    """How many connections are idle, as PyMongo counts them."""
    return sum(len(server.pool.conns) for server in client._topology._servers.values())


def is_settled(client: Any) -> bool:
    is_idle = counted(client) == {"idle": idle_in(client), "used": 0, "pending": 0}
    return is_idle and not len(listeners_of(client).in_flight)


class Findings:
    """What was found, and what of it is wrong."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.wrong: list[str] = []

    def expect(self, what: str, found: Any, expected: Any) -> None:
        self.found[what] = found
        if found != expected:
            self.wrong.append(f"{what}: {found!r}, not {expected!r}")

    def bound(self, tables: dict[str, int], before: dict[str, int]) -> None:
        """Note which tables have too many entries, and how many the largest has."""
        sizes = {name: size for name, size in tables.items() if size > before.get(name, 0)}
        self.found["most entries"] = max([self.found.get("most entries", 0), *sizes.values()])
        self.wrong += [
            f"{name} has {size} entries" for name, size in sizes.items() if size > MAX_ENTRIES
        ]

    def look_at(self, clients: dict[str, Any]) -> None:
        """Compare what we count of each client at rest with what PyMongo has."""
        for which, client in clients.items():
            with contextlib.suppress(TimeoutError):
                eventually(partial(is_settled, client), "a client that is at rest", 10)
            idle = {"idle": idle_in(client), "used": 0, "pending": 0}
            self.expect(f"connections, {which} client", counted(client), idle)
            self.expect(f"in flight, {which} client", len(listeners_of(client).in_flight), 0)


def measured(reader: InMemoryMetricReader) -> Counter[str]:
    """How many durations of commands of each name were measured."""
    collected = reader.get_metrics_data()
    durations: Counter[str] = Counter()
    for resource in collected.resource_metrics if collected else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == "db.client.operation.duration":
                    for point in metric.data.data_points:
                        if SERVER in point.attributes:
                            durations[point.attributes["db.operation.name"]] += point.count
    return durations


def empty_pools(soak: Soak) -> None:
    """Close connections, of which there are now more and now fewer."""
    for client in soak.clients.values():
        for server in list(client._topology._servers.values()):
            closing = server.pool.reset_without_pause()
            if soak.loop and asyncio.iscoroutine(closing):
                asyncio.run_coroutine_threadsafe(closing, soak.loop).result(10)


def watch(soak: Soak, memory: Memory, seconds: float, findings: Findings) -> None:
    """Let all rest now and again, and look, until it is over."""
    before, end = leftovers.tables(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(max(10, seconds / 40), left))
        with soak.work.at_rest():
            time.sleep(PAUSE)
            measured(soak.reader)
            if soak.is_instrumented:
                findings.look_at(soak.clients)
            findings.bound(leftovers.tables(), before)
            empty_pools(soak)
            sample = memory.sample(soak.sent.number)
        sys.stderr.write(f"{left:6.0f} s left {sample or ''}\n")


def run(soak: Soak, seconds: float, workers: int, findings: Findings) -> None:
    """Let all happen at once, for some time."""
    number = workers // 2 if HAS_ASYNC else 0
    memory = Memory()
    with (
        pymongo.MongoClient(**soak.options) as client,
        ThreadPoolExecutor(workers + 2) as threads,
    ):
        soak.clients["synchronous"] = client
        running = [threads.submit(work, soak, client, each) for each in range(number, workers)]
        running.append(threads.submit(make_trouble, soak))
        if HAS_ASYNC:
            running.append(threads.submit(asyncio.run, tasks(soak, number)))
        try:
            watch(soak, memory, seconds, findings)
        finally:
            soak.over.set()
        for each in running:
            each.result()
        soak.clients.clear()
    findings.found["growth"] = memory.growth()


def soak(seconds: float, workers: int, seed: int, *, is_instrumented: bool = True) -> Findings:
    """Instrument, run, undo, and compare what was counted."""
    findings = Findings()
    with replica_set(3) as servers:
        soaking = Soak(servers, seed, is_instrumented)
        counts = soaking.counts
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(counts))
        tracers.add_span_processor(counts)
        meters = MeterProvider([soaking.reader], views=[FEW_SERIES])
        if is_instrumented:
            MongoInstrumentor().instrument(
                tracer_provider=tracers, meter_provider=meters, events="both"
            )
        objects, tables = leftovers.objects(), leftovers.tables()
        with ThreadPoolExecutor(1) as thread:  # With it goes the last command of its context.
            thread.submit(run, soaking, seconds, workers, findings).result()
        # A thread of PyMongo's may still be killing a cursor of a client that is closed.
        with contextlib.suppress(TimeoutError):
            eventually(lambda: counts.ended == counts.started, "the last command's end", 10)
        durations = measured(soaking.reader)
    findings.found |= {"commands": soaking.sent.number, "done": dict(soaking.done)}
    if is_instrumented:
        findings.expect("spans ended", counts.ended, counts.started)
        findings.expect("spans exported", counts.exported, counts.started)
        findings.expect("durations", dict(durations), dict(soaking.sent.by_name))
    in_flight.retries.clear()
    findings.expect("objects left", dict(leftovers.objects() - objects), {})
    left = {table: size for table, size in leftovers.tables().items() if table not in NAMES}
    findings.expect("entries left", dict(Counter(left) - Counter(tables)), {})
    return findings


@contextlib.contextmanager
def control(arguments: argparse.Namespace) -> Iterator[subprocess.Popen[bytes]]:
    """Let another process do the same, uninstrumented."""
    numbers = ("--minutes", arguments.minutes, "--workers", arguments.workers)
    command = [sys.executable, __file__, "--uninstrumented", *map(str, numbers)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "--seed", str(arguments.seed)], stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            if process.returncode:
                log.seek(0)
                sys.stderr.write(f"The uninstrumented twin's last words:\n{log.read()[-4_000:]}")


def soak_and_compare(arguments: argparse.Namespace) -> Findings:
    """Soak, and see what memory is taken that is not PyMongo's."""
    with control(arguments) as process:
        findings = soak(arguments.minutes * 60, arguments.workers, arguments.seed)
        said = process.communicate()[0]
    if not said:  # PyMongo may lose a lock to a cancellation, and then nothing comes to rest.
        findings.wrong.append("The uninstrumented twin failed, so there is nothing to compare with")
        return findings
    uninstrumented = json.loads(said)
    findings.found["uninstrumented"] = {
        what: uninstrumented[what] for what in ("commands", "growth", "wrong")
    }
    growths = [found["growth"].get("allocated") for found in (findings.found, uninstrumented)]
    if None not in growths and growths[0] - growths[1] >= MAX_GROWTH:
        findings.wrong.append(f"Memory grows by {growths[0]}, uninstrumented by {growths[1]}")
    return findings


def main() -> None:
    """Soak, print what was found, and fail if anything is wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--uninstrumented", action="store_true")
    arguments = parser.parse_args()
    if arguments.minutes >= LONG_ENOUGH and not arguments.uninstrumented:
        findings = soak_and_compare(arguments)
    else:
        findings = soak(
            arguments.minutes * 60,
            arguments.workers,
            arguments.seed,
            is_instrumented=not arguments.uninstrumented,
        )
    findings.found |= {"seed": arguments.seed, "wrong": findings.wrong}
    sys.stdout.write(f"{json.dumps(findings.found, indent=2)}\n")
    sys.exit(bool(findings.wrong))


if __name__ == "__main__":
    main()
