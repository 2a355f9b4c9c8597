"""Which values can occur at a position of a command, and which of them a text may show.

A value is hidden unless its position allows showing it. A position is never guessed from a value.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from bson.code import Code
from bson.int64 import Int64

from .json_text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Writes a scalar, given the available room; returns None if it must be hidden.
    Shown = Callable[[Any, int], str | None]

_NUMBERS = (int, Int64)
_MAX_INT64 = 2**63

# The kinds of indexes that a key contains instead of a direction.
_INDEX_KINDS = frozenset({"2d", "2dsphere", "columnstore", "geoHaystack", "hashed", "text"})

# A path to a field, or a variable. Other strings that begin with a dollar may be values.
_PATH = re.compile(r"\$\$?[^\W\d][\w-]*(\.[\w-]+)*")
_MAX_PATH = 255

# Written paths, cached because most applications use the same few.
_MAX_PATHS = 1_000
_paths: dict[str, str] = {}


class Position:
    """A position of a command, which defines what can occur there.

    Without a position, there is a value: everything in it is hidden except keys.

    Args:
        shown: Writes the scalars that may be shown. Without it, all scalars are hidden.
        fields: The positions of a document's fields, by key.
        others: The position of all other fields except operators; unknown operators have values.
        items: The position of each item of a list.
        names_fields: Whether strings are names of fields, which may be hidden like keys.
    """

    __slots__ = ("fields", "items", "names_fields", "others", "shown")

    def __init__(
        self,
        shown: Shown | None = None,
        *,
        fields: Mapping[str, Position] | None = None,
        others: Position | None = None,
        items: Position | None = None,
        names_fields: bool = False,
    ) -> None:
        self.shown = shown
        self.fields: dict[Any, Position] = dict(fields or {})
        self.others = others
        self.items = items
        self.names_fields = names_fields

    def of(self, key: object) -> Position | None:
        """The position of a field, if it has one."""
        found = self.fields.get(key)
        return self.others if found is None and is_no_operator(key) else found


def is_no_operator(key: object) -> bool:
    """Whether a key is a field's."""
    return type(key) is str and key[:1] != "$"


def number(value: object, _: int) -> str | None:
    """A whole number that MongoDB can have."""
    is_number = type(value) in _NUMBERS and -_MAX_INT64 < value < _MAX_INT64  # type: ignore[operator]
    return f"{value}" if is_number else None


def flag(value: object, _: int) -> str | None:
    """True or false."""
    return ("true" if value else "false") if type(value) is bool else None


def direction(value: object, _: int) -> str | None:
    """The direction of a sort."""
    return str(value) if type(value) in _NUMBERS and value in (1, -1) else None


def index_kind(value: object, room: int) -> str | None:
    """The direction of an index's key, or the kind of index."""
    if type(value) is str and value in _INDEX_KINDS:
        return quoted(value, room)
    return direction(value, room)


def inclusion(value: object, room: int) -> str | None:
    """Whether a field is part of a result."""
    if type(value) in _NUMBERS and value in (0, 1):
        return str(value)
    return flag(value, room)


def name(value: object, room: int) -> str | None:
    """The name of a collection, a field or an index."""
    if type(value) is str and len(value) <= room and value.isascii():
        return encode_basestring(value)
    # Code and members of string enumerations are subclasses of str with another meaning.
    is_name = isinstance(value, str) and not isinstance(value, Code)
    return quoted(str.__str__(value), room) if is_name else None


def path(value: object, _: int) -> str | None:
    """The path to a field, or a variable."""
    if type(value) is not str or value[:1] != "$":
        return None
    known = _paths.get(value)
    if known is None and len(value) <= _MAX_PATH and _PATH.fullmatch(value):
        if len(_paths) >= _MAX_PATHS:  # Clearing is cheaper than tracking the oldest.
            _paths.clear()
        known = _paths[value] = f'"{value}"'  # A path contains nothing that must be escaped.
    return known


def inclusion_or_path(value: object, room: int) -> str | None:
    """A value of a projection."""
    return inclusion(value, room) or path(value, room)


NUMBER = Position(number)
FLAG = Position(flag)
COLLECTION = Position(name)
FIELD = Position(name, names_fields=True)
PATH = Position(path, names_fields=True)

SORT = Position(fields={"$natural": Position(direction)}, others=Position(direction))
INDEX_KEYS = Position(
    fields={"$natural": Position(direction), "$**": Position(index_kind)},
    others=Position(index_kind),
)
