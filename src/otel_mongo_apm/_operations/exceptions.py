"""Exceptions on spans as MongoDB's specification defines them: events and attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_TYPE
from opentelemetry.trace import StatusCode

from otel_mongo_apm._driver.failures import as_raised, exception_failure, raised_type
from otel_mongo_apm._otel.exceptions import exception_attributes
from otel_mongo_apm._otel.semconv import EXCEPTION

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otel_mongo_apm._driver.failures import Failure


def describe_exception(span: Span, error: BaseException, *, with_message: bool) -> None:
    """Describe the failure of an operation in its recording span.

    Args:
        span: The span.
        error: The exception that the driver raises to the application.
        with_message: Include the exception's message, which may contain users' values.
    """
    failure = as_raised(exception_failure(error), error)
    record_exception(span, error, failure, with_message=with_message)
    span.set_status(StatusCode.ERROR, failure.message if with_message else failure.name)


def record_exception(
    span: Span, error: BaseException, failure: Failure, *, with_message: bool
) -> None:
    """Record an exception as an event of the span and in its attributes.

    The SDK's own function is not used, because it reads source files and includes the message.
    """
    attributes = exception_attributes(error, None if with_message else failure.name)
    attributes[EXCEPTION_TYPE] = raised_type(error)
    span.add_event(EXCEPTION, attributes)
    span.set_attributes(attributes)
