"""The thread that tells: it comes when it is needed, and goes by itself."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest
from own_process import output_of

from otel_mongo_apm._cluster import teller
from otel_mongo_apm._cluster.teller import Teller

PATIENCE = 5.0
somebodys = contextvars.ContextVar("somebodys", default=None)


class Cluster:
    """Notes who tells of it, when and in whose context."""

    def __init__(self):
        self.told = threading.Event()
        self.threads = []
        self.context = somebodys

    def tell(self):
        self.threads.append(threading.current_thread())
        self.context = somebodys.get()
        self.told.set()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(teller, "LINGER", 0.1)
    monkeypatch.setattr(teller, "NAP", 0.005)


def test_it_tells_and_ends():
    """What is to be told is told by another thread, which ends when there is nothing more."""
    ours, cluster = Teller(), Cluster()
    ours.attend(cluster)
    assert cluster.told.wait(PATIENCE)
    (thread,) = set(cluster.threads)
    thread.join(PATIENCE)

    assert thread is not threading.current_thread()
    assert thread.daemon
    assert not thread.is_alive()
    # The driver changes a description after the event that announces it.
    assert len(cluster.threads) > 1
    assert ours._until == {}


def test_it_comes_again():
    """After its end it begins anew when it is needed."""
    ours, first, second = Teller(), Cluster(), Cluster()
    ours.attend(first)
    assert first.told.wait(PATIENCE)
    first.threads[0].join(PATIENCE)
    ours.attend(second)

    assert second.told.wait(PATIENCE)


def test_nobodys_context():
    """It tells in nobody's context, even where threads inherit that of who starts them."""
    ours, cluster = Teller(), Cluster()
    somebodys.set("request")
    run = ours._run
    inherited = contextvars.copy_context()
    ours._run = lambda: inherited.run(run)
    ours.attend(cluster)

    assert cluster.told.wait(PATIENCE)
    assert cluster.context is None


def test_one_that_fails(caplog):
    """A cluster that cannot be told of does not keep others from it."""
    ours, cluster = Teller(), Cluster()
    ours.attend(object())
    ours.attend(cluster)

    assert cluster.told.wait(PATIENCE)


def test_no_thread(monkeypatch):
    """Where no thread can be started nothing raises, and another time it may work."""
    ours, cluster = Teller(), Cluster()

    def start(_):
        raise RuntimeError

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", start)
        ours.attend(cluster)
    assert not cluster.told.is_set()
    ours.attend(cluster)

    assert cluster.told.wait(PATIENCE)


def test_many_at_once():
    """However many threads have something to tell, all of it is told, and all tellers end."""
    ours, clusters = Teller(), [Cluster() for _ in range(200)]

    def attend(some):
        for cluster in some:
            ours.attend(cluster)

    threads = [threading.Thread(target=attend, args=(clusters[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(cluster.told.wait(PATIENCE) for cluster in clusters)
    for thread in {thread for cluster in clusters for thread in cluster.threads}:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_the_end_of_the_interpreter():
    """What has not been told is told at the end, by whoever ends."""
    ours, cluster = Teller(), Cluster()
    ours._thread = threading.current_thread()  # It has no time any more.
    ours.attend(cluster)
    ours.finish()

    assert cluster.threads == [threading.current_thread()]


def test_the_end_waits_for_what_is_being_told(monkeypatch):
    """What is being told is not cut off, unless it takes too long."""
    monkeypatch.setattr(teller, "LAST_WAIT", 0.1)
    ours, cluster, going_on = Teller(), Cluster(), threading.Event()
    tell = cluster.tell

    def blocks():
        tell()
        going_on.wait(PATIENCE)

    cluster.tell = blocks
    ours.attend(cluster)
    assert cluster.told.wait(PATIENCE)
    began = time.monotonic()
    threading.Timer(0.05, going_on.set).start()
    ours.finish()

    assert 0.04 < time.monotonic() - began < PATIENCE


PROGRAM = """
import os, sys, threading, time
from otel_mongo_apm._cluster import teller

class Cluster:
    def tell(self):
        told.append(threading.current_thread().name)

told = []
teller.attend(Cluster())
while not told:
    time.sleep(0.01)
if os.fork() == 0:
    told.clear()
    assert threading.active_count() == 1
    assert teller._teller._until == {}
    teller.attend(Cluster())
    while not told:
        time.sleep(0.01)
    print("child", set(told), flush=True)
    os._exit(0)
os.wait()
teller.attend(Cluster())
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="There is no fork.")
def test_the_child_of_a_fork():
    """The child of a fork has a thread of its own when it needs one; and a process ends at once."""
    began = time.monotonic()
    assert output_of("-W", "ignore", "-c", PROGRAM).split("\n")[0] == (
        "child {'otel_mongo_apm_teller'}"
    )
    assert time.monotonic() - began < PATIENCE
