"""PyMongo's private functions that calls of its API go through."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .api_calls import (
    ApiCall,
    attempted_call,
    bulk_write_call,
    client_bulk_write_call,
    connection_call,
    cursor_call,
    killed_call,
    retried_call,
    whole_call,
)
from .private_names import class_named, packages, warn_of_loss

if TYPE_CHECKING:
    # Returns the value of a function's parameter by its name; None if it was not passed.
    from collections.abc import Callable, Iterable, Mapping

    Argument = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A function that calls of the API go through.

    Args:
        name: Its name.
        parameters: The parameters that it must have.
        call: Describes the call, given the method's object and arguments.
        gives_connection: Whether it only provides a connection, with which the call is made later.
    """

    name: str
    parameters: tuple[str, ...]
    call: Callable[[Any, Argument], ApiCall]
    gives_connection: bool = False


@dataclass(frozen=True, slots=True)
class Entrance:
    """A class that has such functions.

    Args:
        module: Its module, in each of PyMongo's packages.
        names: Its synchronous and its asynchronous name.
        client: Returns the client of an instance.
        points: The functions.
        is_optional: Whether some versions of PyMongo do not have it.
    """

    module: str
    names: tuple[str, str]
    client: Callable[[Any], Any]
    points: tuple[EntryPoint, ...]
    is_optional: bool = False


GIVING_CONNECTIONS = (
    EntryPoint(
        "_conn_for_writes", ("session", "operation"), connection_call, gives_connection=True
    ),
    EntryPoint("_conn_for_reads", ("session", "operation"), connection_call, gives_connection=True),
)
ENTRANCES = (
    Entrance(
        "mongo_client",
        ("MongoClient", "AsyncMongoClient"),
        lambda client: client,
        (
            EntryPoint("_retry_internal", ("func", "session", "bulk", "operation"), retried_call),
            EntryPoint("_run_operation", ("operation",), cursor_call),
            *GIVING_CONNECTIONS,
            EntryPoint("_kill_cursors", ("address",), killed_call),
            EntryPoint("_kill_cursor_impl", ("address",), killed_call),
            EntryPoint(
                "drop_database",
                ("name_or_database", "session"),
                whole_call("dropDatabase", "name_or_database"),
            ),
        ),
    ),
    Entrance(
        "database",
        ("Database", "AsyncDatabase"),
        lambda database: database.client,
        (
            EntryPoint(
                "create_collection", ("name", "session"), whole_call("createCollection", "name")
            ),
            EntryPoint(
                "drop_collection",
                ("name_or_collection", "session"),
                whole_call("dropCollection", "name_or_collection"),
            ),
            EntryPoint("list_collection_names", ("session",), whole_call("listCollections")),
        ),
    ),
    Entrance(
        "collection",
        ("Collection", "AsyncCollection"),
        lambda collection: collection.database.client,
        (
            EntryPoint("index_information", ("session",), whole_call("listIndexes")),
            EntryPoint("options", ("session",), whole_call("listCollections")),
        ),
    ),
    Entrance(
        "bulk",
        ("_Bulk", "_AsyncBulk"),
        lambda bulk: bulk.collection.database.client,
        (EntryPoint("execute", ("session",), bulk_write_call),),
    ),
    Entrance(
        "client_bulk",
        ("_ClientBulk", "_AsyncClientBulk"),
        lambda bulk: bulk.client,
        (EntryPoint("execute", ("session",), client_bulk_write_call),),
        is_optional=True,
    ),
)


@dataclass(frozen=True, slots=True)
class FoundEntryPoint:
    """An entry point as this version of PyMongo has it.

    Args:
        cls: Its class.
        is_async: Whether it is a coroutine function.
        entrance: The description of its class.
        point: The description of the function.
        positions: The positions of its parameters, by name.
    """

    cls: type[Any]
    is_async: bool
    entrance: Entrance
    point: EntryPoint
    positions: Mapping[str, int]

    @property
    def name(self) -> str:
        """Its name."""
        return self.point.name

    @property
    def gives_connection(self) -> bool:
        """Whether it only provides a connection, with which the call is made later."""
        return self.point.gives_connection

    def client(self, owner: Any) -> Any:
        """Return the client of the method's object."""
        return self.entrance.client(owner)

    def call(self, owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ApiCall:
        """Describe the API call that this function is called for."""

        def argument(name: str) -> Any:
            position = self.positions[name]
            return args[position] if position < len(args) else kwargs.get(name)

        return self.point.call(owner, argument)


# All commands are sent through one of these functions. They are the innermost ones, which cost
# least to wrap because they have no parameters.
SENDERS = (
    Entrance(
        "mongo_client",
        ("_ClientConnectionRetryable", "_ClientConnectionRetryable"),
        lambda attempts: attempts._client,  # noqa: SLF001
        (EntryPoint("run", (), attempted_call),),
    ),
    Entrance(
        "mongo_client",
        ("MongoClient", "AsyncMongoClient"),
        lambda client: client,
        GIVING_CONNECTIONS,
    ),
)


def found_entry_points() -> list[FoundEntryPoint]:
    """Return all entry points; none, with a warning, if one is missing, as some would mislead."""
    return _found(ENTRANCES, "operations have no spans")


def found_senders() -> list[FoundEntryPoint]:
    """Return the functions that send commands; none, with a warning, if one is missing."""
    loss = "calls that fail before a command is sent are neither counted nor shown"
    return _found(SENDERS, loss)


def _found(entrances: Iterable[Entrance], loss: str) -> list[FoundEntryPoint]:
    found, missing = [], []
    for package, is_async in packages().items():
        for entrance in entrances:
            module, name = f"{package}.{entrance.module}", entrance.names[is_async]
            cls = class_named(module, name)
            if cls is None and entrance.is_optional:
                continue
            for point in entrance.points:
                method = getattr(cls, point.name, None)
                positions = _positions(method)
                if callable(method) and cls and positions.keys() >= set(point.parameters):
                    found.append(FoundEntryPoint(cls, is_async, entrance, point, positions))
                else:
                    missing.append(f"{module}.{name}.{point.name}({', '.join(point.parameters)})")
    for each in missing:
        warn_of_loss(each, loss)
    return [] if missing else found


def _positions(method: Any) -> dict[str, int]:
    if not callable(method):
        return {}
    names = list(inspect.signature(method).parameters)[1:]
    return {name: position for position, name in enumerate(names)}
