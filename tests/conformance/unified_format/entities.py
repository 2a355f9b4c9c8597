"""Entities: the clients, databases, collections, sessions and cursors that a case names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from client_kinds import documents, next_document, settle
from pymongo import ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from .errors import UnsupportedError, check_known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from client_kinds import ClientKind

    # Makes a client that is observed, with these tracing options.
    Observe = Callable[[Mapping[str, Any], Callable[[], Any]], Any]

CLIENT_KEYS = {"id", "uriOptions", "useMultipleMongoses", "observeTracingMessages"}
DATABASE_KEYS = {"id", "client", "databaseName", "databaseOptions"}
COLLECTION_KEYS = {"id", "database", "collectionName", "collectionOptions"}
SESSION_KEYS = {"id", "client"}
TRACING_KEYS = {"enableCommandPayload"}
READ_PREFERENCES = {
    "primary": ReadPreference.PRIMARY,
    "primaryPreferred": ReadPreference.PRIMARY_PREFERRED,
    "secondary": ReadPreference.SECONDARY,
    "secondaryPreferred": ReadPreference.SECONDARY_PREFERRED,
    "nearest": ReadPreference.NEAREST,
}


class OpenCursor:
    """A cursor that has been opened, and of which nothing has been lost by that."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._ahead: list[Any] = []

    async def open(self) -> OpenCursor:
        """Send the command, which a cursor of PyMongo's does when its first document is asked."""
        with contextlib.suppress(StopAsyncIteration):
            self._ahead.append(await next_document(self._cursor))
        return self

    async def next(self) -> Any:
        return self._ahead.pop() if self._ahead else await next_document(self._cursor)

    async def rest(self) -> list[Any]:
        return [*self._ahead, *await documents(self._cursor)]

    async def close(self) -> None:
        await settle(self._cursor.close())


class Entities:
    """The entities of one case.

    Args:
        kind: The kind of clients to make.
        uri: Where the servers are.
        observe: Makes the client that is to be observed.
        cluster_time: The time until which sessions are to see what happened.
    """

    def __init__(
        self, kind: ClientKind, uri: str, observe: Observe, cluster_time: Mapping[str, Any] | None
    ) -> None:
        self.kind = kind
        self._uri = uri
        self._observe = observe
        self._cluster_time = cluster_time
        self._entities: dict[str, tuple[str, Any]] = {}
        self.session_ids: dict[str, Mapping[str, Any]] = {}
        self.observed: str | None = None

    async def create(self, descriptions: Iterable[Mapping[str, Any]]) -> None:
        """Create entities; the observed client last of the clients, so that no other is seen."""
        described = [next(iter(description.items())) for description in descriptions]
        clients = [each for kind, each in described if kind == "client"]
        for each in sorted(clients, key=lambda each: "observeTracingMessages" in each):
            self._create_client(each)
        for kind, each in described:
            if kind != "client":
                await self._create(kind, each)

    def kind_of(self, name: str) -> str:
        return self._entity(name)[0]

    def __getitem__(self, name: str) -> Any:
        return self._entity(name)[1]

    def add(self, kind: str, name: str, entity: Any) -> None:
        if name in self._entities:
            message = f"There are two entities named {name}"
            raise AssertionError(message)
        self._entities[name] = kind, entity

    async def close(self) -> None:
        """End sessions before the clients that they are of."""
        for wanted, close in (("cursor", "close"), ("session", "end_session"), ("client", "close")):
            for kind, entity in self._entities.values():
                if kind == wanted:
                    await settle(getattr(entity, close)())

    def _entity(self, name: str) -> tuple[str, Any]:
        if name not in self._entities:
            raise UnsupportedError(name, "entity")
        return self._entities[name]

    def _create_client(self, client: Mapping[str, Any]) -> None:
        check_known(client, CLIENT_KEYS, "key of client")

        def make() -> Any:
            return self.kind.make(self._uri, **client.get("uriOptions", {}))

        tracing = client.get("observeTracingMessages")
        if tracing is None:
            self.add("client", client["id"], make())
            return
        check_known(tracing, TRACING_KEYS, "key of observeTracingMessages")
        if self.observed:
            raise UnsupportedError(client["id"], "second observed client")
        self.observed = client["id"]
        self.add("client", client["id"], self._observe(tracing, make))

    async def _create(self, kind: str, description: Mapping[str, Any]) -> None:
        match kind:
            case "database":
                self._create_database(description)
            case "collection":
                self._create_collection(description)
            case "session":
                await self._create_session(description)
            case _:
                raise UnsupportedError(kind, "kind of entity")

    def _create_database(self, database: Mapping[str, Any]) -> None:
        check_known(database, DATABASE_KEYS, "key of database")
        client = self[database["client"]]
        options = concerns(database.get("databaseOptions", {}))
        made = client.get_database(database["databaseName"], **options)
        self.add("database", database["id"], made)

    def _create_collection(self, collection: Mapping[str, Any]) -> None:
        check_known(collection, COLLECTION_KEYS, "key of collection")
        database = self[collection["database"]]
        options = concerns(collection.get("collectionOptions", {}))
        made = database.get_collection(collection["collectionName"], **options)
        self.add("collection", collection["id"], made)

    async def _create_session(self, session: Mapping[str, Any]) -> None:
        check_known(session, SESSION_KEYS, "key of session")
        made = await settle(self[session["client"]].start_session())
        if self._cluster_time:  # Else it might not see what the case begins with.
            made.advance_cluster_time(self._cluster_time)
        self.add("session", session["id"], made)
        self.session_ids[session["id"]] = made.session_id


def concerns(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read and write concern and read preference, as PyMongo has them."""
    made: dict[str, Any] = {}
    for name, value in options.items():
        match name:
            case "readConcern":
                made["read_concern"] = ReadConcern(value["level"])
            case "writeConcern":
                made["write_concern"] = write_concern(value)
            case "readPreference":
                check_known(value, {"mode"}, f"key of {name}")
                made["read_preference"] = READ_PREFERENCES[value["mode"]]
            case _:
                raise UnsupportedError(name, "option")
    return made


def write_concern(value: Mapping[str, Any]) -> WriteConcern:
    check_known(value, {"w", "journal", "wtimeoutMS"}, "key of writeConcern")
    return WriteConcern(value.get("w"), value.get("wtimeoutMS"), value.get("journal"))
