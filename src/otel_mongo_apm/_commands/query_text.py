"""The text of a command: JSON with its values hidden, or raw.

A text is written from left to right and left as soon as it is longer than its room, so what
it costs depends on the room, never on the size of the command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import InvalidBSON
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from otel_mongo_apm._otel.encoding import encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HIDDEN = '"?"'
_ELLIPSIS = "..."

# Levels of documents and lists, the command being the first.
_DEPTH = 20

# How many items decide whether a list is one of scalars; later ones are not looked at.
_SAMPLE = 20

# Since MongoDB 5.0 other keys, too, may begin with a dollar.
_OPERATOR = re.compile(r"\$[A-Za-z]\w*", re.ASCII)

# How many keys are remembered, and how many characters they may have.
_MAX_KEYS = 1_000
_SHORT = 64

LEFT_OUT_OF_ALL = frozenset({"lsid", "$db", "$clusterTime", "signature"})
_LEFT_OUT = LEFT_OUT_OF_ALL | {"$readPreference", "txnNumber", "autocommit", "startTransaction"}

_LISTS = (list, tuple)
_CONTAINERS = (dict, *_LISTS, Mapping)  # The slow check, Mapping, comes last.
_PLAIN_SCALARS = (str, bytes, int, float, bool, type(None), datetime, UUID, re.Pattern)
_BSON_SCALARS = (
    *(Binary, Code, DatetimeMS, DBRef, Decimal128, Int64),
    *(MaxKey, MinKey, ObjectId, Regex, Timestamp),
)
SCALARS = (*_PLAIN_SCALARS, *_BSON_SCALARS)
_SCALAR_TYPES = frozenset(SCALARS)


def sanitized(
    command: Mapping[str, Any], max_length: int, *, keep_value: bool, mask_keys: bool = False
) -> str:
    """Write *command* with its values hidden.

    >>> find = {"find": "users", "filter": {"age": {"$gt": 30}}, "$db": "shop"}
    >>> sanitized(find, 1024, keep_value=True)
    '{"find":"users","filter":{"age":{"$gt":"?"}}}'
    >>> sanitized(find, 1024, keep_value=True, mask_keys=True)
    '{"find":"users","filter":{"?":{"$gt":"?"}}}'
    >>> sanitized(find, 26, keep_value=True)
    '{"find":"users","filter...'
    >>> sanitized({"insert": "users", "documents": [{"a": [1, 2]}] * 100}, 1024, keep_value=True)
    '{"insert":"users","documents":[{"a":["?"]},"+99"]}'
    >>> sanitized({"dropUser": "alice"}, 1024, keep_value=False)
    '{"dropUser":"?"}'

    Args:
        command: What is sent to the server.
        max_length: The most characters that the text may have.
        keep_value: Whether the command's own value, if a string, names a collection and stays.
        mask_keys: Whether keys below the top level are hidden too, except operators.
    """
    return sanitizer(max_length, mask_keys=mask_keys)(command, keep_value)


def sanitizer(max_length: int, *, mask_keys: bool) -> Callable[[Mapping[str, Any], bool], str]:
    """Make a function of a command, and of whether to keep its own value, that writes it."""
    write = (_MASKED if mask_keys else _SANITIZED).command

    def text(command: Mapping[str, Any], keep_value: bool) -> str:  # noqa: FBT001 - Called often.
        kept = next(iter(command), None) if keep_value else None
        written = write(command, max_length, kept)
        return written if len(written) <= max_length else cut(written, max_length)

    return text


def quoted(value: object, room: int) -> str:
    text = value if isinstance(value, str) else str(value)
    if len(text) > room:
        text = text[: max(room, 0)]  # With its quotes still too long, and so to be cut.
    return encodable(encode_basestring(text))


class _Keys(dict[object, str]):
    """Keys as they are written, with their colons: most documents have the same few.

    Args:
        quoted: Writes a key.
        left_out: Those that are written as nothing.
    """

    def __init__(
        self, quoted: Callable[[object, int], str], left_out: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        self._quoted = quoted
        self._left_out = left_out

    def write(self, key: object, room: int) -> str:
        """Write one that is not remembered, and remember it if it is short."""
        written = "" if key in self._left_out else f"{self._quoted(key, room)}:"
        if type(key) is str and len(key) <= min(room, _SHORT):
            if len(self) >= _MAX_KEYS:  # To start anew costs less than to keep an order.
                self.clear()
            self[key] = written
        return written


class Text:
    """Documents and lists as JSON.

    Each method gets the room that is left. A text longer than that is unfinished, which makes
    the text around it too long as well, and so on up to the one that is cut.
    """

    def value(self, value: Any, room: int, depth: int) -> str:
        if not isinstance(value, _CONTAINERS):
            return self.scalar(value, room, depth)
        if not depth:
            return _HIDDEN
        try:
            if isinstance(value, _LISTS):
                return self.array(value, room, depth - 1)
            return self.document(value, room, depth - 1)
        except InvalidBSON:  # A RawBSONDocument is decoded only now.
            return _HIDDEN

    def document(self, document: Mapping[str, Any], room: int, depth: int) -> str:
        text = "{"
        for key, value in document.items():
            text += f"{quoted(key, room)}:{self.value(value, room - len(text), depth)},"
            if len(text) > room:
                break
        return text.rstrip(",") + "}"

    def array(self, items: Sequence[Any], room: int, depth: int) -> str:
        text = "["
        for item in items:
            text += f"{self.value(item, room - len(text), depth)},"
            if len(text) > room:
                break
        return text.rstrip(",") + "]"

    def scalar(self, value: Any, room: int, depth: int) -> str:  # noqa: ARG002 - All look alike.
        return _HIDDEN


class _SanitizedText(Text):
    keys = _Keys(quoted)
    keys_of_commands = _Keys(quoted, _LEFT_OUT)

    def command(self, command: Mapping[str, Any], room: int, kept: str | None) -> str:
        texts, keys = [], self.keys_of_commands
        for key, value in command.items():
            text = keys.get(key)
            if text is None:
                text = keys.write(key, room)
            if not text:
                continue
            kind = type(value)
            if kind in _SCALAR_TYPES and key != kept:
                text += _HIDDEN
            elif kind is dict:
                text += self.document(value, room, _DEPTH - 2)
            else:
                text += self.argument(key, value, room, kept)
            texts.append(text)
            room -= len(text)
            if room < 0:
                break
        return f"{{{','.join(texts)}}}"

    def argument(self, key: str, value: Any, room: int, kept: str | None) -> str:
        if key == kept and isinstance(value, str) and not isinstance(value, Code):
            is_plain = len(value) <= room and value.isascii()
            return encode_basestring(value) if is_plain else quoted(value, room)
        if key == "documents" and isinstance(value, _LISTS) and value:
            return self.batch(value, room)
        return self.value(value, room, _DEPTH - 1)

    def document(self, document: Mapping[str, Any], room: int, depth: int) -> str:
        texts, keys = [], self.keys
        for key, value in document.items():
            text = keys.get(key) or keys.write(key, room)
            kind = type(value)
            if kind in _SCALAR_TYPES:
                text += _HIDDEN
            elif kind is dict and depth:
                text += self.document(value, room, depth - 1)
            else:
                text += self.value(value, room, depth)
            texts.append(text)
            room -= len(text)
            if room < 0:
                break
        return f"{{{','.join(texts)}}}"

    def batch(self, documents: Sequence[Any], room: int) -> str:
        first = self.value(documents[0], room, _DEPTH - 2)
        others = f',"+{len(documents) - 1}"' if len(documents) > 1 else ""
        return f"[{first}{others}]"

    def array(self, items: Sequence[Any], room: int, depth: int) -> str:
        if items and _are_scalars(items[:_SAMPLE]):
            return f"[{_HIDDEN}]"
        return super().array(items, room, depth)


def _masked(value: object, room: int) -> str:
    return quoted(value, room) if _OPERATOR.fullmatch(str(value)) else _HIDDEN


class _MaskedText(_SanitizedText):
    keys = _Keys(_masked)


_SANITIZED = _SanitizedText()
_MASKED = _MaskedText()


def _are_scalars(items: Sequence[Any]) -> bool:
    types = set(map(type, items))
    return types <= _SCALAR_TYPES or not any(issubclass(kind, _CONTAINERS) for kind in types)


def cut(text: str, max_length: int) -> str:
    if len(text) <= max_length:
        return text
    if max_length < len(_ELLIPSIS):
        return text[: max(max_length, 0)]
    return text[: max_length - len(_ELLIPSIS)] + _ELLIPSIS
