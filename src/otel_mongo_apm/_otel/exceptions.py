"""What an exception tells of itself, as attributes."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)

if TYPE_CHECKING:
    from .addresses import Attributes


def exception_type(error: BaseException) -> str:
    """The qualified name of an exception's class, or of the one that it wraps.

    PyMongo wraps what a socket raises in its own exceptions, since 4.18 before a listener
    is told and until then afterwards.

    >>> exception_type(TimeoutError())
    'TimeoutError'
    """
    return _class_name(error.__cause__ or error)


def _class_name(error: BaseException) -> str:
    cls = type(error)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def exception_attributes(error: BaseException, message: str | None) -> Attributes:
    """Describe an exception as MongoDB's specification has it.

    Args:
        error: The exception.
        message: What is told instead of its own message, which may quote users' values.

    >>> exception_attributes(ValueError("alice"), "ValueError")
    {'exception.type': 'ValueError', 'exception.message': 'ValueError', 'exception.stacktrace': ...}
    """
    name = _class_name(error)
    if message is None:
        lines = traceback.format_exception(error)
    else:
        lines = [*traceback.format_tb(error.__traceback__), f"{name}\n"]
    return {
        EXCEPTION_TYPE: name,
        EXCEPTION_MESSAGE: str(error) if message is None else message,
        EXCEPTION_STACKTRACE: "".join(lines),
    }
