"""Everything at once, for long: nothing is lost, nothing is left, and memory stays as it is.

    make soak

Threads and tasks send random commands to a replica set of three. Tasks are cancelled, calls run
out of time, clients come and go; servers are killed and come back, primaries step down, commands
fail and close their connections. What was found is printed in the end, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import pymongo
from local_mongodb import ReplicaSet, eventually, replica_set
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandListener

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Awaitable

HAS_ASYNC = pymongo.version_tuple >= (4, 11)
DOCUMENTS = 1000
MIB = 1 << 20
# In MiB per million commands, after the warm-up; how long it takes until that is no noise.
MAX_GROWTH, LONG_ENOUGH = 1.0, 20 * 60
# glibc: how many arenas there may be.
M_ARENA_MAX = -8


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
    """How many commands the driver has sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.number = 0

    def started(self, event):
        with self._lock:
            self.number += 1

    def succeeded(self, event):
        pass

    failed = succeeded


@dataclass
class Soak:
    """What all that happens at once has in common."""

    servers: ReplicaSet
    seed: int
    counts: Counts = field(default_factory=Counts)
    sent: Sent = field(default_factory=Sent)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    over: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)

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


def work(soak: Soak, client: pymongo.MongoClient, number: int) -> None:
    """Let a thread send commands, and now and then make a client of its own."""
    randomly = soak.randomly(number)
    while not soak.over.is_set():
        with contextlib.suppress(PyMongoError):
            if randomly.random() < 0.005:
                with pymongo.MongoClient(**soak.options) as own:
                    read(own.shop.users, randomly)
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
        operation = randomly.choice(ASYNC_OPERATIONS)(client.shop.users, randomly)
        try:
            await perhaps_cancelled(operation, randomly)
        except asyncio.CancelledError:
            soak.done["cancelled"] += 1
        except (PyMongoError, asyncio.TimeoutError):
            pass


async def tasks(soak: Soak, number: int, findings: Findings) -> None:
    """Let tasks work with a client of theirs, and look at it when they are done."""
    async with pymongo.AsyncMongoClient(**soak.options) as client:
        workers = (work_async(soak, client, each) for each in range(number))
        await asyncio.gather(*workers)
        gc.collect()
        deadline = time.monotonic() + 30
        while not is_settled(client) and time.monotonic() < deadline:  # noqa: ASYNC110  # In its tasks.
            await asyncio.sleep(0.1)
        findings.look_at(client, "asynchronous")


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
        with suppress_instrumentation(), contextlib.suppress(PyMongoError, TimeoutError):
            trouble(soak, randomly)
            soak.done[trouble.__name__] += 1


# What is looked at.


def listeners_of(client: Any) -> Any:
    """What ours share, of one client."""
    return next(each for each in client.options.event_listeners if hasattr(each, "in_flight")).of


def counted(client: Any) -> dict[str, int]:
    """A client's connections and callers, as we count them."""
    pools = [pool for pool in listeners_of(client).pools.values() if not pool.is_closed]
    for pool in pools:
        pool.drop_the_silent()
    used = sum(len(pool.used) for pool in pools)
    return {
        "idle": sum(len(pool.connections) for pool in pools) - used,
        "used": used,
        "pending": sum(len(pool.pending) for pool in pools),
    }


def idle_in(client: Any) -> int:
    """How many connections are idle, as PyMongo counts them."""
    return sum(len(server.pool.conns) for server in client._topology._servers.values())


def is_settled(client: Any) -> bool:
    is_idle = counted(client) == {"idle": idle_in(client), "used": 0, "pending": 0}
    return is_idle and not len(listeners_of(client).in_flight)


def ours() -> Counter[str]:
    """How many objects of ours there are, by their class."""
    gc.collect()
    classes = (type(each) for each in gc.get_objects())
    return Counter(
        cls.__name__ for cls in classes if str(cls.__module__).startswith("otel_mongo_apm.")
    )


