"""Recognizes exceptions of the application's signal handlers, which can occur anywhere."""

from __future__ import annotations

import inspect
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType


def is_of_a_signal(error: BaseException) -> bool:
    """Whether a signal handler raised an exception, as Celery's soft time limits do."""
    handlers, traceback = set(_handlers()), error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _handlers() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        if callable(handler) and not inspect.isroutine(handler):
            handler = type(handler).__call__
        code = getattr(inspect.unwrap(handler), "__code__", None) if callable(handler) else None
        if code is not None:
            yield code
