"""When the last failure was reported, so that the failing call does not report it again."""

from __future__ import annotations

from contextvars import ContextVar
from math import inf
from time import monotonic

# By the monotonic clock in seconds, in this thread or task.
_measured_at: ContextVar[float] = ContextVar("otel_mongo_apm_failure_measured_at", default=-inf)
_shown_at: ContextVar[float] = ContextVar("otel_mongo_apm_failure_shown_at", default=-inf)


def failure_measured() -> None:
    """Note that a failure was reported completely: measured, and shown by a span if required."""
    _measured_at.set(monotonic())


def failure_shown() -> None:
    """Note that a failure has a span."""
    _shown_at.set(monotonic())


def is_measured_since(began: float) -> bool:
    """Whether a failure was reported completely since a monotonic time, in seconds."""
    return _measured_at.get() >= began


def is_shown_since(began: float) -> bool:
    """Whether a span has shown a failure since a monotonic time, in seconds."""
    return _shown_at.get() >= began
