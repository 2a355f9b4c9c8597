"""What an application notices, on a real MongoDB; beside opentelemetry-instrumentation-pymongo."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import local_mongodb
import pytest
from pymongo import MongoClient
from rounds import Line, Times
from worker import CONTENDERS, CONTRIB, NOTHING, TASKS, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("worker.py")
ROUNDS = 60
# How often each kind of work is done at a time, and of how many operations it is.
WORK = {"find_one": (30, 1), "insert_one": (30, 1), "cursor": (3, 1), "tasks": (1, TASKS)}


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

    def work(self, name: str, number: int) -> tuple[float, float]:
        """Work, and tell how long it took, by the wall and by the process's CPU."""
        print(name, number, file=self._process.stdin, flush=True)
        wall, cpu = map(float, self._process.stdout.readline().split())
        return wall, cpu


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    """That of the user's own MongoDB, or of one that is started."""
    with ExitStack() as stack:
        uri = os.environ.get("MONGODB_URI")
        if not uri:
            uri = stack.enter_context(local_mongodb.standalone()).uri
        with MongoClient(uri) as client:
            fill(client)
        yield uri


@pytest.fixture(scope="module")
def workers(uri: str) -> Iterator[dict[str, Worker]]:
    """An application of each kind."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(closing(Worker(name, uri))) for name in CONTENDERS}


def rounds(workers: dict[str, Worker], name: str) -> tuple[Times, Times]:
    """What the work takes with each contender, by the wall and by its CPU, in turns."""
    number, operations = WORK[name]
    order = list(workers.values())
    for worker in order:
        worker.work(name, number * 3)
    walls, cpus = [], []
    for _ in range(ROUNDS):
        turns = random.sample(list(workers.items()), len(workers))
        found = {each: worker.work(name, number) for each, worker in turns}
        walls.append({each: wall / number / operations for each, (wall, _) in found.items()})
        cpus.append({each: cpu / number / operations for each, (_, cpu) in found.items()})
    return Times(walls), Times(cpus)


@pytest.mark.parametrize("name", WORK)
def test_an_application(benchmark, tabulate, workers, name):
    """The same work of an application, instrumented in each way."""
    walls, cpus = benchmark.pedantic(rounds, (workers, name), rounds=1, iterations=1)
    throughputs = [
        Line(each, CONTRIB, goal=_goal(each), is_throughput=True)
        for each in CONTENDERS
        if each != CONTRIB
    ]
    tabulate(f"{name}: throughput", walls, throughputs)
    tabulate(f"{name}: CPU", cpus, [Line(each, NOTHING) for each in CONTENDERS if each != NOTHING])


def _goal(contender: str) -> float | None:
    return {"ours": 0.98, "ours, no metrics": 1.0}.get(contender)
