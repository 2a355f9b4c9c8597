"""The kinds of values that settings have: what each accepts, as a keyword and as text."""

from __future__ import annotations

import inspect
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that a setting accepts.

    Args:
        accepted: A description for users.
        check: Checks a keyword's value. Returns the value to use, or raises `ValueError` or
            `TypeError`.
        parse: Does the same for the text of a variable; None if the setting has no variable.
    """

    accepted: str
    check: Callable[[Any], Any]
    parse: Callable[[str], Any] | None = None


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _flag_from_text(text: str) -> bool:
    return {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}[
        text.lower()
    ]


def _length(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value < 1:
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    # An integer can be too large for a float although it is smaller than infinity.
    if not 0 <= value <= sys.float_info.max:
        raise ValueError
    return float(value)


def _names(value: Any) -> frozenset[str]:
    if isinstance(value, str):  # Otherwise a string would be treated as a list of its letters.
        value = value.split(",")
    names = frozenset(value)
    if not all(isinstance(name, str) for name in names):
        raise TypeError
    return frozenset(name.strip() for name in names) - {""}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.strip():
        raise ValueError
    return value.strip()


def names_of(what: str, pattern: str) -> Kind:
    """A kind of names. A name that cannot exist is invalid, because it would exclude nothing.

    Args:
        what: What they name.
        pattern: A regular expression that every valid name matches.
    """
    is_name = re.compile(pattern).fullmatch

    def check(value: Any) -> frozenset[str]:
        names = _names(value)
        if not all(map(is_name, names)):
            raise ValueError
        return names

    return Kind(f"names of {what}, as an iterable or separated by commas", check, check)


def _hook(value: Any) -> Any:
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise TypeError
    with suppress(ValueError):  # Some functions written in C have no signature.
        inspect.signature(value).bind("span", "event")  # Raises TypeError if it does not fit.
    return value


def provider_of(verb: str) -> Kind:
    def check(value: Any) -> Any:
        if not callable(getattr(value, verb, None)):
            raise TypeError
        return value

    return Kind(f"a provider with a {verb}() method", check)


def choice(*values: str) -> Kind:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        return values[values.index(value)]

    accepted = ", ".join(repr(value) for value in values)
    return Kind(accepted, check, lambda text: check(text.lower()))


FLAG = Kind("True, False (in a variable: true, false, on, off, 1, 0)", _flag, _flag_from_text)

LENGTH = Kind("a number of characters, at least 1", _length, lambda text: _length(int(text)))


SECONDS = Kind("a number of seconds, at least 0", _seconds, lambda text: _seconds(float(text)))

TEXT = Kind("a string that is not empty", _text, _text)

# Commands that are often written in lower case; the server only accepts them with capitals.
_WITH_CAPITALS = (
    "abortTransaction|bulkWrite|commitTransaction|createIndexes|dropDatabase|dropIndexes|endSessions"
    "|getMore|killCursors|listCollections|listDatabases|listIndexes|renameCollection|serverStatus"
)

# MongoDB's commands are camel case. Some internal commands begin with an underscore.
COMMANDS = names_of(
    "MongoDB commands (find, getMore)",
    rf"(?!(?:{_WITH_CAPITALS.lower()})$)_?[a-z][A-Za-z0-9]*",
)

DATABASES = names_of("databases (shop)", r'[^/\\. "\0]+')

COLLECTIONS = names_of("collections (users, shop.users)", r"[^.](?:.*[^.])?")

NAMES = frozenset({COMMANDS, DATABASES, COLLECTIONS})


HOOK = Kind("a function that takes a span and an event and is not async, or None", _hook)
