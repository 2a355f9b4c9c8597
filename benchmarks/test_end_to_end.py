"""What an application notices, on a real MongoDB; beside opentelemetry-instrumentation-pymongo."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from database import filled_mongodb
from rounds import Line, Times
from worker import CONTENDERS, CONTRIB, MEASURED_BY_HAND, NOTHING, TASKS, THREADS

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("worker.py")
# How many rounds of each kind of work; how often it is done in each; of how many operations it is.
WORK = {
    "find_one": (100, 40, 1),
    "insert_one": (40, 30, 1),
    "cursor": (40, 3, 1),
    "tasks": (40, 1, TASKS),
}
FAILURES = {"failure": (40, 20, 1), "interrupted": (8, 4, 1)}
LATENCY_ROUNDS, LATENCY_NUMBER = 50, 25
MONGODB = "ours, mongodb"
THROUGHPUTS = [
    Line("ours", CONTRIB, goal=0.86, is_throughput=True),
    Line("ours", MEASURED_BY_HAND, goal=1.02, is_throughput=True),
    Line("ours, no metrics", CONTRIB, goal=0.94, is_throughput=True),
    Line("ours, no metrics or text", CONTRIB, goal=0.97, is_throughput=True),
    *(
        Line(each, CONTRIB, is_throughput=True)
        for each in (NOTHING, MEASURED_BY_HAND, "ours, everything", MONGODB)
    ),
]


class Worker:
    """A process of an application's own, so that nobody else's instrumentation is in its way."""

    def __init__(self, contender: str, uri: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), contender, uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def work(self, name: str, number: int) -> list[float]:
        """Work, and tell how long it took: wall, CPU, and the latencies' p50 and p99."""
        print(name, number, file=self._process.stdin, flush=True)
        return [float(each) for each in self._process.stdout.readline().split()]


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    """That of the user's own MongoDB, or of one that is started."""
    with filled_mongodb() as uri:
        yield uri


@pytest.fixture(scope="module")
def workers(uri: str) -> Iterator[dict[str, Worker]]:
    """An application of each kind."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(closing(Worker(name, uri))) for name in CONTENDERS}


def rounds(
    workers: dict[str, Worker], name: str, many: int, number: int, operations: int
) -> list[Times]:
    """What an operation takes with each contender: by the wall, by its CPU; p50 and p99 of it."""
    for worker in workers.values():
        worker.work(name, number * 3)
    found = []
    for _ in range(many):
        turns = random.sample(list(workers.items()), len(workers))
        found.append({each: worker.work(name, number) for each, worker in turns})
    per_operation = number * operations
    divisors = (per_operation, per_operation, 1, 1)
    return [
        Times([{each: took[index] / divisor for each, took in round_.items()} for round_ in found])
        for index, divisor in enumerate(divisors)
    ]


@pytest.mark.parametrize("name", WORK)
def test_an_application(benchmark, tabulate, workers, name):
    """The same work of an application, instrumented in each way."""
    arguments = (workers, name, *WORK[name])
    walls, cpus, *_ = benchmark.pedantic(rounds, arguments, rounds=1, iterations=1)
    goals_are_of = name == "find_one"
    lines = THROUGHPUTS if goals_are_of else [replace(line, goal=None) for line in THROUGHPUTS]
    tabulate(f"{name}: throughput", walls, lines)
    tabulate(f"{name}: CPU", cpus, [Line(each, CONTRIB) for each in CONTENDERS if each != CONTRIB])


def test_latencies(benchmark, tabulate, workers):
    """How long each `find_one` of 8 threads takes, in the middle and at the slow end."""
    arguments = (workers, "threads", LATENCY_ROUNDS, LATENCY_NUMBER, THREADS)
    walls, _, medians, slow = benchmark.pedantic(rounds, arguments, rounds=1, iterations=1)
    others = [each for each in CONTENDERS if each != CONTRIB]
    throughputs = [Line(each, CONTRIB, is_throughput=True) for each in others]
    tabulate("find_one by 8 threads: throughput", walls, throughputs)
    tabulate("find_one by 8 threads: p50", medians, [Line(each, CONTRIB) for each in others])
    goals = {"ours": 1.05}
    tabulate(
        "find_one by 8 threads: p99",
        slow,
        [Line(each, CONTRIB, goal=goals.get(each)) for each in others],
    )


@pytest.mark.parametrize("name", FAILURES)
def test_failures(benchmark, tabulate, workers, name):
    """CPU of a command that the server refuses, and of one whose task is cancelled."""
    arguments = (workers, name, *FAILURES[name])
    _, cpus, *_ = benchmark.pedantic(rounds, arguments, rounds=1, iterations=1)
    goals = {MONGODB: 2.5} if name == "failure" else {}
    tabulate(
        f"{name}: CPU",
        cpus,
        [Line(each, NOTHING, goal=goals.get(each)) for each in CONTENDERS if each != NOTHING],
    )
