"""Exceptions that signal handlers raise, in the middle of anything: they are the application's."""

from __future__ import annotations

import functools
import signal

import pytest

from otel_mongo_apm._otel import shield
from otel_mongo_apm._otel.shield import quietly_shielded, shielded, shielded_listener


class SoftTimeLimitError(Exception):
    """As Celery has one."""


class Handlers:
    """Handlers of all kinds."""

    def method(self, number, frame):
        raise SoftTimeLimitError

    __call__ = method


def function(number, frame):
    raise SoftTimeLimitError


def deep(number, frame):
    function(number, frame)


def with_more(more, number, frame):
    raise SoftTimeLimitError(more)


HANDLERS = [function, deep, Handlers().method, Handlers(), functools.partial(with_more, "more")]


@pytest.fixture(autouse=True)
def _unheard(monkeypatch):
    """The shield has not heard of any failure yet."""
    monkeypatch.setattr(shield, "_silent_until", {})


@pytest.fixture
def handle():
    """Set the handler of a signal for the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGTERM, before)


def is_interrupted(*_):
    signal.raise_signal(signal.SIGTERM)


@shielded_listener
class Listener:
    """One that is interrupted."""

    def started(self, event):
        is_interrupted()


CALLS = [shielded(is_interrupted), quietly_shielded(is_interrupted)]
CALLS += [functools.partial(Listener().started, None)]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("call", CALLS)
def test_goes_on(handle, caplog, handler, call):
    """What a signal handler raises while we are at work is not kept, nor logged as our failure."""
    handle(handler)

    with pytest.raises(SoftTimeLimitError):
        call()
    assert caplog.records == []


def test_the_same_without_a_signal(handle, caplog):
    """The same exception, raised by a hook, is the hook's failure."""
    handle(function)

    def hook():
        raise SoftTimeLimitError

    quietly_shielded(hook)()

    assert "SoftTimeLimitError" in caplog.text


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
def test_other_handlers(handle, caplog, handler):
    """Handlers that are not written in Python raise nothing that is taken for theirs."""
    handle(handler)

    def hook():
        signal.Handlers(5)

    quietly_shielded(hook)()

    assert "ValueError" in caplog.text
