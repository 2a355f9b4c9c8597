"""The operation in progress of each thread, task or greenlet."""

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

# By the caller's number. A context variable would be wrong, because tasks may share one context,
# and PyMongo's monitors keep a copy of the context of a client's first operation as long as they
# run. Without a lock, because each use is one dictionary operation on the caller's own entry.
_in_progress: dict[int, Operation] = {}


def enter(operation: Operation, client: Any, frame: FrameType) -> None:
    """Set a caller's operation in progress.

    Args:
        operation: The operation.
        client: The client that executes it and lives as long as the operation.
        frame: The frame of a function that runs as long as the operation.
    """
    operation.caller, operation.client, operation.frame = caller_number(), id(client), id(frame)
    outer = _in_progress.get(operation.caller)
    # The application's code that PyMongo calls, such as an event listener, may call PyMongo.
    operation.outer = outer if outer and not outer.is_over else None
    _in_progress[operation.caller] = operation


def leave(operation: Operation) -> None:
    """Remove an operation from those in progress; any caller may do this."""
    if _in_progress.get(operation.caller) is not operation:
        return
    if operation.outer:
        _in_progress[operation.caller] = operation.outer
    else:
        _in_progress.pop(operation.caller, None)


def operation_in_progress(timeline: Timeline) -> Operation | None:
    """Return this caller's operation in progress, if it belongs to the client with this timeline.

    During an operation, a listener of the application may start one with another client.
    """
    operation = _in_progress.get(caller_number()) if _in_progress else None
    if operation is None or operation.is_over or operation.timeline is not timeline:
        return None
    return operation


def is_part_of_operation(client: Any, frame: FrameType) -> bool:
    """Whether a call is part of the operation in progress, and not a call of the application.

    Args:
        client: The client that is called.
        frame: The frame that calls it.
    """
    operation = _in_progress.get(caller_number()) if _in_progress else None
    if operation is None or operation.is_over or operation.client != id(client):
        return False
    return is_part_of_call(frame, operation.frame)


def context_in_progress(timeline: Timeline) -> Context | None:
    """Return the context of the operation in progress, if there is one."""
    operation = operation_in_progress(timeline)
    return operation.context if operation else None


def _start_anew() -> None:
    """In a forked child, forget the operations of the parent's other threads."""
    own = _in_progress.get(caller_number())
    _in_progress.clear()
    if own:
        _in_progress[own.caller] = own


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)
