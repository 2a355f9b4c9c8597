"""What is called from PyMongo, from the SDK or for users must not raise into any of them."""

from __future__ import annotations

import inspect
import logging
from functools import partial, wraps
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Listener = TypeVar("Listener", bound=type[Any])

MINUTE = 60.0

# Until when, by the monotonic clock, no more is said of a function that fails.
_silent_until: dict[str, float] = {}
_deciding = Lock()


def shielded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result | None]:
    """Wrap a function so that what it raises is logged, each time."""
    return _shielded(function, lambda: True)


def quietly_shielded(function: Callable[Parameters, Result]) -> Callable[Parameters, Result | None]:
    """Wrap a function so that what it raises is logged, at most once a minute."""
    return _shielded(function, partial(_breaks_silence, function.__qualname__))


def shielded_listener(listener: Listener) -> Listener:
    """Shield quietly what PyMongo calls, which would print whatever is raised at every event."""
    for name, method in list(vars(listener).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(listener, name, _shielded_method(method))
    return listener


def _shielded_method(method: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    is_heard = partial(_breaks_silence, method.__qualname__)

    # Of two parameters, as the methods of a listener: to take any would cost them much more.
    @wraps(method)
    def call(listener: Any, event: Any) -> None:
        try:
            method(listener, event)
        except Exception:
            if is_heard():
                _logger.exception("%r failed.", method)

    return call


def _shielded(
    function: Callable[Parameters, Result], is_heard: Callable[[], bool]
) -> Callable[Parameters, Result | None]:
    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | None:
        try:
            return function(*args, **kwargs)
        except Exception:
            if is_heard():
                _logger.exception("%r failed.", function)
            return None

    return call


def _breaks_silence(name: str) -> bool:
    # Nobody waits for the lock: who finds it taken has nothing new to say, and the child of a
    # fork may have inherited it from a thread that will never release it.
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
