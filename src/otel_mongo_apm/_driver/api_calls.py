"""Which call of the API goes through one of PyMongo's private functions, and its target."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

from pymongo.errors import InvalidOperation

from otel_mongo_apm._otel.semconv import ADMIN

from .call_stack import module_of
from .documents import collection_in, collection_name, plain
from .private_names import class_named, packages

if TYPE_CHECKING:
    # Returns the value of a function's parameter by its name; None if it was not passed.
    Argument = Callable[[str], Any]


@dataclass(slots=True)
class ApiCall:
    """One call of the driver's API.

    Args:
        name: The name of the operation in MongoDB's specification.
        database: Its database; None if that is not known before its first command.
        collection: Its collection, if it has one.
        session: The explicit session that the call uses, if any.
        command: The name of its first command. Default: the name of the operation.
    """

    name: str
    database: str | None = None
    collection: str | None = None
    session: Any = None
    command: str = ""

    def __post_init__(self) -> None:
        self.command = self.command or self.name


# By method: the command that is sent, if PyMongo's name for the operation is different.
_COMMAND_BY_METHOD = {"count_documents": "aggregate"}
# Operations for which PyMongo and MongoDB's specification have different names.
_BY_OPERATION = {
    "create": "createCollection",
    "drop": "dropCollection",
    "dropSearchIndexes": "dropSearchIndex",
    "rename": "renameCollection",
    "updateIndex": "updateSearchIndex",
}
# Methods that run any command. PyMongo names the operation after the command.
_COMMAND_METHODS = frozenset({"command", "cursor_command"})
_BY_STAGE = {"$listSearchIndexes": "listSearchIndexes"}
_BULK_WRITES = ("insert", "update", "delete")
# Operations of a database, although `Collection.options()` also uses them.
_OF_DATABASES = frozenset({"listCollections"})
# Functions between a method of the API and the function of the client that it calls.
_IN_BETWEEN = frozenset({"_conn_for_writes", "_conn_for_reads", "csot_wrapper"})


def retried_call(_: Any, argument: Argument) -> ApiCall:
    """Describe a call that may be retried, from the function that executes it."""
    function, session = argument("func"), argument("session")
    operation = _written(argument("operation"))
    if bulk := argument("bulk"):
        return _BULK_CALLS[type(bulk).__name__](bulk, argument)
    command = getattr(function, "__self__", None)
    if command is not None and hasattr(command, "_pipeline"):
        name = _BY_STAGE.get(_first_stage(command), operation)
        aggregation = _call(name, {"self": command._target}, session)  # noqa: SLF001
        aggregation.command = "aggregate"
        return aggregation
    method = getattr(function, "__qualname__", "").partition(".<locals>")[0].rpartition(".")[2]
    variables = _enclosed(function)
    if hasattr(query := variables.get("operation"), "coll"):
        return cursor_call(query, {"operation": query}.get)
    # Up to 4.15, PyMongo also named a commit an abort.
    return _made_by(method, variables.get("command_name", operation), variables, session)


def attempted_call(attempts: Any, _: Argument) -> ApiCall:
    """Describe the same call, from the object that makes the attempts."""
    return retried_call(attempts, lambda name: getattr(attempts, f"_{name}"))


def _first_stage(aggregation: Any) -> str:
    pipeline: Any = aggregation._pipeline  # noqa: SLF001
    return next(iter(pipeline[0]), "") if pipeline and isinstance(pipeline[0], Mapping) else ""


def cursor_call(_: Any, argument: Argument) -> ApiCall:
    """A query or a getMore."""
    operation = argument("operation")
    database = plain(operation.db)
    collection = collection_in(database, operation.coll)
    return ApiCall(_written(operation.name), database, collection, operation.session)


def connection_call(_: Any, argument: Argument) -> ApiCall:
    """Describe the call that a connection is used for, which only the calling function knows."""
    frame = sys._getframe(1)  # noqa: SLF001  # What `inspect` would use, too.
    while frame.f_back and (
        not module_of(frame).startswith("pymongo.") or frame.f_code.co_name in _IN_BETWEEN
    ):
        frame = frame.f_back
    if of_bulk := _BULK_CALLS.get(type(frame.f_locals.get("self")).__name__):
        return of_bulk(frame.f_locals["self"], argument)
    operation = _written(argument("operation"))
    return _made_by(frame.f_code.co_name, operation, frame.f_locals, argument("session"))


def bulk_write_call(bulk: Any, argument: Argument) -> ApiCall:
    """Describe writes to one collection, by the name of their kind if all are of one kind."""
    kinds = {kind for kind, *_ in bulk.ops}
    name = _BULK_WRITES[kinds.pop()] if len(kinds) == 1 else "bulkWrite"
    return _call(name, {"self": bulk.collection}, argument("session"))


def client_bulk_write_call(_: Any, argument: Argument) -> ApiCall:
    return ApiCall("bulkWrite", ADMIN, None, argument("session"))


_BULK_CALLS = {
    "_Bulk": bulk_write_call,
    "_AsyncBulk": bulk_write_call,
    "_ClientBulk": client_bulk_write_call,
    "_AsyncClientBulk": client_bulk_write_call,
}


def killed_call(_: Any, argument: Argument) -> ApiCall:
    """Describe the closing of a cursor that has more results."""
    database, _, collection = getattr(argument("address"), "namespace", "").partition(".")
    return ApiCall("killCursors", database or None, collection_in(database, collection or None))


def whole_call(name: str, named: str = "") -> Callable[[Any, Argument], ApiCall]:
    """Describe a method of the API that calls several of the functions above."""

    def call(owner: Any, argument: Argument) -> ApiCall:
        variables = {"self": owner, "name": argument(named) if named else None}
        return _call(name, variables, argument("session"))

    return call


def _made_by(method: str, operation: str, variables: Mapping[str, Any], session: Any) -> ApiCall:
    call = _call(_BY_OPERATION.get(operation, operation), variables, session)
    call.command = _COMMAND_BY_METHOD.get(method, operation)
    if method in _COMMAND_METHODS:
        call.name = "runCommand"
    return call


def _call(name: str, variables: Mapping[str, Any], session: Any) -> ApiCall:
    """Describe a call from the variables of the functions that make it."""
    owner = variables.get("self")
    # Calls of a client or a session go to this database; for others the first command tells it.
    database, collection = None if owner is None else ADMIN, None
    if isinstance(owner, _classes("collection", "Collection")):
        database, collection = plain(owner.database.name), owner.name
    elif isinstance(owner, _classes("database", "Database")):
        database, collection = plain(owner.name), _given_collection(owner.name, variables)
    elif name == "renameCollection":
        database, _, collection = variables["cmd"][name].partition(".")
    elif name == "dropDatabase":
        database = _name_of(variables["name"])
    if database is None or name in _OF_DATABASES:
        return ApiCall(name, database, None, session)
    return ApiCall(name, database, collection_in(database, collection), session)


def _given_collection(database: str, variables: Mapping[str, Any]) -> str | None:
    """Return the collection that is passed to a method of a database, by name or in a command."""
    if (name := variables.get("name")) is not None:  # A collection has no truth value.
        return _name_of(name)
    command = variables.get("command")
    if isinstance(command, str):
        command = {command: variables.get("value")}
    if not command:
        return None
    return collection_name(next(iter(command)), database, command)


def _name_of(given: Any) -> str | None:
    """Return the name of a database or a collection; None if PyMongo will reject it."""
    name = given if isinstance(given, str) else getattr(given, "name", None)
    return plain(name) if isinstance(name, str) else None


def _written(operation: object) -> str:
    # An enumeration's member that is a string, too.
    return str(getattr(operation, "value", operation))


def _enclosed(function: Any) -> dict[str, Any]:
    """Return the variables that a function has captured from its enclosing function."""
    if not isinstance(function, FunctionType):
        return {}
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}


@cache
def _classes(module: str, name: str) -> tuple[type[Any], ...]:
    found = (
        class_named(f"{package}.{module}", f"Async{name}" if is_async else name)
        for package, is_async in packages().items()
    )
    return tuple(cls for cls in found if cls)


def bound_session(client: Any) -> Any:
    """Return the session that is bound to this thread or task, since PyMongo 4.17.

    None if it belongs to another client; PyMongo then rejects the call.
    """
    bound = getattr(type(client), "_get_bound_session", None)
    try:
        return bound(client) if bound else None
    except InvalidOperation:
        return None
