"""Exceptions of the application's signal handlers, which Python runs in the middle of anything."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType


def is_raised_by_signal_handler(error: BaseException) -> bool:
    """Whether a signal handler has raised an exception, as Celery's does at a soft time limit.

    Where it came up it is nobody's failure, and it must reach the application.
    """
    # Python runs the handlers in this thread only.
    if threading.current_thread() is not threading.main_thread():
        return False
    traceback, handlers = error.__traceback__, None
    while traceback:
        handlers = handlers if handlers is not None else _handlers()
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _handlers() -> set[CodeType]:
    """The code of all signal handlers that are written in Python."""
    return {
        code
        for number in signal.valid_signals()
        if (code := _code(signal.getsignal(number))) is not None
    }


def _code(handler: Any) -> CodeType | None:
    if not callable(handler):  # What stands for no handler, or for the system's.
        return None
    handler = getattr(handler, "func", handler)  # Of a partial function.
    if not hasattr(handler, "__code__"):  # It is an object that can be called.
        handler = type(handler).__call__
    code: CodeType | None = getattr(handler, "__code__", None)  # None if it is written in C.
    return code
