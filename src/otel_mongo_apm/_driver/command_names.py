"""The names of commands, and where a command names its collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Commands whose first value is a collection. This is an allow-list, because in other commands it
# can be the name of a user or a role (`dropUser`), a cursor ID or a number.
COLLECTION_COMMANDS = frozenset(
    {
        "aggregate",
        "collMod",
        "collStats",
        "compact",
        "convertToCapped",
        "count",
        "create",
        "createIndexes",
        "createSearchIndexes",
        "delete",
        "distinct",
        "drop",
        "dropIndexes",
        "dropSearchIndex",
        "find",
        "findAndModify",
        "insert",
        "killCursors",
        "listIndexes",
        "mapReduce",
        "planCacheClear",
        "planCacheClearFilters",
        "planCacheListFilters",
        "planCacheSetFilter",
        "reIndex",
        "update",
        "updateSearchIndex",
        "validate",
    }
)

# Alternative names that the server accepts for its commands, as of mongod 6.0.
_OTHER_NAMES = {
    "availablequeryoptions": "availableQueryOptions",
    "buildinfo": "buildInfo",
    "collstats": "collStats",
    "connpoolsync": "connPoolSync",
    "datasize": "dataSize",
    "dbhash": "dbHash",
    "dbstats": "dbStats",
    "deleteIndexes": "dropIndexes",
    "findandmodify": "findAndModify",
    "flushrouterconfig": "flushRouterConfig",
    "getlasterror": "getLastError",
    "ismaster": "isMaster",
    "mapreduce": "mapReduce",
}

# Where a command says which collection it is sent to.
COLLECTION_FIELDS: Mapping[str, str] = {
    **{name: name for name in COLLECTION_COMMANDS},
    **{name: name for name, known in _OTHER_NAMES.items() if known in COLLECTION_COMMANDS},
    "getMore": "collection",
}

# Stands for "no field", because an empty string is a valid field name.
NO_FIELD: Any = object()


def known_name(command_name: str) -> str:
    """Return a command's name in MongoDB's documentation; the server accepts some others, too.

    >>> known_name("findandmodify"), known_name("find")
    ('findAndModify', 'find')
    """
    return _OTHER_NAMES.get(command_name, command_name)
