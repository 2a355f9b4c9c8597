"""What the documents of commands and replies say, by MongoDB's own rules."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from bson.code import Code

from otel_mongo_apm._otel.encoding import encodable
from otel_mongo_apm._otel.semconv import ADMIN

from .command_names import COLLECTION_FIELDS

# The command monitoring specification's list of commands whose documents are not to be seen.
SENSITIVE_COMMANDS = frozenset(
    {
        "authenticate",
        "copydb",
        "copydbgetnonce",
        "copydbsaslstart",
        "createUser",
        "getnonce",
        "saslContinue",
        "saslStart",
        "updateUser",
    }
)
# Those of them that the driver sends on a connection before anybody has checked it out.
AUTHENTICATION_COMMANDS = frozenset({"authenticate", "saslContinue", "saslStart"})
HELLO_COMMANDS = frozenset({"hello", "isMaster"})
EXPLAIN = "explain"

# Commands that the driver sends by itself, to tidy up.
DRIVER_COMMANDS = frozenset({"endSessions", "killCursors"})

# `insert` is not among them: to insert many documents is one operation, says the convention.
BATCH_FIELDS: Mapping[str, str] = {"bulkWrite": "ops", "delete": "deletes", "update": "updates"}

# In a find whose cursor stays open at its end, whether its getMores wait for documents or not.
TAILABLE = "tailable"

_DOCUMENT_LENGTH = struct.Struct("<i")
_SHORTEST_DOCUMENT = 5


def collection_name(command_name: str, database: str, command: Mapping[str, Any]) -> str | None:
    """The collection that a command is sent to, if it is sent to one.

    >>> collection_name("find", "shop", {"find": "users", "filter": {}})
    'users'
    >>> collection_name("getMore", "shop", {"getMore": 4711, "collection": "users"})
    'users'
    >>> collection_name("aggregate", "shop", {"aggregate": 1, "pipeline": []})
    >>> collection_name("dropUser", "shop", {"dropUser": "alice"})
    """
    if command_name == EXPLAIN:
        return _explained_collection(database, command.get(EXPLAIN))
    field = COLLECTION_FIELDS.get(command_name)
    return collection_in(database, command.get(field)) if field else None


def collection_in(database: str, value: object) -> str | None:
    """The collection that a value names, if it names one: not ``1``, nor ``$cmd.aggregate``."""
    if not isinstance(value, str) or isinstance(value, Code):  # Code is a string with a scope.
        return None
    return None if database == ADMIN or value.startswith("$cmd") else plain(value)


def plain(name: str) -> str:
    """A name as itself: an enumeration's member is a string, too, but says something else.

    >>> from enum import Enum
    >>> class Shop(str, Enum):
    ...     USERS = "users"
    >>> plain(Shop.USERS)
    'users'
    """
    return encodable(str.__str__(name))


def _explained_collection(database: str, explained: object) -> str | None:
    if not isinstance(explained, Mapping):
        return None
    return collection_name(next(iter(explained), ""), database, explained)


def summary(name: str, database: str, collection: str | None) -> str:
    """What is done, and to what, as MongoDB's specification writes it.

    >>> summary("find", "shop", "users"), summary("ping", "admin", None)
    ('find shop.users', 'ping admin')
    """
    return f"{name} {database}" if collection is None else f"{name} {database}.{collection}"


def is_speculative_authentication(command: Mapping[str, Any]) -> bool:
    """Whether a `hello` carries credentials; PyMongo empties such a document."""
    return not command or "speculativeAuthenticate" in command


def explains_secrets(command: Mapping[str, Any]) -> bool:
    """Whether an `explain` holds a command that is not to be seen; PyMongo does not look into it.

    >>> explains_secrets({"explain": {"createUser": "alice", "pwd": "secret"}})
    True
    >>> explains_secrets({"explain": {"find": "users"}})
    False
    """
    explained = command.get(EXPLAIN)
    while isinstance(explained, Mapping):
        if next(iter(explained), "") in SENSITIVE_COMMANDS:
            return True
        explained = explained.get(EXPLAIN)
    return False


def waits_for_documents(command_name: str, command: Mapping[str, Any]) -> bool:
    """Whether the server holds its reply back until there are documents, as a tailed cursor's."""
    return command_name == "getMore" and "maxTimeMS" in command


def opens_tail(command_name: str, command: Mapping[str, Any]) -> bool:
    """Whether a command opens a cursor that stays open at its end, as a change stream does.

    >>> opens_tail("aggregate", {"aggregate": 1, "pipeline": [{"$changeStream": {}}]})
    True
    >>> opens_tail("find", {"find": "log", "tailable": True})
    True
    >>> opens_tail("find", {"find": "log"})
    False
    """
    if command_name == "find":
        return TAILABLE in command
    if command_name == "aggregate":
        pipeline = command.get("pipeline")
        first = pipeline[0] if isinstance(pipeline, list | tuple) and pipeline else None
        return isinstance(first, Mapping) and "$changeStream" in first
    return False


def batch_size(command: Mapping[str, Any], field: str) -> int | None:
    """How many writes a command has; none if there is no list of them.

    >>> batch_size({"update": "users", "updates": [{}, {}]}, "updates")
    2
    """
    batch = command.get(field)
    return len(batch) if isinstance(batch, list | tuple) else None


def returned_rows(reply: Mapping[str, Any]) -> int | None:
    """The number of documents in a reply's batch; none without a cursor.

    >>> returned_rows({"cursor": {"firstBatch": [{"_id": 1}, {"_id": 2}]}, "ok": 1})
    2
    """
    cursor = reply.get("cursor")
    # To ask for `dict` first costs a tenth of asking for `Mapping`.
    if cursor.__class__ is not dict and not isinstance(cursor, Mapping):
        return None
    if "nErrors" in reply:  # Results of writes are no rows.
        return None
    batch = cursor.get("nextBatch")
    if batch is None:
        batch = cursor.get("firstBatch")
    if not isinstance(batch, list):
        return None
    if len(batch) == 1 and isinstance(batch[0], bytes):  # A raw batch: documents end to end.
        return _documents_in(batch[0])
    return len(batch)


def _documents_in(batch: bytes) -> int:
    count = position = 0
    # Should a server send something else, it must not be gone through for ever.
    while position + _SHORTEST_DOCUMENT <= len(batch):
        length = _DOCUMENT_LENGTH.unpack_from(batch, position)[0]
        position += max(length, _SHORTEST_DOCUMENT)
        count += 1
    return count
