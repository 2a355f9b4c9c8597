"""Wrapping: methods wrapped once, and put back."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from otel_mongo_apm._driver.wrapping import Wrapping, replace_method


class Driver:
    """Somebody else's."""

    def send(self):
        return "sent"


@pytest.fixture
def driver(monkeypatch):
    """A class whose method is itself again after the test."""
    monkeypatch.setattr(Driver, "send", Driver.send)
    return Driver


@pytest.fixture
def calls():
    return []


@pytest.fixture
def wrap(calls):
    """A wrapper that notes its calls."""

    def wrap(original, is_in_force):
        @functools.wraps(original)
        def wrapper(self):
            if is_in_force():
                calls.append(self)
            return original(self)

        return wrapper

    return wrap


def test_wrapped_and_undone(driver, wrap, calls):
    """A wrapped method does what it did, until it is put back."""
    original = driver.send
    undo = replace_method(driver, "send", wrap)
    assert driver().send() == "sent"
    undo()
    driver().send()

    assert len(calls) == 1
    assert driver.send is original


def test_under_somebody_elses_wrapper(driver, wrap, calls):
    """A wrapper that cannot be taken out does nothing any more, and another counts once."""
    undo = replace_method(driver, "send", wrap)
    theirs = functools.partialmethod(driver.send)
    driver.send = theirs
    undo()

    assert driver.__dict__["send"] is theirs
    driver().send()
    assert calls == []
    replace_method(driver, "send", wrap)
    driver().send()
    assert len(calls) == 1


def test_several_users(driver, wrap, calls):
    """What several need is wrapped once, and put back when the last is done."""
    original = driver.send
    wrapping = Wrapping(lambda: [replace_method(driver, "send", wrap)])
    undos = [wrapping.begin(), wrapping.begin()]
    driver().send()
    undos.pop()()
    driver().send()
    undos.pop()()
    driver().send()

    assert len(calls) == 2
    assert driver.send is original


def test_many_threads_at_once(driver, wrap, calls):
    """Threads that need the same wrapper at the same moment get one, and wait until it is there."""
    original, line = driver.send, Barrier(16)

    def wrap_all():
        time.sleep(0.01)  # So that the others come meanwhile.
        yield replace_method(driver, "send", wrap)

    wrapping = Wrapping(wrap_all)

    def begin(_):
        line.wait()
        undo = wrapping.begin()
        return undo, driver.send is original

    with ThreadPoolExecutor(16) as threads:
        begun = list(threads.map(begin, range(16)))
    driver().send()

    assert len(calls) == 1
    assert not any(came_too_early for _, came_too_early in begun)
    for undo, _ in begun:
        undo()
    assert driver.send is original
