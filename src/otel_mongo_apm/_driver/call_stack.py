"""Whether a call inside another call comes from PyMongo or from the application's code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# Packages whose frames can be between two frames of PyMongo, because PyMongo uses them to make a
# call or because they wrap its functions. All other frames belong to the application: its event
# listeners, signal handlers and `__del__` methods.
_GO_BETWEENS = frozenset(
    {
        "asyncio",
        "contextlib",
        "ddtrace",
        "elasticapm",
        "newrelic",
        "otel_mongo_apm",
        "pymongo",
        "pymongocrypt",
        "wrapt",
    }
)


def calling_frame() -> FrameType:
    """Return the frame of the caller."""
    return sys._getframe(1)  # noqa: SLF001  # What `inspect` would use, too.


def module_of(frame: FrameType) -> str:
    """Return the name of the module of a frame's function; empty if it has none."""
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def is_go_between(frame: FrameType) -> bool:
    """Whether a frame belongs to PyMongo or to a package whose frames can be between its own."""
    return module_of(frame).partition(".")[0] in _GO_BETWEENS


def is_part_of_call(frame: FrameType | None, outer_frame: int) -> bool:
    """Whether a function is called by PyMongo itself in the course of a call of its API.

    Args:
        frame: The frame that calls the function.
        outer_frame: The `id` of a frame that is running for as long as that call of the API is.
    """
    while frame is not None and id(frame) != outer_frame:
        if not is_go_between(frame):
            return False
        frame = frame.f_back
    return frame is not None
