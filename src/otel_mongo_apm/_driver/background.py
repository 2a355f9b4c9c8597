"""PyMongo's own threads and tasks."""

from __future__ import annotations

import threading

from .callers import current_task
from .private_names import warn_of_loss

# PyMongo's own threads and tasks: monitors, events, and the cursors to kill.
_BACKGROUND_PREFIX = "pymongo_"


def is_background() -> bool:
    """Whether this is a thread or a task of PyMongo's own."""
    if threading.current_thread().name.startswith(_BACKGROUND_PREFIX):
        return True
    task = current_task()
    return task is not None and task.get_name().startswith(_BACKGROUND_PREFIX)


def check_background() -> None:
    """Warn if this, a thread or a task of PyMongo's own, is not known for one by its name."""
    if not is_background():
        warn_of_loss(
            f"names that begin with {_BACKGROUND_PREFIX}",
            "its own threads and tasks are taken for callers",
        )
