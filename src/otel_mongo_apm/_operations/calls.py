"""Wraps the functions that all calls of PyMongo's API go through: each call is an operation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from otel_mongo_apm._commands.exclusions import is_excluded
from otel_mongo_apm._driver.api_calls import bound_session
from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.call_stack import calling_frame
from otel_mongo_apm._driver.entry_points import found_entry_points
from otel_mongo_apm._driver.given_connections import GivenConnection
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.shield import quietly_shielded

from .in_progress import enter, is_part_of_operation, leave
from .operation import Operation
from .traced_clients import traced
from .transactions import end_lost, operation_ended, transaction_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from opentelemetry.context import Context

    from otel_mongo_apm._driver.api_calls import ApiCall
    from otel_mongo_apm._driver.entry_points import FoundEntryPoint
    from otel_mongo_apm._driver.wrapping import Undo

    IsInForce = Callable[[], bool]


class _Running:
    """A call in progress: an operation from its beginning to its end, or a part of one."""

    __slots__ = ("operation",)

    def __init__(self) -> None:
        self.operation: Operation | None = None

    @quietly_shielded
    def begin(
        self,
        found: FoundEntryPoint,
        owner: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> None:
        """Begin an operation, unless the call is part of another one or is not traced."""
        client = found.client(owner)
        if is_part_of_operation(client, _caller_of(frame)) or not (telemetry := traced(client)):
            return
        end_lost()
        call = found.call(owner, args, kwargs)
        call.session = call.session or bound_session(client)
        settings = telemetry.telemetry.settings
        if is_excluded(settings, call.name, call.database, call.collection):
            return
        parent = _parent(call)
        if settings.require_parent and not get_current_span(parent).get_span_context().is_valid:
            return
        # Stored before it is in progress, because an interrupt may come between any two steps.
        self.operation = Operation(call, telemetry.telemetry, telemetry.timeline, parent)
        # A function that provides a connection returns long before the operation ends, so the
        # frame of its caller represents the operation.
        enter(self.operation, client, _caller_of(frame) if found.gives_connection else frame)

    def end(self, error: BaseException | None = None) -> None:
        """End it in any context, because an abandoned coroutine is closed in an unrelated one."""
        if self.operation:
            leave(self.operation)
            self._tell(self.operation, error)

    @quietly_shielded
    def _tell(self, operation: Operation, error: BaseException | None) -> None:
        call = operation.call
        operation.end(error)
        if call.session:
            operation_ended(call.session, call.name, error)


def _caller_of(frame: FrameType) -> FrameType:
    return frame.f_back or frame


def _parent(call: ApiCall) -> Context:
    if call.session and (context := transaction_context(call.session, call.name)):
        return context
    # PyMongo kills abandoned cursors in the background, in the context of an unrelated caller.
    return NOBODYS_CONTEXT if is_background() else get_current()


def _wrapper(found: FoundEntryPoint) -> Callable[..., Any]:
    gives_connection = found.gives_connection

    def wrap(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not is_in_force():
                return original(self, *args, **kwargs)
            running = _Running()
            try:
                running.begin(found, self, args, kwargs, calling_frame())
                result = original(self, *args, **kwargs)
                if gives_connection and running.operation:
                    return GivenConnection(result, running.end)
                running.end()
            except BaseException as error:
                running.end(error)
                raise
            return result

        return call

    return wrap


def _async_wrapper(found: FoundEntryPoint) -> Callable[..., Any]:
    gives_connection = found.gives_connection

    def wrap(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
        @functools.wraps(original)
        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not is_in_force():
                return await original(self, *args, **kwargs)
            running = _Running()
            try:
                running.begin(found, self, args, kwargs, calling_frame())
                result = await original(self, *args, **kwargs)
                if gives_connection and running.operation:
                    return GivenConnection(result, running.end)
                running.end()
            except BaseException as error:
                running.end(error)
                raise
            return result

        return call

    return wrap


def _wrap_all() -> Iterator[Undo]:
    for found in found_entry_points():
        wrapper = _async_wrapper(found) if found.is_async else _wrapper(found)
        yield replace_method(found.cls, found.name, wrapper)


wrap_calls = Wrapping(_wrap_all).begin
