"""Describes an exception as attributes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)

from .encoding import encodable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from .addresses import Attributes

# The bounds of a stack trace: frames at each end of an exception's traceback, exceptions that
# led to each other, and characters of a message.
_OUTER_FRAMES = 30
_INNER_FRAMES = 30
_EXCEPTIONS = 8
_MESSAGE = 4_096

# The texts of Python's own stack traces.
_BEGINNING = "Traceback (most recent call last):\n"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def exception_type(error: BaseException) -> str:
    """Return the qualified class name of an exception or, if it has one, of its cause.

    PyMongo wraps a socket's exceptions in its own. Since 4.18 it does so before it calls listeners,
    in older versions afterwards.

    >>> exception_type(TimeoutError())
    'TimeoutError'
    """
    return class_name(type(error.__cause__ or error))


def class_name(cls: type[BaseException]) -> str:
    """Return the qualified name of an exception's class; built-in ones have no module.

    >>> class_name(TimeoutError)
    'TimeoutError'
    """
    name = cls.__qualname__
    return encodable(name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}")


def exception_message(error: BaseException) -> str:
    """Return an exception's message, truncated; the application's exceptions may have a broken one.

    >>> exception_message(ValueError("no such user"))
    'no such user'
    """
    with suppress(Exception):  # Its __str__() may raise anything.
        return message_text(str(error))
    return f"<{type(error).__name__} without a message: its __str__() failed>"


def message_text(message: str) -> str:
    """Return a message that exporters can encode, truncated."""
    return encodable(message if len(message) <= _MESSAGE else f"{message[:_MESSAGE]}...")


def exception_attributes(error: BaseException, message: str | None) -> Attributes:
    """Describe an exception as MongoDB's specification defines it.

    Args:
        error: The exception.
        message: A replacement for the exception's own message, which may contain users' values.

    >>> exception_attributes(ValueError("alice"), "ValueError")
    {'exception.type': 'ValueError', 'exception.message': 'ValueError', 'exception.stacktrace': ...}
    """
    return {
        EXCEPTION_TYPE: class_name(type(error)),
        EXCEPTION_MESSAGE: exception_message(error) if message is None else message,
        EXCEPTION_STACKTRACE: stacktrace(error, with_messages=message is None),
    }


def stacktrace(
    error: BaseException, *, with_messages: bool, without: BaseException | None = None
) -> str:
    r"""Return the stack trace of an exception and of those that led to it.

    It contains no source lines. They may contain values as literals, and reading the files would
    take longer than the call that failed.

    Args:
        error: The exception.
        with_messages: Include the exceptions' messages, which may contain users' values.
        without: An exception to leave out, together with those that led to it.

    >>> stacktrace(ValueError("alice"), with_messages=True)
    'ValueError: alice\n'
    >>> stacktrace(ValueError("alice"), with_messages=False)
    'ValueError\n'
    """
    parts: list[str] = []
    for led_to, then in _chain(error, without):
        message = exception_message(led_to) if with_messages else ""
        last = f"{class_name(type(led_to))}{': ' if message else ''}{message}\n"
        parts.append(f"{_frames(led_to.__traceback__)}{last}{then}")
    # File names that are not UTF-8 contain surrogates.
    return encodable("".join(reversed(parts)))


def _chain(
    error: BaseException, without: BaseException | None
) -> Iterator[tuple[BaseException, str]]:
    """Yield an exception, then those that led to it, each with the text that follows it."""
    found: BaseException | None = error
    then, seen = "", {id(without)}  # Not all exceptions can be hashed.
    while found is not None and id(found) not in seen and len(seen) <= _EXCEPTIONS:
        yield found, then
        seen.add(id(found))
        if found.__cause__ is not None:
            found, then = found.__cause__, _CAUSE
        else:
            found, then = None if found.__suppress_context__ else found.__context__, _CONTEXT


def _frames(traceback: TracebackType | None) -> str:
    links = []
    while traceback is not None:
        links.append(traceback)
        traceback = traceback.tb_next
    if not links:
        return ""
    left_out = len(links) - _OUTER_FRAMES - _INNER_FRAMES
    if left_out <= 0:
        return f"{_BEGINNING}{_lines(links)}"
    outer, inner = _lines(links[:_OUTER_FRAMES]), _lines(links[-_INNER_FRAMES:])
    return f"{_BEGINNING}{outer}  [{left_out} more frames]\n{inner}"


def _lines(links: list[TracebackType]) -> str:
    return "".join(
        [
            f'  File "{code.co_filename}", line {link.tb_lineno}, in {code.co_name}\n'
            for link in links
            for code in (link.tb_frame.f_code,)
        ]
    )
