"""Whether a heartbeat has failed, or was only cancelled."""

from __future__ import annotations

import pymongo.errors


def is_cancelled_check(error: BaseException) -> bool:
    """Whether a heartbeat did not fail but was cancelled, as when its client is closed."""
    cancelled = operation_cancelled()
    return cancelled is not None and isinstance(error, cancelled)


def operation_cancelled() -> type[BaseException] | None:
    """PyMongo's class of what cancels a heartbeat, if it is there."""
    return getattr(pymongo.errors, "_OperationCancelled", None)
