"""PyMongo's server selection, wrapped: no event tells of it."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from ._attributes import exception_failure
from ._compat import listeners_of, topology_classes
from ._pools import PoolTelemetry
from ._shield import shielded

if TYPE_CHECKING:
    from collections.abc import Callable

    Undo = Callable[[], None]

# Where one of PyMongo's topologies keeps who observes it.
_OBSERVER = "_otel_mongo_apm_observer"


class _SelectionObserver:
    """Told how each server selection of one client ended."""

    def __init__(self, pools: PoolTelemetry) -> None:
        self._telemetry = pools.telemetry
        self._cluster = pools.cluster
        self._waits = pools.waits

    @shielded
    def ended(
        self, topology: Any, operation: Any, seconds: float, error: BaseException | None = None
    ) -> None:
        """Tell of a selection that was slow or failed, and look at what it may have shown."""
        if not self._telemetry.is_on:
            return
        if error or topology.description is not self._cluster.description:
            self._cluster.tell()
        if self._waits and (error or seconds >= self._waits.threshold):
            failure = exception_failure(error) if error else None
            # An enumeration's member that is a string, too.
            self._waits.selected(str(getattr(operation, "value", operation)), seconds, failure)


def _observer(topology: Any) -> _SelectionObserver | None:
    attributes = vars(topology)
    if _OBSERVER not in attributes:
        listeners = (each for each in listeners_of(topology) if isinstance(each, PoolTelemetry))
        ours = next(listeners, None)
        attributes[_OBSERVER] = ours and _SelectionObserver(ours)
    observer: _SelectionObserver | None = attributes[_OBSERVER]
    return observer


def _observed(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def select_server(self: Any, selector: Any, operation: Any, *args: Any, **kwargs: Any) -> Any:
        observer = _observer(self)
        if observer is None:
            return original(self, selector, operation, *args, **kwargs)
        began = time.monotonic()
        try:
            server = original(self, selector, operation, *args, **kwargs)
        except BaseException as error:
            observer.ended(self, operation, time.monotonic() - began, error)
            raise
        observer.ended(self, operation, time.monotonic() - began)
        return server

    return select_server


def _observed_async(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def select_server(
        self: Any, selector: Any, operation: Any, *args: Any, **kwargs: Any
    ) -> Any:
        observer = _observer(self)
        if observer is None:
            return await original(self, selector, operation, *args, **kwargs)
        began = time.monotonic()
        try:
            server = await original(self, selector, operation, *args, **kwargs)
        except BaseException as error:
            observer.ended(self, operation, time.monotonic() - began, error)
            raise
        observer.ended(self, operation, time.monotonic() - began)
        return server

    return select_server


def wrap_server_selection() -> Undo:
    """Wrap it in each class of PyMongo's topologies that has it; return what undoes it."""
    undos = [_wrap(cls, is_async=is_async) for cls, is_async in topology_classes()]

    def undo() -> None:
        for each in undos:
            each()

    return undo


def _wrap(cls: type[Any], *, is_async: bool) -> Undo:
    original = cls.select_server
    wrapped = cls.select_server = (_observed_async if is_async else _observed)(original)

    def undo() -> None:
        # Somebody may have wrapped it after us; then ours stays, and finds that it is off.
        if cls.select_server is wrapped:
            cls.select_server = original

    return undo
