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
    # The value of a function's parameter, by its name; none if it was not given.
    from collections.abc import Callable, Iterable, Mapping

    Argument = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A function that calls of the API go through.

    Args:
        name: Its name.
        parameters: Those that it must have.
        call: From what it is a method of and its arguments to the call.
        gives_connection: Whether it only gives a connection, with which the call is then made.
    """

    name: str
    parameters: tuple[str, ...]
    call: Callable[[Any, Argument], ApiCall]
    gives_connection: bool = False


@dataclass(frozen=True, slots=True)
class Entrance:
    """A class that has such functions.

    Args:
        module: Where it is, in either of PyMongo's packages.
        names: What it is called, synchronous and asynchronous.
        client: From one of it to its client.
        points: The functions.
        is_optional: Whether there are versions of PyMongo without it.
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
        entrance: What is known of its class.
        point: What is known of it.
        positions: Where its parameters stand, by their names.
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
        """Whether it only gives a connection, with which the call is then made."""
        return self.point.gives_connection

    def client(self, owner: Any) -> Any:
        """The client of what it is a method of."""
        return self.entrance.client(owner)

    def call(self, owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ApiCall:
        """The call that it is made for."""

        def argument(name: str) -> Any:
            position = self.positions[name]
            return args[position] if position < len(args) else kwargs.get(name)

        return self.point.call(owner, argument)


# What all commands are sent through, each call by one of them. It is the innermost that costs
# least to wrap: it has no parameters.
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
    """All entry points; none, with a warning, if one is missing: half of them would confuse."""
    return _found(ENTRANCES, "operations have no spans")


def found_senders() -> list[FoundEntryPoint]:
    """What all commands are sent through; nothing, with a warning, if a part of it is missing."""
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
