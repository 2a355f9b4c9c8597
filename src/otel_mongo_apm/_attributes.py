"""What an event tells: pure functions from PyMongo's events and documents to attributes."""

from __future__ import annotations

import struct
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.semconv.attributes.db_attributes import (
    DB_RESPONSE_STATUS_CODE,
    DB_SYSTEM_NAME,
)
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from pymongo.errors import NotPrimaryError, OperationFailure

from ._query_text import encodable
from ._semconv import ADMIN, MONGODB, OTHER_ERROR

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    Address = tuple[str, int | None]
    Attributes = dict[str, AttributeValue]

# Commands whose own value is a collection. An allow-list, because elsewhere it may be the name of
# a user or a role (`dropUser`), a cursor ID or a number.
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

# Where a command says which collection it is sent to.
COLLECTION_FIELDS: Mapping[str, str] = {
    **{name: name for name in COLLECTION_COMMANDS},
    "getMore": "collection",
}

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
HELLO_COMMANDS = frozenset({"hello", "isMaster", "ismaster"})
EXPLAIN = "explain"

# Commands that the driver sends by itself, to tidy up.
DRIVER_COMMANDS = frozenset({"endSessions", "killCursors"})

# `insert` is not among them: to insert many documents is one operation, says the convention.
BATCH_FIELDS: Mapping[str, str] = {"bulkWrite": "ops", "delete": "deletes", "update": "updates"}

# In a find whose cursor waits for documents.
AWAIT_DATA = "awaitData"

_DUPLICATE_KEY_CODES = frozenset({"11000", "11001", "12582"})
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
    if not isinstance(value, str) or database == ADMIN or value.startswith("$cmd"):
        return None
    return plain(value)


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
    """Whether a command opens a cursor that waits for documents, as a change stream does.

    >>> opens_tail("aggregate", {"aggregate": 1, "pipeline": [{"$changeStream": {}}]})
    True
    >>> opens_tail("find", {"find": "log", "tailable": True, "awaitData": True})
    True
    >>> opens_tail("find", {"find": "log"})
    False
    """
    if command_name == "find":
        return AWAIT_DATA in command
    if command_name == "aggregate":
        pipeline = command.get("pipeline")
        first = pipeline[0] if isinstance(pipeline, list | tuple) and pipeline else None
        return isinstance(first, Mapping) and "$changeStream" in first
    return False


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


class Failure(NamedTuple):
    """Why a command failed.

    Args:
        error_type: The server's code or the exception's class.
        status_code: The server's code, if it was the server that refused.
        name: The code's name or the exception's class, for people.
        message: The server's or the exception's message; it may quote users' values.
    """

    error_type: str
    status_code: str | None
    name: str
    message: str

    @property
    def attributes(self) -> Attributes:
        """As attributes of a span or a measurement."""
        if self.status_code is None:
            return {ERROR_TYPE: self.error_type}
        return {ERROR_TYPE: self.error_type, DB_RESPONSE_STATUS_CODE: self.status_code}


def command_failure(failure: Mapping[str, Any], error: BaseException | None) -> Failure:
    """Describe a failure by the server's code or, failing that, the exception's class.

    >>> command_failure({"code": 59, "codeName": "CommandNotFound", "errmsg": "no x"}, None)
    Failure(error_type='59', status_code='59', name='CommandNotFound', message='no x')
    """
    code, name = failure.get("code"), failure.get("codeName")
    message = str(failure.get("errmsg", ""))
    status_code = None if code is None else _code(code)
    if status_code is not None and name:
        return Failure(status_code, status_code, name, message)
    error_type = _error_type(failure.get("errtype"), error)
    name = name or error_type.rpartition(".")[2]
    error_type = error_type if status_code is None else status_code
    return Failure(error_type, status_code, name, message)


def _error_type(name: str | None, error: BaseException | None) -> str:
    if error is None:
        return name or OTHER_ERROR
    if name and type(error).__name__ != name:  # An exception of somebody else's.
        return name
    return exception_type(error)


