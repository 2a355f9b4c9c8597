"""Which kind of value each argument of a command takes.

Source: MongoDB's manual, "Database Commands".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_mongo_apm._driver.command_names import COLLECTION_FIELDS, known_name
from otel_mongo_apm._driver.documents import EXPLAIN

from .expressions import PROJECTION, QUERY
from .positions import (
    COLLECTION,
    FIELD,
    FLAG,
    INDEX_KEYS,
    NUMBER,
    SORT,
    Position,
    inclusion,
)
from .stages import PIPELINE, UPDATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_INCLUDED = Position(inclusion)
_INCLUDED.others = _INCLUDED

_INDEX_OPTIONS = {
    "background": FLAG,
    "expireAfterSeconds": NUMBER,
    "hidden": FLAG,
    "name": FIELD,  # By default made of the fields' names.
    "partialFilterExpression": QUERY,
    "prepareUnique": FLAG,
    "sparse": FLAG,
    "unique": FLAG,
    "wildcardProjection": Position(others=_INCLUDED),
}
_INDEX = Position(fields={"key": INDEX_KEYS, **_INDEX_OPTIONS})
_CURSOR = Position(fields={"batchSize": NUMBER})

# The key of an index, or the name of one, which is hidden.
_HINT = INDEX_KEYS

# A statement of an `update`, a `delete` or a `bulkWrite`.
_STATEMENT = Position(
    fields={
        "filter": QUERY,
        "hint": _HINT,
        "limit": NUMBER,
        "multi": FLAG,
        "q": QUERY,
        "sort": SORT,
        "u": UPDATE,
        "updateMods": UPDATE,
        "upsert": FLAG,
    }
)
_STATEMENTS = Position(items=_STATEMENT)

_ARGUMENTS: Mapping[str, Mapping[str, Position]] = {
    "aggregate": {"cursor": _CURSOR, "hint": _HINT, "pipeline": PIPELINE},
    "bulkWrite": {"cursor": _CURSOR, "ops": _STATEMENTS, "ordered": FLAG},
    "collMod": {
        "index": Position(fields={"keyPattern": INDEX_KEYS, **_INDEX_OPTIONS}),
        "pipeline": PIPELINE,
        "validator": QUERY,
    },
    "count": {"hint": _HINT, "limit": NUMBER, "query": QUERY, "skip": NUMBER},
    "create": {"pipeline": PIPELINE, "validator": QUERY},
    "createIndexes": {"indexes": Position(items=_INDEX)},
    "delete": {"deletes": _STATEMENTS, "ordered": FLAG},
    "distinct": {"hint": _HINT, "key": FIELD, "query": QUERY},
    "dropIndexes": {"index": INDEX_KEYS},
    "find": {
        "batchSize": NUMBER,
        "filter": QUERY,
        "hint": _HINT,
        "limit": NUMBER,
        "projection": PROJECTION,
        "skip": NUMBER,
        "sort": SORT,
    },
    "findAndModify": {
        "fields": PROJECTION,
        "hint": _HINT,
        "query": QUERY,
        "sort": SORT,
        "update": UPDATE,
        "upsert": FLAG,
    },
    "getMore": {"batchSize": NUMBER},
    "insert": {"ordered": FLAG},
    "listCollections": {"cursor": _CURSOR},
    "listIndexes": {"cursor": _CURSOR},
    "mapReduce": {"limit": NUMBER, "query": QUERY, "sort": SORT},
    "update": {"ordered": FLAG, "updates": _STATEMENTS},
}

# By each name of a command. Arguments that are not listed are values.
COMMANDS = {
    name: Position(
        fields={
            **_ARGUMENTS.get(known_name(name), {}),
            **({COLLECTION_FIELDS[name]: COLLECTION} if name in COLLECTION_FIELDS else {}),
        }
    )
    for name in {*_ARGUMENTS, *COLLECTION_FIELDS}
}
EXPLAINED = Position()
COMMANDS[EXPLAIN] = Position(fields={EXPLAIN: EXPLAINED})


def arguments(command: Iterable[str]) -> Position | None:
    """Return the arguments that a known command takes; None for another.

    Args:
        command: The command, or the names of its arguments in their order.

    >>> arguments({"find": "users"}).of("limit") is NUMBER
    True
    >>> arguments({"dropUser": "alice"})
    """
    return COMMANDS.get(next(iter(command), ""))
