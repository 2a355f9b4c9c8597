"""Wraps PyMongo's server selection, which publishes no event."""

from __future__ import annotations

import functools
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.semconv.attributes.db_attributes import DB_OPERATION_NAME, DB_SYSTEM_NAME

from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.classes import topology_classes
from otel_mongo_apm._driver.clients import topology_of
from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._driver.keywords import hide_ours
from otel_mongo_apm._driver.listeners import listeners_of
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._metrics.names import bounded, failure_attributes
from otel_mongo_apm._otel.encoding import encodable
from otel_mongo_apm._otel.semconv import MONGODB
from otel_mongo_apm._otel.shield import quietly_shielded
from otel_mongo_apm._pools.listener import PoolTelemetry

from .spans import Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._otel.addresses import Attributes

    IsInForce = Callable[[], bool]

# The attribute in which one of PyMongo's topologies stores its observer.
_OBSERVER = "_otel_mongo_apm_observer"
_UNKNOWN = object()


class _SelectionObserver:
    """Called at the end of each server selection of one client."""

    def __init__(self, pools: PoolTelemetry) -> None:
        self._telemetry = pools.telemetry
        self._sees_cluster = pools.telemetry.sees_cluster
        self._cluster = pools.cluster
        self._waits = pools.waits if isinstance(pools.waits, Waits) else None
        self._instruments = pools.telemetry.command_instruments
        # In seconds; shorter selections do not count as waits.
        self._threshold = pools.telemetry.settings.wait_span_threshold

    def is_needed(self, topology: Any, seconds: float) -> bool:
        """Whether a successful selection is worth reporting; most are not."""
        return seconds >= self._threshold or self._shows_something(topology)

    def _shows_something(self, topology: Any) -> bool:
        cluster = self._cluster
        return self._sees_cluster and (
            bool(cluster.untold) or topology.description is not cluster.description
        )

    @quietly_shielded
    def ended(
        self, topology: Any, operation: Any, seconds: float, error: BaseException | None = None
    ) -> None:
        """Report a slow or failed selection, and look at the cluster if it has changed."""
        if not self._telemetry.is_on:
            return
        if (self._sees_cluster and error) or self._shows_something(topology):
            self._cluster.open()  # A load-balanced client has no heartbeats that would open it.
            self._cluster.have_told()
        if error or seconds >= self._threshold:
            failure = exception_failure(error) if error else None
            # An enumeration's member that is a string, too.
            self._tell(encodable(str(getattr(operation, "value", operation))), seconds, failure)

    def _tell(self, operation: str, seconds: float, failure: Failure | None) -> None:
        if self._waits:
            self._waits.selected(operation, seconds, failure)
        if self._instruments and is_instrumentation_enabled() and not is_background():
            attributes: Attributes = {DB_SYSTEM_NAME: MONGODB, DB_OPERATION_NAME: operation}
            if failure:
                attributes |= failure_attributes(failure)
            self._instruments.server_selection_duration.record(seconds, bounded(attributes))


@quietly_shielded
def _find_observer(topology: Any) -> _SelectionObserver | None:
    listeners = (each for each in listeners_of(topology) if isinstance(each, PoolTelemetry))
    ours = next(listeners, None)
    observes = ours and (
        ours.telemetry.sees_cluster or ours.waits or ours.telemetry.settings.metrics
    )
    # Every selection reads this attribute without a shield.
    is_observable = hasattr(topology, "description")
    if ours and (client := ours.client()):
        hide_ours(client)  # The lookup of an SRV record may just have created new options.
    observer = _SelectionObserver(ours) if ours and observes and is_observable else None
    setattr(topology, _OBSERVER, observer)
    return observer


def _observed(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    def select_server(self: Any, selector: Any, operation: Any, *args: Any, **kwargs: Any) -> Any:
        observer: Any = getattr(self, _OBSERVER, _UNKNOWN)
        if observer is _UNKNOWN:
            observer = _find_observer(self)
        if observer is None:
            return original(self, selector, operation, *args, **kwargs)
        began = monotonic()
        try:
            server = original(self, selector, operation, *args, **kwargs)
        except BaseException as error:
            if is_in_force():
                observer.ended(self, operation, monotonic() - began, error)
            raise
        seconds = monotonic() - began
        if observer.is_needed(self, seconds) and is_in_force():
            observer.ended(self, operation, seconds)
        return server

    return select_server


def _observed_async(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    async def select_server(
        self: Any, selector: Any, operation: Any, *args: Any, **kwargs: Any
    ) -> Any:
        observer: Any = getattr(self, _OBSERVER, _UNKNOWN)
        if observer is _UNKNOWN:
            observer = _find_observer(self)
        if observer is None:
            return await original(self, selector, operation, *args, **kwargs)
        began = monotonic()
        try:
            server = await original(self, selector, operation, *args, **kwargs)
        except BaseException as error:
            if is_in_force():
                observer.ended(self, operation, monotonic() - began, error)
            raise
        seconds = monotonic() - began
        if observer.is_needed(self, seconds) and is_in_force():
            observer.ended(self, operation, seconds)
        return server

    return select_server


def _wrap_all() -> Iterator[Undo]:
    for cls, is_async in topology_classes():
        yield replace_method(cls, "select_server", _observed_async if is_async else _observed)


def observe_anew(client: Any) -> None:
    """Make a client's next server selection look up its observer again."""
    topology = topology_of(client)
    if topology is not None:
        vars(topology).pop(_OBSERVER, None)


wrap_server_selection = Wrapping(_wrap_all).begin
