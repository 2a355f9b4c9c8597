"""Whether a heartbeat has failed, or was only cancelled."""

from __future__ import annotations

import pymongo.errors


def is_cancelled_check(error: BaseException) -> bool:
    """Whether a heartbeat was cancelled instead of failing, for example by closing the client."""
    cancelled = operation_cancelled()
    return cancelled is not None and isinstance(error, cancelled)


def operation_cancelled() -> type[BaseException] | None:
    """Return PyMongo's exception class for cancelled heartbeats, if it exists."""
    return getattr(pymongo.errors, "_OperationCancelled", None)
