"""Work: all that an application may do, and much of what can go wrong."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import local_mongodb
import pymongo
import pytest
from client_kinds import documents, next_document, settle
from opentelemetry.sdk.trace import SpanProcessor
from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client_kinds import ClientKind
    from in_memory import InMemoryTelemetry
    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.sdk.trace import ReadableSpan, Span

    Attributes = Mapping[str, Any]

# By this name mongod knows whose commands are to fail.
APPLICATION = "semconv"
# Values that clients send, and that are nobody else's business.
SECRETS = ("watched", "alice", "secret", "nobody", "wrong")


class AtCreation(SpanProcessor):
    """Remembers what samplers see of each span."""

    def __init__(self) -> None:
        self.attributes: dict[int, Attributes] = {}

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.attributes[span.context.span_id] = dict(span.attributes or {})


@dataclass(frozen=True)
class Emitted:
    """All spans and metrics of a run."""

    spans: tuple[ReadableSpan, ...]
    at_creation: Mapping[int, Attributes]
    metrics: list[Metric]

    def not_named(self, names: set[str]) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name not in names]

    def named(self, names: set[str]) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name in names]


class Work:
    """All that an application may do, and much of what can go wrong.

    Args:
        kind: The kind of client it uses.
        uri: Where the servers are.
        control: A client that is not seen.
        telemetry: What the others are seen with.
    """

    def __init__(
        self, kind: ClientKind, uri: str, control: Any, telemetry: InMemoryTelemetry
    ) -> None:
        self._kind = kind
        self._uri = uri
        self._control = control
        self._telemetry = telemetry
        self.metrics: list[Metric] = []

    async def do(self) -> None:
        with self._telemetry.tracer.start_as_current_span("request"):
            async with self._client() as client:
                await self._write(client.semconv.users)
                await self._read(client.semconv.users)
                await self._fail(client.semconv.users)
                await self._administer(client)
                await self._transact(client)
                await self._watch(client.semconv.users)
                await self._lose_connections(client)
                await self._wait_in_vain()
                # Now, as a closed client observes nothing.
                self.metrics = self._telemetry.collected()

    @contextlib.asynccontextmanager
    async def _client(self, uri: str | None = None, **options: Any) -> Any:
        client = self._kind.make(uri or self._uri, appname=APPLICATION, **options)
        try:
            yield client
        finally:
            await settle(client.close())

    async def _write(self, users: Any) -> None:
        await settle(users.insert_many([{"_id": each, "x": each} for each in range(100)]))
        await settle(users.insert_one({"_id": 100}))
        await settle(users.update_one({"_id": 1}, {"$set": {"x": 0}}))
        await settle(users.update_many({"x": 1}, {"$set": {"x": 0}}))
        await settle(users.replace_one({"_id": 2}, {"x": 2}, upsert=True))
        await settle(users.delete_one({"_id": 3}))
        await settle(users.delete_many({"_id": {"$in": [4, 5]}}))
        await settle(users.find_one_and_update({"_id": 6}, {"$inc": {"x": 1}}))
        await settle(
            users.bulk_write(
                [
                    pymongo.InsertOne({"_id": 3}),
                    pymongo.UpdateOne({"_id": 3}, {"$set": {"x": 3}}),
                    pymongo.UpdateOne({"_id": 6}, {"$set": {"x": 3}}),
                    pymongo.DeleteOne({"_id": 7}),
                    pymongo.DeleteMany({"_id": 8}),
                ]
            )
        )
        unacknowledged = users.with_options(write_concern=pymongo.WriteConcern(w=0))
        await settle(unacknowledged.insert_one({"_id": 101}))

    async def _read(self, users: Any) -> None:
        await settle(users.find_one({"_id": 1}))
        await documents(users.find({}, batch_size=40))
        await documents(users.find_raw_batches({}, batch_size=40))
        await documents(await settle(users.aggregate([{"$match": {}}], batchSize=40)))
        stages = [{"$documents": [{"x": x} for x in range(9)]}]
        await documents(await settle(users.database.aggregate(stages, batchSize=3)))
        await settle(users.count_documents({}))
        await settle(users.estimated_document_count())
        await settle(users.distinct("x"))
        unfinished = users.find({}, batch_size=2)
        await next_document(unfinished)
        await settle(unfinished.close())

    async def _fail(self, users: Any) -> None:
        impatient = users.with_options(write_concern=pymongo.WriteConcern(w=7, wtimeout=50))
        twice = [pymongo.InsertOne({"_id": 1}), pymongo.InsertOne({"_id": 1})]
        for call in (
            lambda: users.insert_one({"_id": 1}),
            lambda: users.bulk_write(twice, ordered=False),
            lambda: users.find_one({"$nonsense": 1}),
            lambda: users.find_one({"$where": "sleep(1000) || true"}, max_time_ms=10),
            lambda: users.database.command("nonsense"),
            lambda: users.rename("users"),
            lambda: impatient.insert_one({}),
        ):
            with pytest.raises(PyMongoError):
                await settle(call())

    async def _administer(self, client: Any) -> None:
        database = client.semconv
        await settle(client.admin.command("ping"))
        await settle(client.admin.command("hello"))
        await settle(database.command("dbStats"))
        await settle(database.command("createUser", "alice", pwd="secret", roles=[]))
        await settle(database.command("dropUser", "alice"))
        await settle(database.create_collection("people"))
        await settle(database.people.create_index("name"))
        await documents(await settle(database.people.list_indexes()))
        await settle(database.people.drop_indexes())
        await settle(database.people.rename("persons"))
        await settle(database.drop_collection("persons"))
        await settle(database.command("explain", {"find": "users", "filter": {}}))
        await settle(database.list_collection_names())
        await settle(client.list_database_names())

    async def _transact(self, client: Any) -> None:
        users = client.semconv.users
        session = await settle(client.start_session())
        for end in (session.commit_transaction, session.abort_transaction):
            await settle(session.start_transaction())
            await settle(users.update_one({"_id": 1}, {"$inc": {"x": 1}}, session=session))
            await settle(end())
        await settle(session.end_session())

    async def _watch(self, users: Any) -> None:
        stream = await settle(users.watch(max_await_time_ms=50))
        await settle(stream.try_next())
        await settle(users.insert_one({"_id": "watched"}))
        await next_document(stream)
        await settle(stream.close())

    async def _lose_connections(self, client: Any) -> None:
        """Retry what failed: on this connection or, with an outage until then, on another."""
        users = client.semconv.users
        self._fail_once("update", errorCode=89, errorLabels=["RetryableWriteError"])
        await settle(users.bulk_write([pymongo.UpdateOne({"_id": 1}, {"$inc": {"x": 1}})]))
        self._fail_once("find", closeConnection=True)
        await settle(users.find_one({"_id": 1}))
        await settle(users.delete_one({"_id": "watched"}))

    def _fail_once(self, command: str, **failure: Any) -> None:
        self._control.admin.command(
            *("configureFailPoint", "failCommand"),
            mode={"times": 1},
            data={"failCommands": [command], "appName": APPLICATION, **failure},
        )

    async def _wait_in_vain(self) -> None:
        """Fail before any command is sent: for want of a server, a connection, a password."""
        nowhere = f"mongodb://{local_mongodb.HOST}:{local_mongodb.free_port()}"
        async with self._client(nowhere, serverSelectionTimeoutMS=100) as client:
            with pytest.raises(PyMongoError):
                await settle(client.semconv.users.find_one({}))
        async with self._client(maxPoolSize=1, waitQueueTimeoutMS=50, retryReads=False) as client:
            users = client.semconv.users
            holding = users.find({}, cursor_type=pymongo.CursorType.EXHAUST, batch_size=2)
            await next_document(holding)
            with pytest.raises(PyMongoError):
                await settle(users.find_one({}))
            await settle(holding.close())
        async with self._client(username="nobody", password="wrong") as client:
            with pytest.raises(PyMongoError):
                await settle(client.semconv.users.find_one({}))
