"""Operations of a case, as calls of PyMongo's methods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pymongo
from bson.errors import BSONError
from client_kinds import documents, settle
from pymongo.errors import PyMongoError

from .entities import OpenCursor, concerns
from .errors import MismatchError, UnsupportedError, check_known, match_error
from .matching import Matcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .entities import Entities

    Operation = Mapping[str, Any]
    Arguments = dict[str, Any]
    Perform = Callable[[Entities, Any, Arguments], Awaitable[Any]]

OPERATION_KEYS = {
    "name",
    "object",
    "arguments",
    "expectError",
    "expectResult",
    "ignoreResultAndError",
    "saveResultAsEntity",
}
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")

# Parameters that PyMongo names otherwise than in its own style.
PARAMETERS = {"collection": "name", "fieldName": "key", "to": "new_name"}
# What a result tells, as the format names it.
RESULTS = {
    "inserted_id": "insertedId",
    "inserted_count": "insertedCount",
    "matched_count": "matchedCount",
    "modified_count": "modifiedCount",
    "deleted_count": "deletedCount",
    "upserted_id": "upsertedId",
}


def snake_case(name: str) -> str:
    """A name in Python's style.

    >>> snake_case("maxAwaitTimeMS"), snake_case("findOneAndUpdate")
    ('max_await_time_ms', 'find_one_and_update')
    """
    return HUMP.sub("_", name).lower()


def _value(name: str, value: Any) -> Any:
    """A parameter's value, as PyMongo wants it."""
    match name:
        case "keys" | "sort":  # Pairs, as they are in order.
            return list(value.items())
        case "returnDocument":
            return value == "After"
        case "requests" | "models":
            return [_model(*next(iter(each.items()))) for each in value]
        case _:
            return value


def _model(name: str, arguments: Mapping[str, Any]) -> Any:
    """One write of a bulk."""
    model = getattr(pymongo, name[0].upper() + name[1:])
    return model(**{snake_case(key): value for key, value in arguments.items()})


def _keywords(arguments: Arguments) -> Arguments:
    """Arguments of a method that names all its parameters."""
    return {
        PARAMETERS.get(name, snake_case(name)): _value(name, value)
        for name, value in arguments.items()
    }


def _options(arguments: Arguments) -> Arguments:
    """Arguments of a method that passes what it does not know to the server, by its name."""
    return {PARAMETERS.get(name, name): _value(name, value) for name, value in arguments.items()}


async def _result(answer: Any) -> Any:
    """What a write tells; anything else is its own result."""
    found = {
        theirs: getattr(answer, ours) for ours, theirs in RESULTS.items() if _has(answer, ours)
    }
    if _has(answer, "upserted_id"):
        found["upsertedCount"] = int(found["upsertedId"] is not None)
        if not found["upsertedCount"]:
            del found["upsertedId"]
    if _has(answer, "inserted_ids"):
        found["insertedIds"] = {str(number): i for number, i in enumerate(answer.inserted_ids)}
    return found or answer


def _has(answer: Any, name: str) -> bool:
    return hasattr(type(answer), name)  # To ask a database or a collection is to make one.


def call(method: str, arguments_of: Callable[[Arguments], Arguments] = _keywords) -> Perform:
    """A call of one method."""

    async def perform(_: Entities, target: Any, arguments: Arguments) -> Any:
        return await _result(await settle(getattr(target, method)(**arguments_of(arguments))))

    return perform


def read(method: str, arguments_of: Callable[[Arguments], Arguments] = _keywords) -> Perform:
    """A call of a method that returns a cursor, and all that is in that."""

    async def perform(_: Entities, target: Any, arguments: Arguments) -> Any:
        return await documents(await settle(getattr(target, method)(**arguments_of(arguments))))

    return perform


async def _create_find_cursor(_: Entities, collection: Any, arguments: Arguments) -> Any:
    return await OpenCursor(collection.find(**_keywords(arguments))).open()