class Memory:
    """What this process has in memory, now and again."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, int]] = []
        self._libc = None
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(M_ARENA_MAX, 2)
            libc.malloc_trim(0)
            self._libc = libc

    def sample(self, commands: int) -> float:
        """Note what is resident, in MiB, without what is only kept for later."""
        gc.collect()
        if self._libc:
            self._libc.malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.samples.append((commands, pages * os.sysconf("SC_PAGE_SIZE")))
        return self.samples[-1][1] / MIB

    def growth(self) -> float:
        """In MiB per million commands, after the first half, when all tables are full."""
        settled = self.samples[len(self.samples) // 2 :]
        # The median slope of all pairs: now and then a client is there that is gone at once.
        slopes = [
            (resident - before) / (commands - commands_before)
            for (commands_before, before), (commands, resident) in combinations(settled, 2)
            if commands != commands_before
        ]
        return statistics.median(slopes or [0.0]) * 1_000_000 / MIB


class Findings:
    """What was found, and what of it is wrong."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.wrong: list[str] = []

    def expect(self, what: str, found: Any, expected: Any) -> None:
        self.found[what] = found
        if found != expected:
            self.wrong.append(f"{what}: {found!r}, not {expected!r}")

    def look_at(self, client: Any, which: str) -> None:
        found = counted(client)
        # PyMongo forgets a connection, open as it is, if the task that was to have it is cancelled
        # at the wrong moment. We may count such a one.
        lost = found["idle"] - idle_in(client) if which == "asynchronous" else 0
        idle = {"idle": idle_in(client) + max(lost, 0), "used": 0, "pending": 0}
        self.expect(f"connections, {which} client", found, idle)
        self.expect(f"in flight, {which} client", len(listeners_of(client).in_flight), 0)


def measured(reader: InMemoryMetricReader) -> int:
    """How many commands' durations were measured."""
    collected = reader.get_metrics_data()
    return sum(
        point.count
        for resource in (collected.resource_metrics if collected else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "db.client.operation.duration"
        for point in metric.data.data_points
    )


def watch(soak: Soak, memory: Memory, seconds: float, every: float) -> None:
    """Collect metrics and sample memory until it is over."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(every, left))
        measured(soak.reader)
        resident = memory.sample(soak.sent.number)
        line = f"{left:6.0f} s left {soak.sent.number:9} commands {resident:7.1f} MiB"
        sys.stderr.write(f"{line}\n")


def run(soak: Soak, seconds: float, workers: int, findings: Findings) -> None:
    """Let all happen at once, for some time."""
    number = workers // 2 if HAS_ASYNC else 0
    memory = Memory()
    with (
        pymongo.MongoClient(**soak.options) as client,
        ThreadPoolExecutor(workers + 2) as threads,
    ):
        running = [threads.submit(work, soak, client, each) for each in range(number, workers)]
        running.append(threads.submit(make_trouble, soak))
        if HAS_ASYNC:
            running.append(threads.submit(asyncio.run, tasks(soak, number, findings)))
        try:
            watch(soak, memory, seconds, min(10, seconds / 20))
        finally:
            soak.over.set()
        for each in running:
            each.result()
        gc.collect()
        with contextlib.suppress(TimeoutError):
            eventually(lambda: is_settled(client), "a client that is at rest")
        findings.look_at(client, "synchronous")
    growth = findings.found["MiB per million commands"] = round(memory.growth(), 3)
    if seconds >= LONG_ENOUGH and growth >= MAX_GROWTH:
        findings.wrong.append(f"Memory grows by {growth} MiB per million commands")


def soak(seconds: float, workers: int, seed: int) -> Findings:
    """Instrument, run, undo, and compare what was counted."""
    findings = Findings()
    with replica_set(3) as servers:
        soaking = Soak(servers, seed)
        counts = soaking.counts
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(counts))
        tracers.add_span_processor(counts)
        MongoInstrumentor().instrument(
            tracer_provider=tracers, meter_provider=MeterProvider([soaking.reader]), events="both"
        )
        before = ours()
        with ThreadPoolExecutor(1) as thread:  # With it goes the last command of its context.
            thread.submit(run, soaking, seconds, workers, findings).result()
        durations = measured(soaking.reader)
    findings.found |= {"commands": soaking.sent.number, "done": dict(soaking.done)}
    findings.expect("spans ended", counts.ended, counts.started)
    findings.expect("spans exported", counts.exported, counts.started)
    findings.expect("durations", durations, soaking.sent.number)
    findings.expect("objects left", dict(ours() - before), {})
    MongoInstrumentor().uninstrument()
    return findings


def main() -> None:
    """Soak, print what was found, and fail if anything is wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    findings = soak(arguments.minutes * 60, arguments.workers, arguments.seed)
    findings.found |= {"seed": arguments.seed, "wrong": findings.wrong}
    sys.stdout.write(f"{json.dumps(findings.found, indent=2)}\n")
    sys.exit(bool(findings.wrong))


if __name__ == "__main__":
    main()
