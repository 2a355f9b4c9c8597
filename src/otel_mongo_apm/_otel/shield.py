"""Keeps exceptions of our code and of hooks out of PyMongo, the SDK and the application."""

from __future__ import annotations

import inspect
import logging
import sys
from contextlib import suppress
from functools import partial, wraps
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .exceptions import stacktrace
from .signals import is_of_a_signal

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Listener = TypeVar("Listener", bound=type[Any])

MINUTE = 60.0

# For each failing function, the monotonic time until which no further failure is logged.
_silent_until: dict[str, float] = {}
_deciding = Lock()


def shielded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result | None]:
    """Wrap a function so that its exceptions are logged, each time."""
    return _shielded(function, lambda: True)


def quietly_shielded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result | None]:
    """Wrap a function so that its exceptions are logged, at most once a minute."""
    return _shielded(function, partial(_breaks_silence, function.__qualname__))


def shielded_listener(listener: Listener) -> Listener:
    """Shield a listener's methods, because PyMongo would print their exceptions at every event."""
    for name, method in list(vars(listener).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(listener, name, _shielded_method(method))
    listener.__repr__ = _short_repr  # type: ignore[assignment]
    return listener


def _short_repr(listener: object) -> str:
    # The repr() of PyMongo's clients shows their listeners.
    return f"<otel_mongo_apm {type(listener).__name__}>"


def _shielded_method(method: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    is_heard = partial(_breaks_silence, method.__qualname__)

    # Two parameters, like a listener's methods: *args and **kwargs would cost much more.
    @wraps(method)
    def call(listener: Any, event: Any) -> None:
        try:
            method(listener, event)
        except Exception as error:  # Logged below, after the `except` block is left.
            if is_of_a_signal(error):
                raise
            failure = error
        else:
            return
        try:
            if is_heard():
                _tell(method, failure)
        finally:
            del failure  # Avoid a reference cycle: its traceback refers to this frame.

    return call


def _shielded(
    function: Callable[Parameters, Result], is_heard: Callable[[], bool]
) -> Callable[Parameters, Result | None]:
    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # Logged below, after the `except` block is left.
            if is_of_a_signal(error):
                raise
            failure = error
        try:
            if is_heard():
                _tell(function, failure)
        finally:
            del failure  # Avoid a reference cycle: its traceback refers to this frame.
        return None

    return call


def _tell(function: Callable[..., Any], failure: Exception) -> None:
    """Log a failure by its class and by where it happened.

    The record has neither the exception nor its message: the frames hold the application's
    documents, and the message may quote them.
    """
    # Leave out an exception that PyMongo or the application is handling at the moment.
    trace = stacktrace(failure, with_messages=False, without=sys.exc_info()[1])
    with suppress(Exception):  # The application's log handlers and filters may raise.
        _logger.error("%s failed.\n%s", _name(function), trace.rstrip())


def _name(function: Callable[..., Any]) -> str:
    # The repr() of a function may contain values, such as the arguments of a partial.
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _breaks_silence(name: str) -> bool:
    # Never wait for the lock. If another thread holds it, that thread is logging a failure. In the
    # child process after a fork, a thread that no longer exists may hold it forever.
    if not _deciding.acquire(blocking=False):
        return False
    try:
        now = monotonic()
        is_silent = now < _silent_until.get(name, now)
        if not is_silent:
            _silent_until[name] = now + MINUTE
        return not is_silent
    finally:
        _deciding.release()
