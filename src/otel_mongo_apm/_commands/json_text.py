"""JSON of limited length, which all texts of commands use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring
from uuid import UUID

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from otel_mongo_apm._driver.raw_documents import RawArray, RawDocument, RawScalar
from otel_mongo_apm._otel.encoding import encodable

HIDDEN = '"?"'
_ELLIPSIS = "..."

# Fields that sessions and the cluster's clock add to a command.
LEFT_OUT_OF_ALL = frozenset({"lsid", "$db", "$clusterTime", "signature"})

# The other fields that PyMongo adds to commands on its own.
LEFT_OUT = LEFT_OUT_OF_ALL | {"$readPreference", "txnNumber", "autocommit", "startTransaction"}

# How many items of a list are checked to decide whether it is a list of plain values.
SAMPLE = 20

LISTS = (list, tuple, RawArray)
DOCUMENTS = (dict, RawDocument, Mapping)  # The slow check, Mapping, comes last.
CONTAINERS = (*LISTS, *DOCUMENTS)
_PLAIN_SCALARS = (str, bytes, int, float, bool, type(None), datetime, UUID, re.Pattern)
_BSON_SCALARS = (
    *(Binary, Code, DatetimeMS, DBRef, Decimal128, Int64),
    *(MaxKey, MinKey, ObjectId, Regex, Timestamp),
)
SCALARS = (*_PLAIN_SCALARS, *_BSON_SCALARS)
SCALAR_TYPES = frozenset((*SCALARS, RawScalar))


def quoted(value: object, room: int) -> str:
    """Quote a text. If it exceeds the room, return only a part, which also exceeds the room.

    >>> quoted("users", 100), quoted("users", 3)
    ('"users"', '"use"')
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > room:
        text = text[: max(room, 0)]  # Together with its quotes still too long, so it will be cut.
    return encodable(encode_basestring(text))


def cut(text: str, max_length: int) -> str:
    """Truncate a text to a number of characters; mark it as truncated, if there is room.

    >>> cut('{"find":"users"}', 12)
    '{"find":"...'
    """
    if len(text) <= max_length:
        return text
    if max_length < len(_ELLIPSIS):
        return text[: max(max_length, 0)]
    return text[: max_length - len(_ELLIPSIS)] + _ELLIPSIS
