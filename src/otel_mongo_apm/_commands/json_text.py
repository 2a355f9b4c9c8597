"""JSON of bounded length: what the texts of commands have in common."""

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

# What a session or the cluster's clock adds to a command.
LEFT_OUT_OF_ALL = frozenset({"lsid", "$db", "$clusterTime", "signature"})

# Beside that, what PyMongo adds to commands of its own accord.
LEFT_OUT = LEFT_OUT_OF_ALL | {"$readPreference", "txnNumber", "autocommit", "startTransaction"}

# How many items decide whether a list is one of values; later ones are not looked at.
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
    """A text in quotes; of one that is too long for its room a part that is too long as well.

    >>> quoted("users", 100), quoted("users", 3)
    ('"users"', '"use"')
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > room:
        text = text[: max(room, 0)]  # With its quotes still too long, and so to be cut.
    return encodable(encode_basestring(text))


def cut(text: str, max_length: int) -> str:
    """A text of no more than so many characters; one that was cut says so, if there is room.

    >>> cut('{"find":"users"}', 12)
    '{"find":"...'
    """
    if len(text) <= max_length:
        return text
    if max_length < len(_ELLIPSIS):
        return text[: max(max_length, 0)]
    return text[: max_length - len(_ELLIPSIS)] + _ELLIPSIS
