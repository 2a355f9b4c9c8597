"""Transaction spans: one from a transaction's start to its commit or abort."""

from __future__ import annotations

import atexit
import functools
import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv.attributes.db_attributes import DB_SYSTEM_NAME
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from pymongo.errors import ConnectionFailure, OperationFailure

from otel_mongo_apm._commands.exclusions import is_within_a_trace
from otel_mongo_apm._driver.classes import driver_session, motor_session_class, session_classes
from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._driver.wrapping import Wrapping, replace_method
from otel_mongo_apm._otel.semconv import MONGODB, TRANSACTION
from otel_mongo_apm._otel.shield import quietly_shielded

from .traced_clients import traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.context import Context

    from otel_mongo_apm._driver.wrapping import Undo

    IsInForce = Callable[[], bool]

# The attribute in which one of PyMongo's sessions stores its transaction.
_TRANSACTION = "_otel_mongo_apm_transaction"


@dataclass(slots=True, eq=False)
class Transaction:
    """A transaction of a session, or all attempts of a `with_transaction()`.

    Args:
        span: Its span.
        is_whole: Whether only the end of `with_transaction()` ends it.
        process: The ID of the process that started it; forked processes ignore it.
        is_over: Whether its span has ended.
    """

    span: Span
    is_whole: bool
    process: int = field(default_factory=os.getpid)
    is_over: bool = False

    @property
    def context(self) -> Context:
        """The context of its operations, including a commit that is repeated after its end."""
        return set_span_in_context(self.span)

    @quietly_shielded
    def end(self, error: BaseException | None = None) -> None:
        """End the span after a commit or abort; later calls have no effect."""
        if self.is_over or self.process != os.getpid():
            return
        self.is_over = True
        if error is not None:
            self.span.set_status(StatusCode.ERROR, exception_failure(error).name)
        self.span.end()

    def __del__(self) -> None:
        # The session was garbage-collected with an open transaction. The garbage collector can run
        # anywhere, even while a span processor holds its lock, so `end_lost` ends the span later.
        if not self.is_over and self.process == os.getpid():
            _lost.append((self.span, time.time_ns()))


# The spans of transactions whose sessions were lost, with their end times. Appending takes no lock.
_lost: deque[tuple[Span, int]] = deque()


@quietly_shielded
def end_lost() -> None:
    """End the spans of transactions whose sessions were lost; called when a call begins."""
    while _lost:
        try:
            span, end_time = _lost.popleft()
        except IndexError:  # Another thread was quicker.
            return
        span.end(end_time)


atexit.register(end_lost)


_ABORT = "abortTransaction"
_ENDS = frozenset({"commitTransaction", _ABORT})
# Exceptions that PyMongo ignores when it aborts a transaction, which counts as aborted anyway.
_IGNORED_BY_ABORT = (ConnectionFailure, OperationFailure)


def transaction_context(session: Any, operation: str) -> Context | None:
    """Return the context of a session's transaction, if an operation is part of one."""
    transaction = _transaction(session)
    if transaction is None or not (operation in _ENDS or session.in_transaction):
        return None
    return transaction.context


def operation_ended(session: Any, operation: str, error: BaseException | None) -> None:
    """Note that an operation of a session has ended; it may have ended a transaction.

    This is needed for Motor, which copies the methods of PyMongo's sessions at import, before we
    wrap them.
    """
    if operation in _ENDS:
        is_ignored = operation == _ABORT and isinstance(error, _IGNORED_BY_ABORT)
        _end(session, None if is_ignored else error)


def _transaction(session: Any) -> Transaction | None:
    found: Transaction | None = vars(session).get(_TRANSACTION)
    return found


@quietly_shielded
def _begin(session: Any, *, is_whole: bool = False) -> None:
    end_lost()
    current = _transaction(session)
    if current and current.is_whole and not current.is_over:
        return  # It is one of the attempts.
    vars(session).pop(_TRANSACTION, None)
    client = traced(session.client)
    if client is None or (client.telemetry.settings.require_parent and not is_within_a_trace()):
        return
    span = client.telemetry.tracer.start_span(
        TRANSACTION, kind=SpanKind.CLIENT, attributes={DB_SYSTEM_NAME: MONGODB}
    )
    vars(session)[_TRANSACTION] = Transaction(span, is_whole)


@quietly_shielded
def _end(session: Any, error: BaseException | None = None, *, is_whole: bool = False) -> None:
    transaction = _transaction(session)
    if transaction and (is_whole or not transaction.is_whole):
        transaction.end(error)


def _started(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    def start_transaction(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if is_in_force():
            _begin(self)
        return result

    return start_transaction


def _started_async(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    async def start_transaction(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        if is_in_force():
            _begin(self)
        return result

    return start_transaction


def _ended(original: Callable[..., Any], _: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    def end_transaction(self: Any) -> Any:
        try:
            result = original(self)
        except BaseException as error:
            _end(self, error)
            raise
        _end(self)
        return result

    return end_transaction


def _ended_async(original: Callable[..., Any], _: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    async def end_transaction(self: Any) -> Any:
        try:
            result = await original(self)
        except BaseException as error:
            _end(self, error)
            raise
        _end(self)
        return result

    return end_transaction


def _whole(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    def with_transaction(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_in_force() or self.in_transaction:
            return original(self, *args, **kwargs)
        try:
            _begin(self, is_whole=True)
            result = original(self, *args, **kwargs)
            _end(self, is_whole=True)
        except BaseException as error:
            _end(self, error, is_whole=True)
            raise
        return result

    return with_transaction


def _whole_async(original: Callable[..., Any], is_in_force: IsInForce) -> Callable[..., Any]:
    @functools.wraps(original)
    async def with_transaction(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_in_force() or self.in_transaction:
            return await original(self, *args, **kwargs)
        session = driver_session(self)
        try:
            _begin(session, is_whole=True)
            result = await original(self, *args, **kwargs)
            _end(session, is_whole=True)
        except BaseException as error:
            _end(session, error, is_whole=True)
            raise
        return result

    return with_transaction


def _wrap_all() -> Iterator[Undo]:
    for cls, is_async in session_classes():
        ended = _ended_async if is_async else _ended
        yield replace_method(cls, "start_transaction", _started_async if is_async else _started)
        yield replace_method(cls, "commit_transaction", ended)
        yield replace_method(cls, "abort_transaction", ended)
        yield replace_method(cls, "with_transaction", _whole_async if is_async else _whole)
    if motor := motor_session_class():
        yield replace_method(motor, "with_transaction", _whole_async)


wrap_transactions = Wrapping(_wrap_all).begin
