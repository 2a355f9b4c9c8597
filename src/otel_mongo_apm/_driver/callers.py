"""The caller: a thread, a task or a greenlet."""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import _get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Hashable


def current_task() -> asyncio.Task[object] | None:
    """Return the running task; None outside of an event loop."""
    # There, `asyncio.current_task` would raise an exception, which is slow.
    return None if _get_running_loop() is None else asyncio.current_task()


def caller() -> Hashable:
    """Identify the running task or greenlet, or else the thread.

    The result is a weak reference or a number, so keeping it keeps no object of the application
    alive.
    """
    if _get_running_loop() is not None and (task := asyncio.current_task()):
        return ref(task)
    # Most applications have never imported greenlet.
    module = sys.modules.get("greenlet")
    if module is None:
        return get_ident()
    # It may still be half imported.
    current = getattr(module, "getcurrent", None)
    greenlet = current and current()
    # A thread's first greenlet stands for the thread itself, which had this identity before.
    return get_ident() if greenlet is None or greenlet.parent is None else ref(greenlet)


def caller_number() -> int:
    """Return a number that no other task, greenlet or thread has at the same time.

    Keeping the number does not keep the task alive.
    """
    who = caller()
    # A thread's identifier is a number, which is its own hash.
    return id(who()) if isinstance(who, ref) else hash(who)


def is_over(caller: Hashable) -> bool:
    """Whether a task or a greenlet has ended; always False for a thread, where it is unknown."""
    if not isinstance(caller, ref):
        return False
    running = caller()
    if isinstance(running, asyncio.Task):
        return running.done()
    return running is None or bool(getattr(running, "dead", False))


def is_elsewhere(caller: Hashable) -> bool:
    """Whether a caller of PyMongo has ended, or is a task that is no longer inside PyMongo."""
    if is_over(caller):
        return True
    task = caller() if isinstance(caller, ref) else None
    return isinstance(task, asyncio.Task) and not _is_in_pymongo(task)


def _is_in_pymongo(task: asyncio.Task[object]) -> bool:
    """Whether a task waits, directly or indirectly, for a coroutine of PyMongo."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        if type(awaited).__name__.startswith("async_generator"):
            return True  # What an asynchronous generator awaits is not visible; it may be PyMongo.
        frame = getattr(awaited, "cr_frame", None)
        if frame is not None and frame.f_globals.get("__name__", "").startswith("pymongo."):
            return True
        awaited = getattr(awaited, "cr_await", None)
    return False
