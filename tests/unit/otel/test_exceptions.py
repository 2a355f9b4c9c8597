"""Stack traces and messages of exceptions, as they go into attributes."""

from __future__ import annotations

import linecache
import traceback

import pytest

from otel_mongo_apm._otel.exceptions import (
    exception_attributes,
    exception_message,
    exception_type,
    stacktrace,
)

SECRET = "S3CRET"


def raised(call):
    """What a call raises, with its traceback."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # Of any kind.
        call()
    return caught.value


def refuse(name):
    raise ValueError(name)


def literal():
    return refuse("S3CRET")


def wrap():
    try:
        literal()
    except ValueError as error:
        raise LookupError(SECRET) from error


def recurse(depth):
    return recurse(depth - 1) if depth else refuse("deep")


def lines(error, **options):
    return stacktrace(error, with_messages=options.get("with_messages", False)).splitlines()


def test_no_source_line_is_quoted():
    """A literal in the source is a value, so a stack trace quotes no line of the source."""
    found = stacktrace(raised(literal), with_messages=False)

    assert SECRET not in found
    assert f'File "{__file__}"' in found
    assert ", in literal\n" in found


def test_no_source_is_read(monkeypatch):
    """To format a stack trace opens no file: it costs the application more than its failed call."""

    def refused(*_):
        pytest.fail("A source file was looked for.")

    error = raised(literal)
    monkeypatch.setattr(linecache, "getline", refused)
    monkeypatch.setattr(linecache, "getlines", refused)
    monkeypatch.setattr(linecache, "checkcache", refused)

    assert stacktrace(error, with_messages=True).endswith("ValueError: S3CRET\n")


def test_frames_are_those_of_python():
    """Files, lines and functions are those that Python's own stack trace has, in its order."""
    error = raised(wrap)
    own = [line for line in "".join(traceback.format_exception(error)).splitlines() if line]
    frames = [line for line in own if line.startswith("  File ")]

    assert [line for line in lines(error) if line.startswith("  File ")] == frames


def test_what_led_to_it_is_told_by_its_class():
    """Without messages the stack trace has the classes of the exceptions that led to this one."""
    found = lines(raised(wrap))

    assert "ValueError" in found
    assert found[-1] == "LookupError"
    assert "The above exception was the direct cause of the following exception:" in found


def test_with_messages_all_have_theirs():
    """With messages the stack trace ends each exception as Python does."""
    found = lines(raised(wrap), with_messages=True)

    assert "ValueError: S3CRET" in found
    assert found[-1] == "LookupError: S3CRET"


def test_suppressed_context_is_not_told():
    """An exception that was raised from None stands alone."""

    def suppress():
        try:
            literal()
        except ValueError:
            raise LookupError from None

    assert not any("ValueError" in line for line in lines(raised(suppress)))


def test_exceptions_in_a_circle():
    """Exceptions that led to each other are each told once."""
    first, second = ValueError(), LookupError()
    first.__context__, second.__context__ = second, first

    assert [line for line in lines(first) if line in ("ValueError", "LookupError")] == [
        "LookupError",
        "ValueError",
    ]


def test_deep_recursion_is_bounded():
    """Of many frames the first and the last are told, and how many there are between them."""
    found = lines(raised(lambda: recurse(500)))

    assert len(found) < 100
    assert any("more frames]" in line for line in found)
    assert found[-2].endswith(", in refuse")


def test_many_exceptions_are_bounded():
    """Of a long chain only the last few exceptions are told."""
    error = ValueError()
    for _ in range(1_000):
        error = _after(error)

    assert len(lines(error)) < 100


def _after(cause):
    error = ValueError()
    error.__cause__ = cause
    return error


def test_long_message_is_bounded():
    """A message that quotes a whole document takes no more than its room."""
    error = ValueError("x" * 1_000_000)
    attributes = exception_attributes(error, None)

    assert len(attributes["exception.message"]) < 5_000
    assert len(attributes["exception.stacktrace"]) < 5_000


@pytest.mark.parametrize("message", [None, "ValueError"])
def test_everything_can_be_encoded(message):
    """Surrogates of a file's name, of a message and of a class do not reach an exporter."""
    source = "def fail(): raise Kind('bad \\ud800')"
    names = {"Kind": type("Kind", (ValueError,), {"__module__": "mod\ud800"})}
    exec(compile(source, "/srv/app\udce9/models.py", "exec"), names)
    attributes = exception_attributes(raised(names["fail"]), message)

    for value in attributes.values():
        assert value.encode().decode() == value
    assert "/srv/app?/models.py" in attributes["exception.stacktrace"]


def test_message_that_fails():
    """An exception of the application's whose message cannot be had is told all the same."""

    class OddError(Exception):
        def __str__(self):
            raise RuntimeError(SECRET)

    assert exception_message(OddError()) == "<OddError without a message: its __str__() failed>"
    assert stacktrace(OddError(), with_messages=True).endswith("its __str__() failed>\n")


def test_type_is_that_of_the_cause():
    """An exception that wraps another is told by the one that it wraps."""
    assert exception_type(raised(wrap)) == "ValueError"
