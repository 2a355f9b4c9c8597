"""Forks that find no thread under one of the SDK's locks, which nobody would release in a child.

To be imported before PyMongo, which takes its own locks before a fork. Listeners are called under
those, so they have to be taken first, and what is registered last is.
"""

from __future__ import annotations

import functools
import os
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from in_memory import InMemoryTelemetry

_lock = RLock()
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


def fork_between_measurements(telemetry: InMemoryTelemetry) -> None:
    """Have forks of this process wait until no thread tells the SDK of a measurement or a span."""

    def guarded(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def call(*args: Any, **keywords: Any) -> None:
            with _lock:
                method(*args, **keywords)

        return call

    measurements = telemetry.meter_provider._measurement_consumer
    measurements.consume_measurement = guarded(measurements.consume_measurement)
    spans = telemetry.tracer_provider._active_span_processor
    spans.on_start, spans.on_end = guarded(spans.on_start), guarded(spans.on_end)
