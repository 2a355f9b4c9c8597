"""An application by itself, instrumented or not: works when told to, and says how long it took.

    python worker.py CONTENDER URI

Each line of its input is a kind of work and a number; each of its output the seconds of the wall
and of this process's CPU, and of the operations of threads the median and the 99th percentile.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from pymongo import AsyncMongoClient, MongoClient, monitoring
from pymongo.errors import OperationFailure
from synthetic import by_hand, providers

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTS, TASKS, THREADS = 1_000, 100, 8
# Monitors that have nothing to tell would only make the measurements worse.
QUIET: dict[str, Any] = {"heartbeatFrequencyMS": 600_000}

EVERYTHING = {
    "query_text": "raw",
    "returned_rows": "both",
    "error_messages": True,
    "events": "both",
    "pool_use_time": True,
    "wait_span_threshold": 0,
}
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, no metrics": {"metrics": False},
    "ours, no metrics or text": {"metrics": False, "query_text": "off"},
    "ours, everything": EVERYTHING,
    "ours, mongodb": {"span_convention": "mongodb"},
}
NOTHING, CONTRIB = "not instrumented", "contrib"
# With the measurements of our default, made as anybody would make them.
MEASURED_BY_HAND = "contrib, measured by hand"
CONTENDERS = (NOTHING, CONTRIB, MEASURED_BY_HAND, *OURS)


def instrument(contender: str) -> None:
    """Instrument all clients as the contender would."""
    sdk = providers()
    if contender == CONTRIB:
        PymongoInstrumentor().instrument(tracer_provider=sdk["tracer_provider"])
    elif contender == MEASURED_BY_HAND:
        hook, pools = by_hand(sdk["meter_provider"])
        monitoring.register(pools)
        PymongoInstrumentor().instrument(tracer_provider=sdk["tracer_provider"], response_hook=hook)
    elif contender != NOTHING:
        MongoInstrumentor().instrument(**sdk, **OURS[contender])


class Application:
    """What an application does with MongoDB."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._users = MongoClient(uri, **QUIET).benchmark.users
        self._written = MongoClient(uri, **QUIET).benchmark.written
        self._loop = asyncio.new_event_loop()
        self._async_users: Any = None
        self._threads = ThreadPoolExecutor(THREADS)
        self.latencies: list[float] = []

    def find_one(self, number: int) -> None:
        """Find documents by their `_id`."""
        for _ in range(number):
            self._users.find_one({"_id": 7})

    def insert_one(self, number: int) -> None:
        """Insert documents."""
        for _ in range(number):
            self._written.insert_one({"name": "Alice", "age": 30})

    def cursor(self, number: int) -> None:
        """Read 1,000 documents, 100 at a time."""
        for _ in range(number):
            assert len(list(self._users.find(batch_size=100))) == DOCUMENTS

    def tasks(self, number: int) -> None:
        """Let 100 tasks find a document each, at the same time."""
        self._loop.run_until_complete(self._gather(number))

    def threads(self, number: int) -> None:
        """Let 8 threads find documents at the same time, and note how long each took."""
        self.latencies = sorted(chain(*self._threads.map(self._latencies, [number] * THREADS)))

    def _latencies(self, number: int) -> list[float]:
        found = []
        for _ in range(number):
            began = time.perf_counter()
            self._users.find_one({"_id": 7})
            found.append(time.perf_counter() - began)
        return found

    def failure(self, number: int) -> None:
        """Send commands that the server refuses."""
        for _ in range(number):
            with suppress(OperationFailure):
                self._users.find_one({"$no": "operator"})

    def interrupted(self, number: int) -> None:
        """Cancel tasks that wait for their replies."""
        self._loop.run_until_complete(self._cancel(number))

    async def _cancel(self, number: int) -> None:
        if self._async_users is None:
            self._async_users = AsyncMongoClient(self._uri, **QUIET).benchmark.users
        for _ in range(number):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._async_users.find_one({"$where": "sleep(50)"}), 0.005)

    async def _gather(self, number: int) -> None:
        if self._async_users is None:
            self._async_users = AsyncMongoClient(self._uri, **QUIET).benchmark.users
        for _ in range(number):
            await asyncio.gather(*(self._async_users.find_one({"_id": 7}) for _ in range(TASKS)))

    def mark(self, number: int) -> None:
        """Call what nothing else calls: `instructions.py` counts from one such call to another."""
        for _ in range(number):
            os.getloadavg()


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, of what was sorted."""
    if not latencies:
        return 0.0, 0.0
    return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]


def timed(work: Callable[[int], None], number: int) -> tuple[float, float]:
    """How long it takes, by the wall and by this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(number)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Do as told."""
    contender, uri = sys.argv[1:]
    instrument(contender)
    application = Application(uri)
    for line in sys.stdin:
        name, number = line.split()
        times = timed(getattr(application, name), int(number))
        print(*times, *percentiles(application.latencies), flush=True)


if __name__ == "__main__":
    main()