async def _create_command_cursor(_: Entities, database: Any, arguments: Arguments) -> Any:
    arguments = {name: v for name, v in arguments.items() if name != "commandName"}
    return OpenCursor(await settle(database.cursor_command(**_keywords(arguments))))


async def _create_change_stream(_: Entities, target: Any, arguments: Arguments) -> Any:
    stream = await settle(target.watch(**_keywords(arguments)))
    if hasattr(type(stream), "__aenter__"):  # Motor's is opened by that.
        await stream.__aenter__()
    return OpenCursor(stream)


async def _next(_: Entities, cursor: OpenCursor, __: Arguments) -> Any:
    try:
        return await cursor.next()
    except StopAsyncIteration:
        message = "The cursor has come to its end"
        raise MismatchError(message, "a document", "none") from None


async def _close(_: Entities, target: Any, __: Arguments) -> None:
    await settle(target.close())


async def _run_command(_: Entities, database: Any, arguments: Arguments) -> Any:
    arguments = {name: v for name, v in arguments.items() if name != "commandName"}
    return await settle(database.command(**_keywords(arguments)))


async def _run_cursor_command(_: Entities, database: Any, arguments: Arguments) -> Any:
    cursor: OpenCursor = await _create_command_cursor(_, database, arguments)
    return await cursor.rest()


async def _start_transaction(_: Entities, session: Any, arguments: Arguments) -> None:
    options = dict(arguments)
    limit = options.pop("maxCommitTimeMS", None)
    await settle(session.start_transaction(**concerns(options), max_commit_time_ms=limit))


async def _with_transaction(entities: Entities, session: Any, arguments: Arguments) -> None:
    options = dict(arguments)
    operations = options.pop("callback")
    limit = options.pop("maxCommitTimeMS", None)

    async def work() -> None:
        for operation in operations:
            await perform(operation, entities, propagate=True)

    await settle(
        session.with_transaction(
            entities.kind.callback(work), **concerns(options), max_commit_time_ms=limit
        )
    )


async def _fail_point(entities: Entities, _: None, arguments: Arguments) -> None:
    await settle(entities[arguments["client"]].admin.command(arguments["failPoint"]))


async def _create_collection(_: Entities, database: Any, arguments: Arguments) -> None:
    # PyMongo's own check, a listCollections, is not among what the format expects.
    await settle(database.create_collection(**_options(arguments), check_exists=False))


async def _drop_collection(_: Entities, database: Any, arguments: Arguments) -> None:
    arguments = dict(arguments)
    await settle(database.drop_collection(arguments.pop("collection"), **_keywords(arguments)))


async def _drop_index(_: Entities, collection: Any, arguments: Arguments) -> None:
    arguments = dict(arguments)
    await settle(collection.drop_index(arguments.pop("name"), **_options(arguments)))


async def _search_indexes(_: Entities, collection: Any, arguments: Arguments) -> Any:
    return await documents(await settle(collection.list_search_indexes(**_keywords(arguments))))


async def _create_search_indexes(_: Entities, collection: Any, arguments: Arguments) -> Any:
    models = [pymongo.operations.SearchIndexModel(**each) for each in arguments["models"]]
    return await settle(collection.create_search_indexes(models))


def _methods(*names: str) -> dict[str, Perform]:
    return {name: call(snake_case(name)) for name in names}


