"""Wraps PyMongo's lookups of SRV records, which publish no event."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from otel_mongo_apm._cluster.timeline import ClusterEvent
from otel_mongo_apm._driver.classes import srv_client_classes
from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._driver.targets import srv_question
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._metrics.names import admits_srv_record
from otel_mongo_apm._otel.semconv import (
    CLIENT_SRV_LOOKUP_FAILED,
    CLIENT_SRV_LOOKUP_SUCCEEDED,
    DNS_QUESTION_NAME,
)
from otel_mongo_apm._otel.shield import quietly_shielded
from otel_mongo_apm._pools.listener import PoolTelemetry

from .spans import Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._otel.addresses import Attributes

    IsInForce = Callable[[], bool]


@quietly_shielded
def _ended(client: Any, seconds: float, error: BaseException | None = None) -> None:
    """Report a lookup that has ended."""
    listeners = (each for each in client.options.event_listeners if isinstance(each, PoolTelemetry))
    ours = next(listeners, None)
    if ours is None or not ours.telemetry.is_on or not is_instrumentation_enabled():
        return
    question, failure = srv_question(client), exception_failure(error) if error else None
    if isinstance(ours.waits, Waits) and (failure or seconds >= ours.waits.threshold):
        ours.waits.looked_up(question, seconds, failure)
    attributes: Attributes = {ERROR_TYPE: failure.error_type} if failure else {}
    if instruments := ours.telemetry.command_instruments:
        name = {DNS_QUESTION_NAME: question} if admits_srv_record(question) else {}
        instruments.lookup_duration.record(seconds, {**name, **attributes})
    if ours.telemetry.sees_cluster:
        ours.cluster.note(_event(question, seconds, attributes, failure))
        ours.cluster.have_told()


def _event(
    question: str, seconds: float, attributes: Attributes, failure: Failure | None
) -> ClusterEvent:
    what = f"SRV record {question}"
    if failure:
        line = f"Looking up {what} failed after {seconds:.1f} s: {failure.error_type}"
    else:
        line = f"Looked up {what} in {seconds:.1f} s"
    return ClusterEvent(
        CLIENT_SRV_LOOKUP_FAILED if failure else CLIENT_SRV_LOOKUP_SUCCEEDED,
        time.time_ns(),
        {DNS_QUESTION_NAME: question, **attributes},
        line,
        is_warning=failure is not None,
    )


def _told(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    def resolve(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            if is_in_force():
                _ended(self, time.monotonic() - began, error)
            raise
        if is_in_force():
            _ended(self, time.monotonic() - began)
        return result

    return resolve


def _told_async(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    async def resolve(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            if is_in_force():
                _ended(self, time.monotonic() - began, error)
            raise
        if is_in_force():
            _ended(self, time.monotonic() - began)
        return result

    return resolve


def _wrap_all() -> Iterator[Undo]:
    for cls, is_async in srv_client_classes():
        yield replace_method(cls, "_resolve_srv", _told_async if is_async else _told)


wrap_lookups = Wrapping(_wrap_all).begin
