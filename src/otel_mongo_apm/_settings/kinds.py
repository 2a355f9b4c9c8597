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
    """What values a setting accepts: in words, as a keyword and as a variable's text.

    Both functions return the value to use or raise `ValueError` or `TypeError`.
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
    # An integer may be too large for a float, and yet smaller than infinity.
    if not 0 <= value <= sys.float_info.max:
        raise ValueError
    return float(value)


def _names(value: Any) -> frozenset[str]:
    if isinstance(value, str):  # A lone string would else be taken for its letters.
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
    """A kind of names; what does not look like one would exclude nothing, without a word.

    Args:
        what: What they name.
        pattern: What each of them looks like.
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
    with suppress(ValueError):  # Not everything that is written in C can be asked.
        inspect.signature(value).bind("span", "event")  # It raises TypeError, too.
    return value


def provider_of(verb: str) -> Kind:
    def check(value: Any) -> Any:
        if not callable(getattr(value, verb, None)):
            raise TypeError
        return value

    return Kind(f"a provider with {verb}()", check)


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

TEXT = Kind("a text that is not empty", _text, _text)

# Commands that are often written without their capital letters; the server knows them with only.
_WITH_CAPITALS = (
    "abortTransaction|bulkWrite|commitTransaction|createIndexes|dropDatabase|dropIndexes|endSessions"
    "|getMore|killCursors|listCollections|listDatabases|listIndexes|renameCollection|serverStatus"
)

# MongoDB's are written in camel case. Some of a server's own begin with an underscore.
COMMANDS = names_of(
    "commands as MongoDB has them (find, getMore)",
    rf"(?!(?:{_WITH_CAPITALS.lower()})$)_?[a-z][A-Za-z0-9]*",
)

DATABASES = names_of("databases (shop)", r'[^/\\. "\0]+')

COLLECTIONS = names_of("collections (users, shop.users)", r"[^.](?:.*[^.])?")

NAMES = frozenset({COMMANDS, DATABASES, COLLECTIONS})


HOOK = Kind("a function, not async, of a span and an event, or None", _hook)
