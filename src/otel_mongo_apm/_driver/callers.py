"""Who is calling: a thread, a task or a greenlet."""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import _get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable


def current_task() -> asyncio.Task[object] | None:
    """The task that runs; none outside of an event loop."""
    # To ask `asyncio.current_task` there costs an exception.
    return None if _get_running_loop() is None else asyncio.current_task()


def caller() -> Hashable:
    """The task or the greenlet that runs, or else the thread's identifier."""
    if _get_running_loop() is not None and (task := asyncio.current_task()):
        return task
    # Most applications have never imported greenlet.
    module = sys.modules.get("greenlet")
    if module is None:
        return get_ident()
    # It may still be half imported. A greenlet, unlike an identifier, can be asked whether it is
    # dead.
    current = getattr(module, "getcurrent", None)
    greenlet = current and current()
    # A thread's first greenlet is the thread, which was known already when there were none.
    return get_ident() if greenlet is None or greenlet.parent is None else greenlet


def is_over(caller: Hashable) -> bool:
    """Whether a task or greenlet that called PyMongo is done, or has gone on to something else."""
    if isinstance(caller, asyncio.Task):
        return caller.done() or not _is_in_pymongo(caller)
    return bool(getattr(caller, "dead", False))


def _is_in_pymongo(task: asyncio.Task[object]) -> bool:
    """Whether what a task waits for is, at some depth, a coroutine of PyMongo's."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        if type(awaited).__name__.startswith("async_generator"):
            return True  # What is behind one is not to be seen, so it may well be.
        frame = getattr(awaited, "cr_frame", None)
        if frame is not None and frame.f_globals.get("__name__", "").startswith("pymongo."):
            return True
        awaited = getattr(awaited, "cr_await", None)
    return False
