"""The queue: one shape once, few at a time, and a thread only while there is something to do."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading
from time import monotonic

import pymongo
import pytest
from local_mongodb import eventually
from pymongo import _csot

from otel_mongo_apm._explain import queue
from otel_mongo_apm._explain.queue import Explanations


@pytest.fixture
def explanations(monkeypatch):
    monkeypatch.setattr(queue, "IDLE", 0.05)
    return Explanations()


def threads():
    return [each for each in threading.enumerate() if each.name == "otel_mongo_apm_explain"]


@pytest.fixture(autouse=True)
def _no_threads():
    eventually(lambda: not threads(), "the thread of another test to end")


def test_one_at_a_time(explanations):
    """They are asked in their order, one after another, on one thread of their own."""
    asked = []
    for number in range(5):
        explanations.add(lambda number=number: asked.append((number, threading.current_thread())))
    eventually(lambda: len(asked) == 5, "five")

    assert [number for number, _ in asked] == [0, 1, 2, 3, 4]
    assert len({thread for _, thread in asked}) == 1
    assert all(thread.daemon for _, thread in asked)


def test_the_thread_ends(explanations):
    """It ends when there is nothing left to do, and the next one begins another."""
    for _ in range(2):
        asked = threading.Event()
        explanations.add(asked.set)
        assert asked.wait(10)
        assert eventually(lambda: not threads(), "its end")


def test_too_many(explanations, monkeypatch):
    """Beyond a hundred that wait none is taken, until some were asked."""
    going, go = threading.Event(), threading.Event()
    monkeypatch.setattr(explanations, "_pace", lambda: None)
    explanations.add(lambda: (going.set(), go.wait(10)))
    assert going.wait(10)
    taken = [explanations.add(lambda: None) for _ in range(queue.MAX_WAITING + 2)]
    go.set()
    eventually(lambda: len(explanations) == 0, "the rest")

    assert taken == [True] * queue.MAX_WAITING + [False] * 2
    assert explanations.add(lambda: None)


def test_shapes(explanations, monkeypatch):
    """A shape is admitted once in its interval, or again if it came to nothing."""
    assert explanations.admits("find orders")
    assert not explanations.admits("find orders")
    assert explanations.admits("find users")

    explanations.forget("find orders")
    assert explanations.admits("find orders")

    later = monotonic() + queue.SHAPE_INTERVAL
    monkeypatch.setattr(queue, "monotonic", lambda: later)
    assert explanations.admits("find users")


def test_shapes_are_bounded(explanations):
    """However many shapes there are, few are remembered."""
    for number in range(3 * queue.MAX_SHAPES):
        explanations.admits(number)

    assert len(explanations._shapes) <= queue.MAX_SHAPES


def test_the_pace(explanations, monkeypatch):
    """After so many in a minute the next one waits until the first of them is a minute ago."""
    monkeypatch.setattr(queue, "MINUTE", 0.5)
    times = []
    for _ in range(queue.MAX_PER_MINUTE + 1):
        explanations.add(lambda: times.append(monotonic()) or True)
    eventually(lambda: len(times) == queue.MAX_PER_MINUTE + 1, "all")

    assert times[-2] - times[0] < 0.5 <= times[-1] - times[0]


def test_what_nobody_wants_any_more(explanations):
    """Functions that ask no server, as of clients that are gone, do not count for the limit."""
    asked = []
    for number in range(3 * queue.MAX_PER_MINUTE):
        explanations.add(lambda number=number: asked.append(number))
    eventually(lambda: not threads(), "the thread's end")

    assert len(asked) == 3 * queue.MAX_PER_MINUTE


def test_no_thread_to_be_had(explanations, monkeypatch):
    """Where no thread can be started nothing is taken or kept, and later it works again."""
    with monkeypatch.context() as patched:

        def start(_):
            raise RuntimeError

        patched.setattr(threading.Thread, "start", start)
        assert not explanations.add(lambda: True)
        assert len(explanations) == 0

    asked = threading.Event()
    assert explanations.add(asked.set)
    assert asked.wait(10)


class InheritingThread(threading.Thread):
    """A thread as Python 3.14 may start it, with the context of its starter."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inherited = contextvars.copy_context()

    def run(self):
        self.inherited.run(super().run)


def test_contexts(explanations, monkeypatch):
    """The thread does not inherit a timeout of the application."""
    monkeypatch.setattr(threading, "Thread", InheritingThread)
    asked, timeouts = threading.Event(), []
    with pymongo.timeout(5):
        explanations.add(lambda: (timeouts.append(_csot.get_timeout()), asked.set()))
    assert asked.wait(10)

    assert timeouts == [None]


FORKING = """
import os, threading
from otel_mongo_apm._explain import queue

hold = threading.Event()
queue.explanations.add(lambda: hold.wait(10))
queue.explanations.add(lambda: None)
child = os.fork()
if not child:
    asked = threading.Event()
    before = len(queue.explanations)
    queue.explanations.add(asked.set)
    print(before, asked.wait(10), flush=True)
    os._exit(0)
os.waitpid(child, 0)
hold.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_fork():
    """In the child nothing waits and there is no thread, until there is something to ask."""
    process = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=True
    )

    assert process.stdout == "0 True\n"
