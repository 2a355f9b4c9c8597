"""PyMongo's own threads and tasks."""

from __future__ import annotations

import sys
import threading
from asyncio import all_tasks
from typing import TYPE_CHECKING, Any

from .callers import current_task
from .private_names import warn_of_loss

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

# The prefix of PyMongo's own threads and tasks: monitors, events, killing cursors.
_BACKGROUND_PREFIX = "pymongo_"
# The module that runs them. An application may use the same prefix.
_EXECUTORS = "pymongo.periodic_executor"


def is_background() -> bool:
    """Whether this is a thread or a task of PyMongo's own."""
    task = current_task()
    if task is None:
        name = threading.current_thread().name
    elif _is_executors(task):
        return True
    else:  # The application may have wrapped the coroutine.
        name = task.get_name()
    # Comparing names is cheap; walking up the stack is not.
    return name.startswith(_BACKGROUND_PREFIX) and _is_below_an_executor()


def _is_executors(task: asyncio.Task[object]) -> bool:
    # Not by its name: Python 3.12 and 3.13 name an eager task only after its first step.
    coroutine: Any = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    return frame is not None and frame.f_globals.get("__name__") == _EXECUTORS


def _is_below_an_executor() -> bool:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # What `inspect` would use, too.
    while frame:
        if frame.f_globals.get("__name__") == _EXECUTORS:
            return True
        frame = frame.f_back
    return False


def warn_of_unknown_background() -> None:
    """Warn that PyMongo's own threads and tasks cannot be told from others."""
    warn_of_loss(
        f"names that begin with {_BACKGROUND_PREFIX} in {_EXECUTORS}",
        "PyMongo's own threads and tasks are treated as callers",
    )


def is_monitoring(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether PyMongo's tasks run in an event loop; not once `asyncio.run()` has cancelled them."""
    return any(_is_executors(each) and not _is_cancelled(each) for each in all_tasks(loop))


def _is_cancelled(task: asyncio.Task[object]) -> bool:
    cancelling: Any = getattr(task, "cancelling", None)  # Since Python 3.11.
    return cancelling is not None and cancelling() > 0
