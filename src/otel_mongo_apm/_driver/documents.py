"""Reads the documents of commands and replies."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from bson.code import Code

from otel_mongo_apm._otel.encoding import encodable
from otel_mongo_apm._otel.semconv import ADMIN

from .command_names import COLLECTION_FIELDS

# The sensitive commands of the command monitoring specification, whose documents must be hidden.
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
# Those that the driver sends on a new connection, before a caller has checked it out.
AUTHENTICATION_COMMANDS = frozenset({"authenticate", "saslContinue", "saslStart"})
HELLO_COMMANDS = frozenset({"hello", "isMaster"})
EXPLAIN = "explain"

# Commands that the driver sends on its own to clean up.
DRIVER_COMMANDS = frozenset({"endSessions", "killCursors"})

# `insert` is not among them: by the conventions, inserting many documents is one operation.
BATCH_FIELDS: Mapping[str, str] = {"bulkWrite": "ops", "delete": "deletes", "update": "updates"}

# The fields of a find whose cursor stays open at its end, whether or not its getMores wait.
TAILABLE = "tailable"

_DOCUMENT_LENGTH = struct.Struct("<i")
_SHORTEST_DOCUMENT = 5


def collection_name(command_name: str, database: str, command: Mapping[str, Any]) -> str | None:
    """Return the collection that a command is sent to, if there is one.

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
    """Return the collection that a value names; None for ``1`` or ``$cmd.aggregate``."""
    if not isinstance(value, str) or isinstance(value, Code):  # Code is a subclass of str.
        return None
    return None if database == ADMIN or value.startswith("$cmd") else plain(value)


def plain(name: str) -> str:
    """Return a plain string: a member of a string enumeration would be shown differently.

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
    """Return the summary of an operation, as MongoDB's specification defines it.

    >>> summary("find", "shop", "users"), summary("ping", "admin", None)
    ('find shop.users', 'ping admin')
    """
    return f"{name} {database}" if collection is None else f"{name} {database}.{collection}"


def is_speculative_authentication(command: Mapping[str, Any]) -> bool:
    """Whether a `hello` contains credentials; PyMongo then publishes an empty document."""
    return not command or "speculativeAuthenticate" in command


def explains_secrets(command: Mapping[str, Any]) -> bool:
    """Whether an `explain` contains a sensitive command, which PyMongo does not check.

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
    """Whether the server delays the reply until there are documents, as for a tailable cursor."""
    return command_name == "getMore" and "maxTimeMS" in command


def opens_tail(command_name: str, command: Mapping[str, Any]) -> bool:
    """Whether a command opens a cursor that stays open at its end, such as a change stream.

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
    """Return the number of writes in a command; None if it has no list of writes.

    >>> batch_size({"update": "users", "updates": [{}, {}]}, "updates")
    2
    """
    batch = command.get(field)
    return len(batch) if isinstance(batch, list | tuple) else None


def returned_rows(reply: Mapping[str, Any]) -> int | None:
    """Return the number of documents in a reply's batch; None if the reply has no cursor.

    >>> returned_rows({"cursor": {"firstBatch": [{"_id": 1}, {"_id": 2}]}, "ok": 1})
    2
    """
    cursor = reply.get("cursor")
    # Checking for `dict` first takes a tenth of the time of checking for `Mapping`.
    if cursor.__class__ is not dict and not isinstance(cursor, Mapping):
        return None
    if "nErrors" in reply:  # Results of writes are not rows.
        return None
    batch = cursor.get("nextBatch")
    if batch is None:
        batch = cursor.get("firstBatch")
    if not isinstance(batch, list):
        return None
    if len(batch) == 1 and isinstance(batch[0], bytes):  # A raw batch: concatenated documents.
        return _documents_in(batch[0])
    return len(batch)


def _documents_in(batch: bytes) -> int:
    count = position = 0
    # Invalid bytes from a server must not cause an endless loop.
    while position + _SHORTEST_DOCUMENT <= len(batch):
        length = _DOCUMENT_LENGTH.unpack_from(batch, position)[0]
        position += max(length, _SHORTEST_DOCUMENT)
        count += 1
    return count
