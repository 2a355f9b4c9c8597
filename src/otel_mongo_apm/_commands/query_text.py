"""The sanitized text of a command: JSON with its values hidden.

A text is written from left to right, and writing stops as soon as the text exceeds its room. So the
cost depends on the room, never on the size of the command.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from otel_mongo_apm._driver.raw_documents import RawDocument, RawScalar, raw_document

from .arguments import EXPLAINED, arguments
from .json_text import (
    CONTAINERS,
    HIDDEN,
    LEFT_OUT,
    LISTS,
    SAMPLE,
    SCALAR_TYPES,
    cut,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .positions import Position, Shown

    # An argument's name, the text of its name, its position, and what writes a scalar there. The
    # last is None if scalars are hidden, and where they name fields, which may be hidden as well.
    Argument = tuple[str, str, Position | None, Shown | None]

# Levels of documents and lists, the command being the first.
_DEPTH = 20

# The types of nearly all scalars that are shown.
_SHOWN_TYPES = frozenset({str, int, bool})

# Since MongoDB 5.0, other keys may also begin with a dollar.
_OPERATOR = re.compile(r"\$[A-Za-z]\w*", re.ASCII)

# How many written keys are cached, and the maximum length of each.
_MAX_KEYS = 1_000
_SHORT = 64


def sanitized(command: Mapping[str, Any], max_length: int, *, mask_keys: bool = False) -> str:
    """Write *command* with its values hidden.

    >>> find = {"find": "users", "filter": {"age": {"$gt": 30}}, "limit": 10, "$db": "shop"}
    >>> sanitized(find, 1024)
    '{"find":"users","filter":{"age":{"$gt":"?"}},"limit":10}'
    >>> sanitized(find, 1024, mask_keys=True)
    '{"find":"users","filter":{"?":{"$gt":"?"}},"limit":10}'
    >>> sanitized(find, 26)
    '{"find":"users","filter...'
    >>> sanitized({"insert": "users", "documents": [{"a": [1, 2]}] * 100}, 1024)
    '{"insert":"users","documents":[{"a":["?"]},"+99"]}'
    >>> sanitized({"dropUser": "alice"}, 1024)
    '{"dropUser":"?"}'

    Args:
        command: The command that is sent to the server.
        max_length: The maximum length of the text, in characters.
        mask_keys: Whether keys below the top level, except operators, and names of fields are
            hidden, too.
    """
    return sanitizer(max_length, mask_keys=mask_keys)(command)


def sanitizer(max_length: int, *, mask_keys: bool) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that writes a command."""
    write = (_MASKED if mask_keys else _SANITIZED).command

    def text(command: Mapping[str, Any]) -> str:
        written = write(command, max_length)
        return written if len(written) <= max_length else cut(written, max_length)

    return text


class _Keys(dict[object, str]):
    """Written keys with their colons, cached because most documents have the same few.

    Args:
        quoted: Writes a key.
    """

    def __init__(self, quoted: Callable[[object, int], str]) -> None:
        super().__init__()
        self._quoted = quoted

    def write(self, key: object, room: int) -> str:
        """Write a key that is not cached, and cache it if it is short."""
        written = f"{self._quoted(key, room)}:"
        if type(key) is str and len(key) <= min(room, _SHORT):
            if len(self) >= _MAX_KEYS:  # Clearing is cheaper than tracking the oldest.
                self.clear()
            self[key] = written
        return written


# How many sets of arguments are cached, and the maximum length of all names in one of them.
_MAX_SETS = 1_000
_MAX_NAMES = 256

# PyMongo creates no command with more arguments.
_MANY = 64


class _Arguments(dict[tuple[str, ...], "list[Argument]"]):
    """Which arguments of a command are written, and how, by the names of all its arguments.

    It is a cache, because an application uses only a few sets of arguments.
    """

    def find(self, names: tuple[str, ...], room: int) -> list[Argument]:
        """Find out what is not cached, and cache it if the names are short."""
        command, found, length = arguments(names), [], 0
        room = max(room, _MAX_NAMES)
        for name in names:
            if name not in LEFT_OUT:
                position = command and command.fields.get(name)
                shown = position.shown if position and not position.names_fields else None
                written = f"{quoted(name, room)}:"
                found.append((name, written, position, shown))
                length += len(written)
                if length > room:  # The text is cut before the next argument.
                    break
        # An application's own kinds of strings may refer to anything, which must not be kept alive.
        if length <= _MAX_NAMES and {str}.issuperset(map(type, names)):
            if len(self) >= _MAX_SETS:  # Clearing is cheaper than tracking the oldest.
                self.clear()
            self[names] = found
        return found


