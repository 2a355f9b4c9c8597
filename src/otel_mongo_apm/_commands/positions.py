"""What may stand at a position of a command, and what a text may show of it.

Everything is hidden that no position shows: a position is never guessed from a value.
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

    # What is shown of a scalar for which there is so much room; nothing if it is to be hidden.
    Shown = Callable[[Any, int], str | None]

_NUMBERS = (int, Int64)
_MAX_INT64 = 2**63

# Since MongoDB has them: kinds of indexes that a key names instead of a direction.
_INDEX_KINDS = frozenset({"2d", "2dsphere", "columnstore", "geoHaystack", "hashed", "text"})

# A path to a field, or a variable. What else begins with a dollar may be a value by mistake.
_PATH = re.compile(r"\$\$?[^\W\d][\w-]*(\.[\w-]+)*")
_MAX_PATH = 255

# Paths as they are written: most applications have the same few.
_MAX_PATHS = 1_000
_paths: dict[str, str] = {}


class Position:
    """A position of a command, which says what may stand there.

    Where there is no position, there is a value: all that is in it is hidden but keys.

    Args:
        shown: Writes what may be shown of a scalar. All scalars are hidden if there is none.
        fields: The positions of a document's fields, by key.
        others: That of all other fields but operators, which hold values where they are not known.
        items: That of each item of a list.
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
    is_number = type(value) in _NUMBERS and abs(value) < _MAX_INT64  # type: ignore[arg-type]
    return str(value) if is_number else None


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
    # Code is a string for Python; a member of an enumeration is one whose text is another.
    is_name = isinstance(value, str) and not isinstance(value, Code)
    return quoted(str.__str__(value), room) if is_name else None


def path(value: object, _: int) -> str | None:
    """The path to a field, or a variable."""
    if type(value) is not str or value[:1] != "$":
        return None
    known = _paths.get(value)
    if known is None and len(value) <= _MAX_PATH and _PATH.fullmatch(value):
        if len(_paths) >= _MAX_PATHS:  # To start anew costs less than to keep an order.
            _paths.clear()
        known = _paths[value] = f'"{value}"'  # There is nothing in a path to be escaped.
    return known


def inclusion_or_path(value: object, room: int) -> str | None:
    """What a projection may say of a field."""
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
