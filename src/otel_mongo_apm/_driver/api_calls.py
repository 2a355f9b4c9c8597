"""Which call of the API goes through one of PyMongo's private functions, and to what."""

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
    # The value of a function's parameter, by its name; none if it was not given.
    Argument = Callable[[str], Any]


@dataclass(slots=True)
class ApiCall:
    """One call of the driver's API.

    Args:
        name: The operation's, as MongoDB's specification calls it.
        database: Its database; none if that is not known before its first command.
        collection: Its collection, if it has one.
        session: The explicit session that it is made in, if it is.
        command: The command that it sends, or the first of them; as the operation if that is not
            told.
    """

    name: str
    database: str | None = None
    collection: str | None = None
    session: Any = None
    command: str = ""

    def __post_init__(self) -> None:
        self.command = self.command or self.name


# By the method, where PyMongo's own word for the operation is not the command that is sent.
_COMMAND_BY_METHOD = {"count_documents": "aggregate"}
# Where PyMongo's own word for the operation is not that of MongoDB's specification.
_BY_OPERATION = {
    "create": "createCollection",
    "drop": "dropCollection",
    "dropSearchIndexes": "dropSearchIndex",
    "rename": "renameCollection",
    "updateIndex": "updateSearchIndex",
}
# Methods that run whatever command they are given, which PyMongo names the operation after.
_COMMAND_METHODS = frozenset({"command", "cursor_command"})
_BY_STAGE = {"$listSearchIndexes": "listSearchIndexes"}
_BULK_WRITES = ("insert", "update", "delete")
# Operations of a database, though `Collection.options()` makes them, too.
_OF_DATABASES = frozenset({"listCollections"})
# What stands between a method of the API and the function of the client that it calls.
_IN_BETWEEN = frozenset({"_conn_for_writes", "_conn_for_reads", "csot_wrapper"})


def retried_call(_: Any, argument: Argument) -> ApiCall:
    """Whatever is sent, and sent again if need be, by a function that knows what it is for."""
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
    # Until 4.15 a commit, too, was said to be an abort.
    return _made_by(method, variables.get("command_name", operation), variables, session)


def attempted_call(attempts: Any, _: Argument) -> ApiCall:
    """The same, by the object that makes the attempts."""
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
    """What a connection is asked for; only the caller knows."""
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
    """Writes to one collection; if all are of one kind, by the name of that."""
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
    """The end of a cursor that has more to give."""
    database, _, collection = getattr(argument("address"), "namespace", "").partition(".")
    return ApiCall("killCursors", database or None, collection_in(database, collection or None))


def whole_call(name: str, named: str = "") -> Callable[[Any, Argument], ApiCall]:
    """A method of the API that makes more than one call of the functions above."""

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
    """A call by what the functions that make it know: themselves, a name, a command."""
    owner = variables.get("self")
    # A client's or a session's own calls go to this database; of others the first command tells.
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
    """The collection that a method of a database is given, by its name or in a command."""
    if (name := variables.get("name")) is not None:  # A collection has no truth value.
        return _name_of(name)
    command = variables.get("command")
    if isinstance(command, str):
        command = {command: variables.get("value")}
    if not command:
        return None
    return collection_name(next(iter(command)), database, command)


def _name_of(given: Any) -> str | None:
    """The name of a database or a collection; none of what PyMongo will not accept."""
    name = given if isinstance(given, str) else getattr(given, "name", None)
    return plain(name) if isinstance(name, str) else None


def _written(operation: object) -> str:
    # An enumeration's member that is a string, too.
    return str(getattr(operation, "value", operation))


def _enclosed(function: Any) -> dict[str, Any]:
    """The variables that a function has from the one that it was defined in."""
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
    """The session that all calls of this thread or task are made in, since PyMongo 4.17.

    None if that is another client's; then PyMongo refuses the call.
    """
    bound = getattr(type(client), "_get_bound_session", None)
    try:
        return bound(client) if bound else None
    except InvalidOperation:
        return None
