"""Operation spans: one for each call of the driver's API, over all that it takes."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, get_current
from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_SYSTEM_NAME,
)
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from otel_mongo_apm._driver.callers import caller
from otel_mongo_apm._driver.documents import plain, summary
from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._otel.exceptions import exception_attributes
from otel_mongo_apm._otel.semconv import DB_MONGODB_CURSOR_ID, DB_OPERATION_SUMMARY, MONGODB

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextvars import Token

    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._driver.api_calls import ApiCall
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry


@dataclass(slots=True, eq=False)
class Operation:
    """A call of the API that is being made.

    Its span starts when there is something to tell inside of it, as of the time when the call
    began: that of a getMore for which nothing comes, or of a command that is excluded, never.

    Args:
        call: The call.
        telemetry: What all clients share.
        timeline: The client's cluster events.
        parent: The context that it is called in.
        span: Its span, once it has started.
        began: When, in nanoseconds since the epoch.
        latest_event: The number of the cluster event before it.
        caller: The thread or task that makes the call.
        is_over: Whether it has ended.
    """

    call: ApiCall
    telemetry: Telemetry
    timeline: Timeline
    parent: Context = field(default_factory=get_current)
    span: Span | None = None
    began: int = field(default_factory=time.time_ns)
    latest_event: int = 0
    caller: Hashable = field(default_factory=caller)
    is_over: bool = False

    def __post_init__(self) -> None:
        self.latest_event = self.timeline.latest

    @property
    def context(self) -> Context:
        """The context of what happens inside of it."""
        return set_span_in_context(self.span or self._start(), self.parent)

    def sends(self, database: str, collection: str | None) -> None:
        """Learn from a command where it goes, if that was not known before."""
        if self.call.database is not None:
            return
        self.call.database, self.call.collection = plain(database), collection
        if self.span:
            attributes = self._attributes()
            self.span.update_name(str(attributes[DB_OPERATION_SUMMARY]))
            self.span.set_attributes(attributes)

    def has_cursor(self, cursor_id: int) -> None:
        """Tell the cursor that it opened or went on with."""
        if self.span:
            self.span.set_attribute(DB_MONGODB_CURSOR_ID, cursor_id)

    def end(self, error: BaseException | None) -> None:
        """Tell how the call ended; of one that fails there is always a span."""
        self.is_over = True
        span = self.span or (None if error is None else self._start())
        if span is None:
            return
        end = time.time_ns()
        try:
            if span.is_recording():
                self._describe(span, end, error)
        finally:
            span.end(end)

    def _start(self) -> Span:
        attributes = self._attributes()
        self.span = self.telemetry.tracer.start_span(
            str(attributes[DB_OPERATION_SUMMARY]),
            context=self.parent,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=self.began,
        )
        return self.span

    def _attributes(self) -> Attributes:
        call = self.call
        attributes: Attributes = {DB_SYSTEM_NAME: MONGODB, DB_OPERATION_NAME: call.name}
        if call.database is None:
            return attributes | {DB_OPERATION_SUMMARY: call.name}
        attributes[DB_NAMESPACE] = call.database
        if call.collection is not None:
            attributes[DB_COLLECTION_NAME] = call.collection
        return attributes | {
            DB_OPERATION_SUMMARY: summary(call.name, call.database, call.collection)
        }

    def _describe(self, span: Span, end: int, error: BaseException | None) -> None:
        if error is not None:
            describe_exception(span, error, with_message=self.telemetry.settings.error_messages)
        if self.telemetry.events_in_spans and self.timeline.latest != self.latest_event:
            for event in self.timeline.between(self.began, end):
                event.add_to(span)


def describe_exception(span: Span, error: BaseException, *, with_message: bool) -> None:
    """Tell in a span that something failed, and of what."""
    failure = exception_failure(error)
    span.set_attributes(exception_attributes(error, None if with_message else failure.name))
    span.set_status(StatusCode.ERROR, failure.message if with_message else failure.name)


# A context is copied into the tasks and threads that are begun meanwhile, so it does not decide.
_latest: ContextVar[Operation | None] = ContextVar("otel_mongo_apm_operation", default=None)


def operation_in_progress(timeline: Timeline) -> Operation | None:
    """The operation that this thread or task is making with the client that has these events.

    While it makes one, a listener of the application's may make one with another client.
    """
    operation = _latest.get()
    if operation is None or operation.is_over or operation.timeline is not timeline:
        return None
    return operation if operation.caller == caller() else None


def context_in_progress(timeline: Timeline) -> Context | None:
    """The context of the operation in progress, if there is one."""
    operation = operation_in_progress(timeline)
    return operation.context if operation else None


def begin(operation: Operation) -> Token[Operation | None]:
    """Make an operation the one in progress."""
    return _latest.set(operation)


def end(token: Token[Operation | None]) -> None:
    """Let it be in progress no longer.

    Raises:
        ValueError: It is the context of somebody else, who closes an abandoned coroutine.
    """
    _latest.reset(token)


def outside_of_operations(hook: Callable[[Span, Any], None]) -> Callable[[Span, Any], None]:
    """Let what a hook asks of a client be no part of the operation that calls the hook."""

    def call(span: Span, event: Any) -> None:
        token = _latest.set(None)
        try:
            hook(span, event)
        finally:
            _latest.reset(token)

    return call