class _SanitizedText:
    """Writes commands; each method gets the remaining room.

    A text that exceeds its room is unfinished. The text around it then exceeds its room as well,
    and so on up to the complete text, which is truncated.
    """

    keys = _Keys(quoted)
    sets = _Arguments()

    def command(self, command: Mapping[str, Any], room: int) -> str:
        many = len(command) > _MANY
        names = tuple(islice(command, max(room, 0) + len(LEFT_OUT))) if many else tuple(command)
        texts = []
        for name, written, position, shown in self.sets.get(names) or self.sets.find(names, room):
            value = command[name]
            kind = type(value)
            # The few scalars here need not be counted: a text that is too long is cut at its end.
            if shown is not None and kind in _SHOWN_TYPES:
                texts.append(written + (shown(value, room) or HIDDEN))
                continue
            if kind in SCALAR_TYPES:
                hidden = HIDDEN if position is None else self.scalar(value, position, room)
                texts.append(written + hidden)
                continue
            if kind is dict:
                text = self.document(value, position, room, _DEPTH - 2)
            elif name == "documents" and isinstance(value, list | tuple) and value:
                text = self.batch(value, room)
            else:
                text = self.value(value, position, room, _DEPTH - 1)
            texts.append(written + text)
            room -= len(text)
            if room < 0:
                break
        return f"{{{','.join(texts)}}}"

    def value(self, value: Any, position: Position | None, room: int, depth: int) -> str:
        kind = type(value)
        if kind is list and depth:
            return self.array(value, position, room, depth - 1)
        if kind in SCALAR_TYPES or not isinstance(value, CONTAINERS):
            return self.scalar(value, position, room)
        if not depth:
            return HIDDEN
        if isinstance(value, RawBSONDocument):
            value = raw_document(value)
        try:
            if isinstance(value, LISTS):
                return self.array(value, position, room, depth - 1)
            return self.document(value, position, room, depth - 1)
        except InvalidBSON:  # Invalid bytes are detected only now.
            return HIDDEN

    def scalar(self, value: Any, position: Position | None, room: int) -> str:
        if position is None or (shown := position.shown) is None:
            return HIDDEN
        if type(value) is RawScalar:
            value = value.decoded(room)
        return shown(value, room) or HIDDEN

    def document(self, document: Any, position: Position | None, room: int, depth: int) -> str:
        if position is EXPLAINED:
            position = arguments(document)
        items = document.items(room) if type(document) is RawDocument else document.items()
        if position is None:
            return self.values(items, room, depth)
        texts, keys, fields, others = [], self.keys, position.fields, position.others
        for key, value in items:
            text = keys.get(key) or keys.write(key, room)
            inner, kind = fields.get(key), type(value)
            # As `Position.of` has it, which would cost two calls.
            if inner is None and others is not None and type(key) is str and key[:1] != "$":
                inner = others
            if kind in SCALAR_TYPES:
                is_hidden = inner is None or inner.shown is None
                text += HIDDEN if is_hidden else self.scalar(value, inner, room)
            elif kind is dict and depth:
                text += self.document(value, inner, room, depth - 1)
            else:
                text += self.value(value, inner, room, depth)
            texts.append(text)
            room -= len(text)
            if room < 0:
                break
        return f"{{{','.join(texts)}}}"

    def values(self, items: Iterable[tuple[Any, Any]], room: int, depth: int) -> str:
        """Write a document that contains only values."""
        texts, keys = [], self.keys
        for key, value in items:
            text = keys.get(key) or keys.write(key, room)
            kind = type(value)
            if kind in SCALAR_TYPES:
                text += HIDDEN
            elif kind is dict and depth:
                text += self.values(value.items(), room, depth - 1)
            else:
                text += self.value(value, None, room, depth)
            texts.append(text)
            room -= len(text)
            if room < 0:
                break
        return f"{{{','.join(texts)}}}"

    def batch(self, documents: Sequence[Any], room: int) -> str:
        first = self.value(documents[0], None, room, _DEPTH - 2)
        others = f',"+{len(documents) - 1}"' if len(documents) > 1 else ""
        return f"[{first}{others}]"

    def array(self, items: Iterable[Any], position: Position | None, room: int, depth: int) -> str:
        inner = position and position.items
        sample = items[:SAMPLE] if type(items) is list else list(islice(items, SAMPLE))
        if sample and _are_scalars(sample) and self.hides_all(sample, inner, room):
            return f"[{HIDDEN}]"
        texts = []
        for item in items:
            if type(item) is dict and depth:
                text = self.document(item, inner, room, depth - 1)
            else:
                text = self.value(item, inner, room, depth)
            texts.append(text)
            room -= len(text)
            if room < 0:
                break
        return f"[{','.join(texts)}]"

    def hides_all(self, values: list[Any], position: Position | None, room: int) -> bool:
        if position is None or position.shown is None:
            return True
        return all(self.scalar(value, position, room) == HIDDEN for value in values)


def _masked(value: object, room: int) -> str:
    return quoted(value, room) if _OPERATOR.fullmatch(str(value)) else HIDDEN


class _MaskedText(_SanitizedText):
    keys = _Keys(_masked)

    def scalar(self, value: Any, position: Position | None, room: int) -> str:
        shown = super().scalar(value, position, room)
        is_name = position is not None and position.names_fields and shown.startswith('"')
        return HIDDEN if is_name else shown


_SANITIZED = _SanitizedText()
_MASKED = _MaskedText()


def _are_scalars(items: Iterable[Any]) -> bool:
    types = set(map(type, items))
    return types <= SCALAR_TYPES or not any(issubclass(kind, CONTAINERS) for kind in types)
