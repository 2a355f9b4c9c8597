"""The text of a command as it was sent: relaxed extended JSON, bounded."""

from __future__ import annotations

from contextlib import suppress
from json import JSONEncoder
from typing import TYPE_CHECKING, Any

from bson import json_util
from bson.binary import UuidRepresentation
from bson.code import Code
from bson.dbref import DBRef

from .query_text import LEFT_OUT_OF_ALL, SCALARS, Text, cut, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

_RAW_DEPTH = 100  # MongoDB lets no document be deeper.

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
    return cut(_RAW.value(shown, max_length, _RAW_DEPTH), max_length)


class _RawText(Text):
    def scalar(self, value: Any, room: int, depth: int) -> str:
        if isinstance(value, DBRef):
            return self.value(value.as_doc(), room, depth)
        if isinstance(value, Code):
            return self.value(_code(value), room, depth)
        if isinstance(value, str):
            return quoted(value, room)
        return _extended_json(value, room)


_RAW = _RawText()


def _code(code: Code) -> dict[str, Any]:
    scope = {} if code.scope is None else {"$scope": code.scope}
    return {"$code": str(code), **scope}


def _extended_json(value: Any, room: int) -> str:
    if isinstance(value, bytes) and len(value) > room:
        value = value[: max(room, 0)]  # The subtype comes after it, so it is not missed.
    if isinstance(value, SCALARS):
        # Some cannot be written: a pattern of bytes that are not UTF-8, an impossible date.
        with suppress(TypeError, ValueError, OverflowError):
            return _json(json_util.default(value, _json_options))
    return quoted(f"<{type(value).__name__}>", room)
