"""Raw BSON documents, read one element after the other and no further than is asked for.

A `RawBSONDocument` decodes all its elements as soon as one is asked for, and keeps them.

Source: the BSON specification, version 1.1.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import bson
from bson.binary import Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from bson.regex import Regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument

_DOCUMENT, _ARRAY, _STRING, _BINARY, _REGEX = 0x03, 0x04, 0x02, 0x05, 0x0B
_POINTER, _CODE, _SYMBOL, _CODE_WITH_SCOPE = 0x0C, 0x0D, 0x0E, 0x0F

_SIZES = {
    0x01: 8,
    0x06: 0,
    0x07: 12,
    0x08: 1,
    0x09: 8,
    0x0A: 0,
    0x10: 4,
    0x11: 8,
    0x12: 8,
    0x13: 16,
    0x7F: 0,
    0xFF: 0,
}
# What is to be added to the length that such an element begins with.
_BEYOND_LENGTH = {
    _DOCUMENT: 0,
    _ARRAY: 0,
    _CODE_WITH_SCOPE: 0,
    _STRING: 4,
    _CODE: 4,
    _SYMBOL: 4,
    _BINARY: 5,
    _POINTER: 16,
}

_BROKEN = "not a document"

_INT32 = struct.Struct("<i")
_WIDEST = 4  # Bytes of a character.
_SHORT = 1_024  # Bytes that may be decoded whatever the room.

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    unicode_decode_error_handler="surrogateescape",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


class RawDocument:
    """A document within bytes.

    Args:
        content: The bytes.
        start: Where it begins.
        end: Where it must have ended.
    """

    __slots__ = ("_content", "_end", "_start")

    def __init__(
        self, content: bytes | memoryview[int], start: int = 0, end: int | None = None
    ) -> None:
        self._content = content
        self._start = start
        self._end = len(content) if end is None else end

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items(_SHORT))

    def items(self, room: int) -> Iterator[tuple[str, Any]]:
        """Yield each key, truncated to the available room, and its value, not yet decoded.

        Raises:
            InvalidBSON: These bytes are no document.

        >>> [key for key, _ in RawDocument(bson.encode({"a": 1, "b": [2]})).items(100)]
        ['a', 'b']
        """
        content, end = self._content, self._start + self._length(self._start) - 1
        position = self._start + _INT32.size
        while position < end:
            key_start, key_end = position + 1, _zero(content, position + 1, end)
            if key_end < 0:
                raise InvalidBSON(_BROKEN)
            kind, start = content[position], key_end + 1
            position = start + self._size(kind, start)
            if position > end:
                raise InvalidBSON(_BROKEN)
            key = content[key_start : min(key_end, key_start + _WIDEST * max(room, 1))]
            yield _decoded(key), self._value(kind, start, position)

    def _length(self, start: int) -> int:
        if start + _INT32.size > self._end:
            raise InvalidBSON(_BROKEN)
        length: int = _INT32.unpack_from(self._content, start)[0]
        if not 0 <= length <= self._end - start:
            raise InvalidBSON(_BROKEN)
        return length

    def _size(self, kind: int, start: int) -> int:
        """How many bytes an element has behind its key."""
        if (size := _SIZES.get(kind)) is not None:
            return size
        if kind == _REGEX:  # Two texts, each with a zero at its end.
            options = _zero(self._content, start, self._end) + 1
            end = _zero(self._content, options, self._end) + 1 if options else 0
            if end:
                return end - start
        elif kind in _BEYOND_LENGTH:
            return self._length(start) + _BEYOND_LENGTH[kind]
        raise InvalidBSON(_BROKEN)

    def _value(self, kind: int, start: int, end: int) -> object:
        if kind == _DOCUMENT:
            return RawDocument(self._content, start, end)
        if kind == _ARRAY:
            return RawArray(self._content, start, end)
        return RawScalar(kind, self._content, start, end)


class RawArray:
    """An array within bytes."""

    __slots__ = ("_document",)

    def __init__(self, content: bytes | memoryview[int], start: int, end: int) -> None:
        self._document = RawDocument(content, start, end)

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._document.items(1))


class RawScalar:
    """A value within bytes that is neither a document nor an array.

    Args:
        kind: The number of its type.
        content: The bytes.
        start: Where it begins.
        end: Where it ends.
    """

    __slots__ = ("_content", "_end", "_kind", "_start")

    def __init__(self, kind: int, content: bytes | memoryview[int], start: int, end: int) -> None:
        self._kind = kind
        self._content = content
        self._start = start
        self._end = end

    def decoded(self, room: int) -> object:
        """The value; of a long one only a part that is longer than its room.

        Raises:
            InvalidBSON: These bytes are no such value.
        """
        if self._end - self._start > max(_WIDEST * room, _SHORT):
            return self._shortened(_WIDEST * max(room, 1))
        element = bytes((self._kind, 0)) + bytes(self._content[self._start : self._end]) + b"\0"
        document = _INT32.pack(_INT32.size + len(element)) + element
        return bson.decode(document, _OPTIONS).get("")

    def _shortened(self, size: int) -> object:
        """A value of which only so many bytes are decoded; none but these can be long."""
        start = self._start + _INT32.size
        if self._kind == _BINARY:
            subtype = self._content[start]
            return Binary(
                bytes(self._content[start + 1 : min(start + 1 + size, self._end)]), subtype
            )
        if self._kind == _REGEX:
            return Regex(_decoded(self._content[self._start : self._start + size]))
        if self._kind == _CODE_WITH_SCOPE:
            start += _INT32.size
        text = _decoded(self._content[start : min(start + size, self._end - 1)])
        return text if self._kind in (_STRING, _SYMBOL) else Code(text)


def _zero(content: bytes | memoryview[int], start: int, end: int) -> int:
    """Where the first zero is; -1 if there is none."""
    if isinstance(content, bytes):
        return content.find(b"\0", start, end)
    for part in range(start, end, _SHORT):
        found = bytes(content[part : min(part + _SHORT, end)]).find(b"\0")
        if found >= 0:
            return part + found
    return -1


def _decoded(text: bytes | memoryview[int]) -> str:
    return bytes(text).decode(errors="surrogateescape")


def raw_document(document: RawBSONDocument) -> RawDocument:
    """A raw document as one that can be read without decoding it as a whole."""
    return RawDocument(document.raw)
