"""Raw documents: they are read as far as they are needed, and stay as they are."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.codec_options import CodecOptions
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import InvalidBSON
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_mongo_apm._commands.query_text import sanitized
from otel_mongo_apm._commands.raw_text import raw
from otel_mongo_apm._driver.raw_documents import RawDocument, raw_document

EVERY_TYPE = {
    "double": 1.5,
    "string": "text é",
    "document": {"a": {"b": 1}},
    "array": [1, "b", {"c": []}],
    "binary": Binary(b"bytes", 5),
    "bytes": b"bytes",
    "oid": ObjectId("5" * 24),
    "bool": True,
    "date": datetime(2026, 1, 2, tzinfo=timezone.utc),
    "null": None,
    "regex": Regex("^a", "i"),
    "code": Code("f()"),
    "scope": Code("f()", {"a": 1}),
    "int32": 5,
    "timestamp": Timestamp(1, 2),
    "int64": Int64(2**40),
    "decimal": Decimal128("1.5"),
    "min": MinKey(),
    "max": MaxKey(),
    "": "no name",
}
# Types that PyMongo only reads: undefined, a pointer, a symbol.
OLD_TYPES = b"\x06u\0" + b"\x0cp\0\x02\0\0\0a\0" + b"o" * 12 + b"\x0es\0\x02\0\0\0b\0"


def find(document: Any) -> dict[str, Any]:
    return {"find": "users", "filter": document}


def with_elements(elements: bytes) -> bytes:
    return (len(elements) + 5).to_bytes(4, "little") + elements + b"\0"


def is_inflated(document: RawBSONDocument) -> bool:
    return document._RawBSONDocument__inflated_doc is not None


@pytest.mark.parametrize("write", [sanitized, raw])
def test_every_type(write):
    """A raw document's text is that of the same document decoded."""
    encoded = bson.encode(EVERY_TYPE)
    decoded = bson.decode(encoded, CodecOptions(tz_aware=True))

    assert write(find(RawBSONDocument(encoded)), 10_000) == write(find(decoded), 10_000)


@pytest.mark.parametrize("write", [sanitized, raw])
def test_types_that_are_only_read(write):
    """So is that of a document with types that are no longer written."""
    encoded = with_elements(OLD_TYPES)
    found = write(find(RawBSONDocument(encoded)), 10_000)

    assert re.fullmatch(r'.*"u":(null|"\?"),"p":.*,"s":"(b|\?)"}}', found)


@pytest.mark.parametrize("write", [sanitized, raw])
def test_raw_document_stays_as_it_is(write):
    """The application's document is not decoded, so it takes no more memory than before."""
    document = RawBSONDocument(bson.encode(EVERY_TYPE))
    write(find(document), 10_000)

    assert not is_inflated(document)


@pytest.mark.parametrize("write", [sanitized, raw])
@pytest.mark.parametrize(
    "document",
    [
        {"a": [{"b": 1}] * 300_000},
        {f"key{number}": number for number in range(300_000)},
        {"a": "x" * 5_000_000},
        {"a": b"x" * 5_000_000},
        {"a": Code("x" * 5_000_000)},
        {"a": Regex("x" * 5_000_000)},
        {"x" * 5_000_000: 1},
    ],
    ids=["array", "keys", "string", "bytes", "code", "pattern", "key"],
)
def test_size_of_a_raw_document_costs_little(write, document):
    """The text of five million bytes takes a moment, as it ends where its room does."""
    command = find(RawBSONDocument(bson.encode(document)))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        found = write(command, 1_024)
        took.append(time.perf_counter() - began)

    assert len(found) <= 1_024
    assert min(took) < 0.02  # To decode it takes ten times as long, or far more.


@pytest.mark.parametrize("kind", [2, 5, 11, 13, 14, 15])
def test_long_values_are_decoded_in_part(kind):
    """Of a long value of each type that can be long, the text has the beginning, cut."""
    values = {
        2: "é" * 3_000,
        5: b"x" * 3_000,
        11: Regex("é" * 3_000),
        13: Code("é" * 3_000),
        15: Code("é" * 3_000, {}),
    }
    encoded = bson.encode({"a": values.get(kind, "é" * 3_000)})
    if kind == 14:
        encoded = encoded[:4] + b"\x0e" + encoded[5:]
    command, decoded = find(RawBSONDocument(encoded)), find(bson.decode(encoded))

    for length in (10, 100, 1_000, 2_000):
        assert raw(command, length) == raw(decoded, length)


def test_bytes_of_a_view():
    """A raw document may be a view of other bytes."""
    encoded = bson.encode({**EVERY_TYPE, "k" * 3_000: Regex("x" * 3_000)})
    of_view, of_bytes = RawDocument(memoryview(encoded)), RawDocument(encoded)

    assert [key for key, _ in of_view.items(9_999)] == [key for key, _ in of_bytes.items(9_999)]
    assert list(map(str, of_view)) == list(map(str, of_bytes))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\5\0",
        b"\xff\0\0\0\0",
        b"\xff\xff\xff\xff\0",
        with_elements(b"\x10a\0\1\0"),
        with_elements(b"\x10abc"),
        with_elements(b"\x77a\0"),
        with_elements(b"\x02a\0\xff\0\0\0b\0"),
        with_elements(b"\x02a\0"),
        with_elements(b"\x0ba\0b"),
    ],
)
def test_bytes_that_are_no_document(content):
    """Bytes that are no document are said to be none."""
    with pytest.raises(InvalidBSON):
        list(RawDocument(content).items(100))


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([1, 30, 10_000]))
def test_damaged_documents(data, length):
    """Whatever bytes a raw document has, it has a text."""
    content = bytearray(bson.encode({**EVERY_TYPE, "ref": DBRef("a", 1)}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 2))] = data.draw(st.integers(0, 255))
    document = RawBSONDocument(bytes(content))

    for write in (sanitized, raw):
        assert len(write(find(document), length)) <= length
    assert not is_inflated(document)


def test_raw_document_of_the_application():
    """It is read from its own bytes."""
    assert list(raw_document(RawBSONDocument(bson.encode({"a": 1, "b": 2})))) == ["a", "b"]
