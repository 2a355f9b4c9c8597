"""The text of a command as it was sent: relaxed extended JSON of limited length."""

from __future__ import annotations

import re
from contextlib import suppress
from json import JSONEncoder
from typing import TYPE_CHECKING, Any

from bson import json_util
from bson.binary import UuidRepresentation
from bson.code import Code
from bson.dbref import DBRef
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex

from otel_mongo_apm._driver.raw_documents import RawDocument, RawScalar, raw_document
from otel_mongo_apm._otel.encoding import encodable

from .json_text import CONTAINERS, HIDDEN, LEFT_OUT_OF_ALL, LISTS, SCALARS, cut, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DEPTH = 100  # MongoDB rejects deeper documents.

_json = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


_json_options = json_util.RELAXED_JSON_OPTIONS.with_options(
    uuid_representation=UuidRepresentation.STANDARD  # Without one, a UUID cannot be written.
)


def raw(command: Mapping[str, Any], max_length: int) -> str:
    """Write *command* as relaxed extended JSON.

    >>> raw({"find": "users", "filter": {"age": {"$gt": 30}}, "$db": "shop"}, 1024)
    '{"find":"users","filter":{"age":{"$gt":30}}}'
    >>> raw({"find": "users", "filter": {"name": "alice"}}, 26)
    '{"find":"users","filter...'
    """
    shown = {key: value for key, value in command.items() if key not in LEFT_OUT_OF_ALL}
    return cut(_value(shown, max_length, _DEPTH), max_length)


def _value(value: Any, room: int, depth: int) -> str:
    """Write a value; a text that exceeds the remaining room is unfinished."""
    if not isinstance(value, CONTAINERS):
        return _scalar(value, room, depth)
    if not depth:
        return HIDDEN
    if isinstance(value, RawBSONDocument):
        value = raw_document(value)
    try:
        if isinstance(value, LISTS):
            return _array(value, room, depth - 1)
        items = value.items(room) if isinstance(value, RawDocument) else value.items()
        return _document(items, room, depth - 1)
    except InvalidBSON:  # Invalid bytes are detected only now.
        return HIDDEN


def _document(items: Iterable[tuple[Any, Any]], room: int, depth: int) -> str:
    text = "{"
    for key, value in items:
        text += f"{quoted(key, room)}:{_value(value, room - len(text), depth)},"
        if len(text) > room:
            break
    return text.rstrip(",") + "}"


def _array(items: Iterable[Any], room: int, depth: int) -> str:
    text = "["
    for item in items:
        text += f"{_value(item, room - len(text), depth)},"
        if len(text) > room:
            break
    return text.rstrip(",") + "]"


def _scalar(value: Any, room: int, depth: int) -> str:
    if isinstance(value, RawScalar):
        value = value.decoded(room)
    if isinstance(value, DBRef):
        return _value(value.as_doc(), room, depth)
    if isinstance(value, Code):
        return _value(_code(value), room, depth)
    if isinstance(value, str):
        return quoted(value, room)
    return _extended_json(value, room)


def _code(code: Code) -> dict[str, Any]:
    scope = {} if code.scope is None else {"$scope": code.scope}
    return {"$code": str(code), **scope}


def _extended_json(value: Any, room: int) -> str:
    # Together with the quotes and keys around it, the truncated value still exceeds the room.
    if isinstance(value, bytes) and len(value) > room:
        value = value[: max(room, 0)]
    if isinstance(value, Regex | re.Pattern) and len(value.pattern) > room:
        value = Regex(value.pattern[: max(room, 0)])
    if isinstance(value, SCALARS):
        # Some values cannot be written: a pattern that is not UTF-8, an impossible date.
        with suppress(TypeError, ValueError, OverflowError):
            return encodable(_json(json_util.default(value, _json_options)))
    return quoted(f"<{type(value).__name__}>", room)