def _code(code: object) -> str:
    # Some servers send their numbers as doubles.
    return str(int(code)) if isinstance(code, float) else str(code)


def exception_type(error: BaseException) -> str:
    """The qualified name of an exception's class, or of the one that it wraps.

    PyMongo wraps what a socket raises in its own exceptions, since 4.18 before a listener
    is told and until then afterwards.

    >>> exception_type(TimeoutError())
    'TimeoutError'
    """
    return _class_name(error.__cause__ or error)


def _class_name(error: BaseException) -> str:
    cls = type(error)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def exception_attributes(error: BaseException, message: str | None) -> Attributes:
    """Describe an exception as MongoDB's specification has it.

    Args:
        error: The exception.
        message: What is told instead of its own message, which may quote users' values.

    >>> exception_attributes(ValueError("alice"), "ValueError")
    {'exception.type': 'ValueError', 'exception.message': 'ValueError', 'exception.stacktrace': ...}
    """
    name = _class_name(error)
    if message is None:
        lines = traceback.format_exception(error)
    else:
        lines = [*traceback.format_tb(error.__traceback__), f"{name}\n"]
    return {
        EXCEPTION_TYPE: name,
        EXCEPTION_MESSAGE: str(error) if message is None else message,
        EXCEPTION_STACKTRACE: "".join(lines),
    }


def exception_failure(error: BaseException) -> Failure:
    """Describe an exception by the server's code, if it has one, or else by its class.

    >>> exception_failure(ConnectionRefusedError("refused"))
    Failure(error_type='ConnectionRefusedError', status_code=None, ...)
    """
    details: dict[str, Any] = {"errmsg": str(error)}
    if isinstance(error, OperationFailure | NotPrimaryError):
        details |= {"code": getattr(error, "code", None), **dict(error.details or {})}
    return command_failure(details, error)


def write_failure(reply: Mapping[str, Any]) -> Failure | None:
    """What went wrong in a write although the command succeeded: its first error.

    >>> write_failure({"n": 1, "ok": 1})
    >>> write_failure({"n": 0, "ok": 1, "writeErrors": [{"code": 11000, "errmsg": "E11000"}]})
    Failure(error_type='11000', status_code='11000', name='DuplicateKeyError', message='E11000')
    """
    errors = reply.get("writeErrors")
    if isinstance(errors, list) and errors:
        return _reported(errors[0], "WriteError")
    if error := reply.get("writeConcernError"):
        return _reported(error, "WriteConcernError")
    if reply.get("nErrors"):  # The server's own bulk write: a cursor of results.
        return _reported(_first_failed_result(reply), "WriteError")
    return None


def _first_failed_result(reply: Mapping[str, Any]) -> object:
    """What failed first; nothing if that is told in a later batch."""
    cursor = reply.get("cursor")
    results = cursor.get("firstBatch", ()) if isinstance(cursor, Mapping) else ()
    return next((result for result in results if not result.get("ok")), None)


def _reported(error: object, name: str) -> Failure:
    if not isinstance(error, Mapping) or error.get("code") is None:
        return Failure(OTHER_ERROR, None, name, "")
    code = _code(error["code"])
    if code in _DUPLICATE_KEY_CODES:  # The server names no codes here; PyMongo has a class for it.
        name = "DuplicateKeyError"
    return Failure(code, code, error.get("codeName") or name, str(error.get("errmsg", "")))


def server_attributes(address: Address) -> Attributes:
    """The attributes of a server's address; a Unix socket's has no port.

    >>> server_attributes(("/tmp/mongodb-27017.sock", None))
    {'server.address': '/tmp/mongodb-27017.sock'}
    """
    host, port = address
    return {SERVER_ADDRESS: host} if port is None else {SERVER_ADDRESS: host, SERVER_PORT: port}


class ServerAttributes(dict["Address", "Attributes"]):
    """What is known of each server; built once, then shared. Do not mutate."""

    def __missing__(self, address: Address) -> Attributes:
        attributes = self[address] = {DB_SYSTEM_NAME: MONGODB, **server_attributes(address)}
        return attributes
