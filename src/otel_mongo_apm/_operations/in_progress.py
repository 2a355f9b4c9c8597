"""Which operation each thread, task or greenlet is making at this moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._driver.call_stack import is_part_of_call
from otel_mongo_apm._driver.callers import caller_number

if TYPE_CHECKING:
    from types import FrameType

    from opentelemetry.context import Context

    from otel_mongo_apm._cluster.timeline import Timeline

    from .operation import Operation

# By the number of who makes it. A context variable would not do: tasks may share one context, and
# PyMongo's monitors keep a copy of the context of a client's first operation as long as they run.
# Without a lock: each use is one dictionary operation, and nobody touches another's entry.
_in_progress: dict[int, Operation] = {}


def enter(operation: Operation, client: Any, frame: FrameType) -> None:
    """Make an operation the one in progress.

    Args:
        operation: The operation.
        client: The client that makes it, which lives for as long as it is in progress.
        frame: The frame of a function that runs for as long.
    """
    operation.caller, operation.client, operation.frame = caller_number(), id(client), id(frame)
    outer = _in_progress.get(operation.caller)
    # Code of the application's that PyMongo calls, such as an event listener, makes calls, too.
    operation.outer = outer if outer and not outer.is_over else None
    _in_progress[operation.caller] = operation


def leave(operation: Operation) -> None:
    """Let an operation be in progress no longer, if it is; whoever calls this."""
    if _in_progress.get(operation.caller) is not operation:
        return
    if operation.outer:
        _in_progress[operation.caller] = operation.outer
    else:
        _in_progress.pop(operation.caller, None)


def operation_in_progress(timeline: Timeline) -> Operation | None:
    """The operation that this thread or task is making with the client that has these events.

    While it makes one, a listener of the application's may make one with another client.
    """
    operation = _in_progress.get(caller_number()) if _in_progress else None
    if operation is None or operation.is_over or operation.timeline is not timeline:
        return None
    return operation


def is_part_of_operation(client: Any, frame: FrameType) -> bool:
    """Whether a call is a part of the operation that is in progress, not the application's own.

    Args:
        client: The client that is called.
        frame: The frame that calls it.
    """
    operation = _in_progress.get(caller_number()) if _in_progress else None
    if operation is None or operation.is_over or operation.client != id(client):
        return False
    return is_part_of_call(frame, operation.frame)


def context_in_progress(timeline: Timeline) -> Context | None:
    """The context of the operation in progress, if there is one."""
    operation = operation_in_progress(timeline)
    return operation.context if operation else None


def _start_anew() -> None:
    """Forget what the other threads of a forked process's parent are doing."""
    own = _in_progress.get(caller_number())
    _in_progress.clear()
    if own:
        _in_progress[own.caller] = own


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)