TEST_RUNNER: Mapping[str, Perform] = {"failPoint": _fail_point}
CLIENT: Mapping[str, Perform] = {
    "clientBulkWrite": call("bulk_write"),
    "close": _close,
    "createChangeStream": _create_change_stream,
    "listDatabaseNames": call("list_database_names", _options),
    "listDatabases": read("list_databases", _options),
}
DATABASE: Mapping[str, Perform] = {
    "aggregate": read("aggregate", _options),
    "createChangeStream": _create_change_stream,
    "createCollection": _create_collection,
    "createCommandCursor": _create_command_cursor,
    "dropCollection": _drop_collection,
    "listCollectionNames": call("list_collection_names", _options),
    "listCollections": read("list_collections", _options),
    "runCommand": _run_command,
    "runCursorCommand": _run_cursor_command,
}
COLLECTION: Mapping[str, Perform] = {
    **_methods(
        *("insertOne", "insertMany", "updateOne", "updateMany", "replaceOne"),
        *("deleteOne", "deleteMany", "bulkWrite"),
        *("findOne", "findOneAndUpdate", "findOneAndReplace", "findOneAndDelete"),
        *("createSearchIndex", "updateSearchIndex", "dropSearchIndex"),
    ),
    "aggregate": read("aggregate", _options),
    "countDocuments": call("count_documents", _options),
    "createChangeStream": _create_change_stream,
    "createFindCursor": _create_find_cursor,
    "createIndex": call("create_index", _options),
    "createSearchIndexes": _create_search_indexes,
    "distinct": call("distinct", _options),
    "drop": call("drop"),
    "dropIndex": _drop_index,
    "dropIndexes": call("drop_indexes", _options),
    "estimatedDocumentCount": call("estimated_document_count", _options),
    "find": read("find"),
    "listIndexes": read("list_indexes"),
    "listSearchIndexes": _search_indexes,
    "rename": call("rename", _options),
}
SESSION: Mapping[str, Perform] = {
    "abortTransaction": call("abort_transaction"),
    "commitTransaction": call("commit_transaction"),
    "endSession": call("end_session"),
    "startTransaction": _start_transaction,
    "withTransaction": _with_transaction,
}
CURSOR: Mapping[str, Perform] = {"close": _close, "iterateUntilDocumentOrError": _next}
OPERATIONS: Mapping[str, Mapping[str, Perform]] = {
    "testRunner": TEST_RUNNER,
    "client": CLIENT,
    "database": DATABASE,
    "collection": COLLECTION,
    "session": SESSION,
    "cursor": CURSOR,
}


async def perform(operation: Operation, entities: Entities, *, propagate: bool = False) -> None:
    """Perform an operation, and look whether it comes to what it is expected to.

    Args:
        operation: As the case has it.
        entities: What it may be about.
        propagate: Whether an error is raised even if it is expected.

    Raises:
        MismatchError: It came to something else.
        UnsupportedError: It is not known, or something about it.
    """
    check_known(operation, OPERATION_KEYS, "key of an operation")
    matcher = Matcher(entities.session_ids)
    try:
        result = await _perform(operation, entities)
    except (PyMongoError, BSONError) as error:
        _check_error(operation, error, matcher)
        if propagate:
            raise
        return
    if "expectError" in operation:
        raise MismatchError(operation["name"], operation["expectError"], "no error")
    if "expectResult" in operation:
        matcher.match_result(operation["expectResult"], result, operation["name"])
    if name := operation.get("saveResultAsEntity"):
        _save(name, result, entities)


async def _perform(operation: Operation, entities: Entities) -> Any:
    name, target = operation["name"], operation["object"]
    kind = target if target in OPERATIONS else entities.kind_of(target)
    performs = OPERATIONS[kind].get(name)
    if performs is None:
        raise UnsupportedError(name, f"operation of a {kind}")
    arguments = dict(operation.get("arguments", {}))
    if "session" in arguments:
        arguments["session"] = entities[arguments["session"]]
    return await performs(entities, None if kind == "testRunner" else entities[target], arguments)


def _check_error(operation: Operation, error: PyMongoError | BSONError, matcher: Matcher) -> None:
    if operation.get("ignoreResultAndError"):
        return
    if "expectError" not in operation:
        raise MismatchError(operation["name"], "no error", error) from error
    match_error(operation["expectError"], error, matcher)


def _save(name: str, result: Any, entities: Entities) -> None:
    if not isinstance(result, OpenCursor):
        raise UnsupportedError(type(result).__name__, "kind of result to save")
    entities.add("cursor", name, result)
