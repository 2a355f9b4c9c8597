"""Calls that fail although no command failed; PyMongo publishes no event for them."""

from __future__ import annotations

import functools
import time
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context

from otel_mongo_apm._commands.exclusions import is_excluded
from otel_mongo_apm._commands.signatures import command_attributes
from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.documents import DRIVER_COMMANDS, SENSITIVE_COMMANDS
from otel_mongo_apm._driver.entry_points import found_senders
from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._driver.given_connections import GivenConnection
from otel_mongo_apm._driver.native_tracing import is_traced_natively
from otel_mongo_apm._driver.targets import target
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._metrics.names import bounded, failure_attributes
from otel_mongo_apm._otel.semconv import MONGODB
from otel_mongo_apm._otel.shield import quietly_shielded
from otel_mongo_apm._otel.told_failures import (
    failure_measured,
    is_measured_since,
    is_shown_since,
)
from otel_mongo_apm._pools.listener import PoolTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from otel_mongo_apm._driver.api_calls import ApiCall
    from otel_mongo_apm._driver.entry_points import FoundEntryPoint
    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry

    IsInForce = Callable[[], bool]

SECOND = 1_000_000_000


@quietly_shielded
def _failed(  # The values that the wrapper has.
    found: FoundEntryPoint,
    owner: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    began: float,
    error: BaseException,
) -> None:
    """Measure and show a failed call, unless its failure was already reported."""
    if is_measured_since(began) or is_background() or not is_instrumentation_enabled():
        return
    client = found.client(owner)
    telemetry = _telemetry_of(client)
    if telemetry is None or is_traced_natively(client):
        return
    call = found.call(owner, args, kwargs)
    if call.command in DRIVER_COMMANDS:  # PyMongo does not raise their failures.
        return
    attributes = command_attributes(call.command, call.database, call.collection) | target(client)
    failure, seconds = exception_failure(error), monotonic() - began
    span = None
    if _is_shown(telemetry, call) and not is_shown_since(began):
        span = _show(telemetry, call, {**attributes, **failure.attributes}, failure, seconds)
    if instruments := telemetry.command_instruments:
        measured = {**bounded(attributes), **failure_attributes(failure)}
        context = set_span_in_context(span) if span and span.is_recording() else None
        instruments.operation_duration.record(seconds, measured, context)
    if span:
        span.end()
    failure_measured()


def _telemetry_of(client: Any) -> Telemetry | None:
    listeners = client.options.event_listeners
    ours = next((each for each in listeners if isinstance(each, PoolTelemetry)), None)
    return ours.telemetry if ours and ours.telemetry.is_on else None


def _is_shown(telemetry: Telemetry, call: ApiCall) -> bool:
    """Whether such a call needs a span here, because nothing else creates one."""
    settings = telemetry.settings
    if settings.span_convention == MONGODB or call.command in SENSITIVE_COMMANDS:
        return False
    if is_excluded(settings, call.command, call.database, call.collection):
        return False
    return not settings.require_parent or get_current_span().get_span_context().is_valid


def _show(
    telemetry: Telemetry, call: ApiCall, attributes: Attributes, failure: Failure, seconds: float
) -> Span:
    target_name = call.collection or call.database
    span = telemetry.tracer.start_span(
        f"{call.command} {target_name}" if target_name else call.command,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=time.time_ns() - round(seconds * SECOND),
    )
    with_message = telemetry.settings.error_messages
    span.set_status(StatusCode.ERROR, failure.message if with_message else failure.name)
    return span


# Most calls succeed, so the wrappers do nothing until a call has failed.


def _wrapper(found: FoundEntryPoint) -> Callable[..., Any]:
    def wrap(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
        # No parameters, like the wrapped function: *args and **kwargs would cost ten times as much.
        @functools.wraps(original)
        def run(self: Any) -> Any:
            began = monotonic()
            try:
                return original(self)
            except BaseException as error:
                if is_in_force():
                    _failed(found, self, (), {}, began, error)
                raise

        return run

    return wrap


def _async_wrapper(found: FoundEntryPoint) -> Callable[..., Any]:
    def wrap(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
        @functools.wraps(original)
        async def run(self: Any) -> Any:
            began = monotonic()
            try:
                return await original(self)
            except BaseException as error:
                if is_in_force():
                    _failed(found, self, (), {}, began, error)
                raise

        return run

    return wrap


def _giving_wrapper(found: FoundEntryPoint) -> Callable[..., Any]:
    """Return a wrapper for a function that only provides a connection for the actual call."""

    def wrap(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
        def ending(self: Any, args: Any, kwargs: Any) -> Callable[[BaseException | None], None]:
            began = monotonic()

            def ended(error: BaseException | None) -> None:
                if error is not None and is_in_force():
                    _failed(found, self, args, kwargs, began, error)

            return ended

        @functools.wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            ended = ending(self, args, kwargs)
            try:
                return GivenConnection(original(self, *args, **kwargs), ended)
            except BaseException as error:
                ended(error)
                raise

        @functools.wraps(original)
        async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            ended = ending(self, args, kwargs)
            try:
                return GivenConnection(await original(self, *args, **kwargs), ended)
            except BaseException as error:
                ended(error)
                raise

        return call_async if found.is_async else call

    return wrap


def _wrap_all() -> Iterator[Undo]:
    for found in found_senders():
        if found.gives_connection:
            wrapper = _giving_wrapper(found)
        else:
            wrapper = _async_wrapper(found) if found.is_async else _wrapper(found)
        yield replace_method(found.cls, found.name, wrapper)


wrap_failed_calls = Wrapping(_wrap_all).begin
