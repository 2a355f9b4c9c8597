"""The spans of MongoDB's own convention: one for each call of the API, whatever it takes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from contextlib import suppress
from enum import Enum

import pymongo
import pytest
from bson.codec_options import CodecOptions
from local_mongodb import eventually, free_port
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.encryption import Algorithm, ClientEncryption
from pymongo.errors import (
    BulkWriteError,
    DuplicateKeyError,
    InvalidOperation,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)
from pymongo.monitoring import CommandListener
from span_tree import parent, tree
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client

pytestmark = pytest.mark.usefixtures("shop")

NO_WAITS = 60.0


@pytest.fixture
def telemetry_of_operations(telemetry):
    MongoInstrumentor().instrument(
        span_convention="mongodb",
        wait_span_threshold=NO_WAITS,
        events="none",
        **telemetry.providers,
    )
    return telemetry


@pytest.fixture
def client(telemetry_of_operations, mongodb_uri):
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.insert_many([{"_id": number, "name": "alice"} for number in range(5)])
        telemetry_of_operations.forget()
        yield client


# Calls of the API on a database and its collection, and what is to be seen of them.
CALLS = {
    "insert_one": (lambda db, c: c.insert_one({"_id": 7}), {"insert shop.users": ["insert"]}),
    "insert_many": (lambda db, c: c.insert_many([{}, {}]), {"insert shop.users": ["insert"]}),
    "update_one": (
        lambda db, c: c.update_one({}, {"$set": {"x": 1}}),
        {"update shop.users": ["update"]},
    ),
    "update_many": (
        lambda db, c: c.update_many({}, {"$set": {"x": 1}}),
        {"update shop.users": ["update"]},
    ),
    "replace_one": (lambda db, c: c.replace_one({}, {}), {"update shop.users": ["update"]}),
    "delete_one": (lambda db, c: c.delete_one({}), {"delete shop.users": ["delete"]}),
    "delete_many": (lambda db, c: c.delete_many({}), {"delete shop.users": ["delete"]}),
    "find_one_and_update": (
        lambda db, c: c.find_one_and_update({}, {"$set": {"x": 1}}),
        {"findAndModify shop.users": ["findAndModify"]},
    ),
    "find_one_and_delete": (
        lambda db, c: c.find_one_and_delete({}),
        {"findAndModify shop.users": ["findAndModify"]},
    ),
    "bulk_write of one kind": (
        lambda db, c: c.bulk_write([pymongo.UpdateOne({}, {"$set": {"x": 1}})] * 2),
        {"update shop.users": ["update"]},
    ),
    "bulk_write of several kinds": (
        lambda db, c: c.bulk_write([pymongo.InsertOne({"_id": 9}), pymongo.DeleteOne({"_id": 9})]),
        {"bulkWrite shop.users": ["insert", "delete"]},
    ),
    "unacknowledged insert_one": (
        lambda db, c: c.with_options(write_concern=pymongo.WriteConcern(w=0)).insert_one({}),
        {"insert shop.users": ["insert"]},
    ),
    "unacknowledged bulk_write": (
        lambda db, c: c.with_options(write_concern=pymongo.WriteConcern(w=0)).bulk_write(
            [pymongo.InsertOne({}), pymongo.DeleteOne({"_id": 9})]
        ),
        {"bulkWrite shop.users": ["insert", "delete"]},
    ),
    "find": (lambda db, c: c.find({}), {"find shop.users": ["find"]}),
    "find_one": (lambda db, c: c.find_one({}), {"find shop.users": ["find"]}),
    "find_raw_batches": (lambda db, c: c.find_raw_batches({}), {"find shop.users": ["find"]}),
    "count_documents": (
        lambda db, c: c.count_documents({}),
        {"count shop.users": ["aggregate"]},
    ),
    "estimated_document_count": (
        lambda db, c: c.estimated_document_count(),
        {"count shop.users": ["count"]},
    ),
    "distinct": (lambda db, c: c.distinct("name"), {"distinct shop.users": ["distinct"]}),
    "aggregate": (lambda db, c: c.aggregate([]), {"aggregate shop.users": ["aggregate"]}),
    "aggregate of a database": (
        lambda db, c: db.client.admin.aggregate([{"$currentOp": {}}]),
        {"aggregate admin": ["aggregate"]},
    ),
    "create_index": (
        lambda db, c: c.create_index("name"),
        {"createIndexes shop.users": ["createIndexes"]},
    ),
    "drop_indexes": (
        lambda db, c: c.drop_indexes(),
        {"dropIndexes shop.users": ["dropIndexes"]},
    ),
    "list_indexes": (lambda db, c: c.list_indexes(), {"listIndexes shop.users": ["listIndexes"]}),
    "index_information": (
        lambda db, c: c.index_information(),
        {"listIndexes shop.users": ["listIndexes"]},
    ),
    "options": (lambda db, c: c.options(), {"listCollections shop": ["listCollections"]}),
    "rename": (
        lambda db, c: c.rename("people"),
        {"renameCollection shop.users": ["renameCollection"]},
    ),
    "drop": (lambda db, c: c.drop(), {"dropCollection shop.users": ["drop"]}),
    "drop_collection": (
        lambda db, c: db.drop_collection("people"),
        {"dropCollection shop.people": ["drop"]},
    ),
    "create_collection": (
        lambda db, c: db.create_collection("people"),
        {"createCollection shop.people": ["listCollections", "create"]},
    ),
    "create_collection unchecked": (
        lambda db, c: db.create_collection("people", check_exists=False),
        {"createCollection shop.people": ["create"]},
    ),
    "list_collection_names": (
        lambda db, c: db.list_collection_names(),
        {"listCollections shop": ["listCollections"]},
    ),
    "list_collections": (
        lambda db, c: db.list_collections(),
        {"listCollections shop": ["listCollections"]},
    ),
    "list_database_names": (
        lambda db, c: db.client.list_database_names(),
        {"listDatabases admin": ["listDatabases"]},
    ),
    "drop_database": (
        lambda db, c: db.client.drop_database("shop"),
        {"dropDatabase shop": ["dropDatabase"]},
    ),
    "command": (lambda db, c: db.command("ping"), {"runCommand shop": ["ping"]}),
    "command to a collection": (
        lambda db, c: db.command({"collStats": "users"}),
        {"runCommand shop.users": ["collStats"]},
    ),
    "command to a collection by name": (
        lambda db, c: db.command("count", "users"),
        {"runCommand shop.users": ["count"]},
    ),
    "command that names no collection": (
        lambda db, c: db.command("usersInfo", "alice"),
        {"runCommand shop": ["usersInfo"]},
    ),
    "cursor_command": (
        lambda db, c: db.cursor_command({"find": "users"}),
        {"runCommand shop.users": ["find"]},
    ),
    "cursor_command by name": (
        lambda db, c: db.cursor_command("listCollections"),
        {"runCommand shop": ["listCollections"]},
    ),
}
# What a call begins with, or Motor lacks.
NOT_OF_MOTOR = {"cursor_command", "cursor_command by name"}


@pytest.mark.parametrize("call", CALLS)
def test_calls(client, telemetry, call):
    """A call of the API is one operation, named as MongoDB's drivers name it."""
    make, expected = CALLS[call]
    with suppress(TypeError):  # What is no cursor need not be read.
        list(make(client.shop, client.shop.users))

    assert tree(telemetry.spans) == [expected]


@needs_async
@pytest.mark.parametrize("call", CALLS)
async def test_calls_async(telemetry_of_operations, mongodb_uri, call):
    """A call of the asynchronous API is one operation, too."""
    make, expected = CALLS[call]
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:
        await client.shop.users.insert_many([{"_id": number} for number in range(5)])
        telemetry_of_operations.forget()
        await made(make(client.shop, client.shop.users))

        assert tree(telemetry_of_operations.spans) == [expected]


@pytest.mark.parametrize("call", [call for call in CALLS if call not in NOT_OF_MOTOR])
async def test_calls_motor(telemetry_of_operations, mongodb_uri, call):
    """So is one of Motor's."""
    motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    make, expected = CALLS[call]
    client = motor.AsyncIOMotorClient(mongodb_uri)
    await client.shop.users.insert_many([{"_id": number} for number in range(5)])
    telemetry_of_operations.forget()
    await made(make(client.shop, client.shop.users))

    seen = tree(telemetry_of_operations.spans)
    client.close()
    # Motor may have been imported before, with the methods of PyMongo that it takes.
    assert seen == [expected] or call in {"create_collection", "drop_database"}


async def made(thing):
    thing = await thing if inspect.isawaitable(thing) else thing
    if hasattr(type(thing), "to_list"):
        await thing.to_list(None)
    elif hasattr(type(thing), "__aiter__"):
        async for _ in thing:
            pass


def test_attributes(client, telemetry):
    """An operation's span tells where it goes, a command's how it went there."""
    client.shop.users.insert_one({"_id": 99})
    operation, command = sorted(telemetry.spans, key=lambda span: span.start_time)
    host, port = client.address

    assert (operation.kind, command.kind) == (SpanKind.CLIENT, SpanKind.CLIENT)
    assert operation.attributes == {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "db.operation.name": "insert",
        "db.operation.summary": "insert shop.users",
    }
    attributes = dict(command.attributes)
    session_id = attributes.pop("db.mongodb.lsid")
    assert len(session_id) == len("00000000-0000-4000-8000-000000000000")
    assert isinstance(attributes.pop("db.mongodb.server_connection_id"), int)
    assert attributes == {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "db.command.name": "insert",
        "db.query.summary": "insert shop.users",
        "db.mongodb.driver_connection_id": attributes["db.mongodb.driver_connection_id"],
        "db.mongodb.txn_number": attributes["db.mongodb.txn_number"],
        "network.transport": "tcp",
        "server.address": host,
        "server.port": port,
    }


class Names(str, Enum):
    """Names as applications keep them."""

    SHOP = "shop"
    USERS = "users"
    PING = "ping"


@pytest.mark.parametrize(
    ("call", "summary"),
    [
        (lambda client: client[Names.SHOP][Names.USERS].find_one(), "find shop.users"),
        (lambda client: client[Names.SHOP][Names.USERS].insert_one({}), "insert shop.users"),
        (
            lambda client: client[Names.SHOP].drop_collection(Names.USERS),
            "dropCollection shop.users",
        ),
        (lambda client: client[Names.SHOP].command(Names.PING), "runCommand shop"),
        (lambda client: client.drop_database(Names.SHOP), "dropDatabase shop"),
    ],
)
def test_members_of_an_enumeration(client, telemetry, call, summary):
    """A name that is a member of an enumeration is told by its value."""
    call(client)

    (operation,) = (span for span in telemetry.spans if "db.operation.summary" in span.attributes)
    assert operation.name == operation.attributes["db.operation.summary"] == summary
    values = [value for span in telemetry.spans for value in span.attributes.values()]
    assert {type(value) for value in values if isinstance(value, str)} == {str}
    assert not any("Names" in str(value) for value in values)


@pytest.mark.parametrize(
    ("database", "collection", "summary"),
    [
        ("shop", "users\ud800", "find shop.users?"),
        ("shop\ud800", "users", "find shop?.users"),
        ("shop", "us\u00e9rs", "find shop.us\u00e9rs"),
    ],
)
def test_names_that_cannot_be_encoded(client, telemetry, database, collection, summary):
    """A name that PyMongo cannot send is told so that an exporter can send it."""
    with suppress(UnicodeEncodeError):
        client[database][collection].find_one()

    assert telemetry.named(summary)
    texts = [text for span in telemetry.spans for text in (span.name, *span.attributes.values())]
    assert all(str(text).encode() for text in texts)


@pytest.mark.parametrize("odd", ["alice", {"a": "alice"}, ["alice"]])
@pytest.mark.parametrize(
    "command",
    [
        lambda odd: {"getMore": odd, "collection": "users"},
        lambda odd: {"ping": 1, "txnNumber": odd},
    ],
)
def test_numbers_that_are_none(client, telemetry, command, odd):
    """What the application writes in the place of a number is not told as one."""
    with pytest.raises(OperationFailure):
        client.shop.command(command(odd))

    assert len(telemetry.spans) == 2
    assert not any("alice" in span.to_json() for span in telemetry.spans)


def test_metrics_are_the_same(client, telemetry):
    """The convention changes spans; metrics have the names that they always have."""
    client.shop.users.insert_one({"_id": 99})
    host, port = client.address

    assert {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "db.operation.name": "insert",
        "server.address": host,
        "server.port": port,
        "network.peer.address": host,
        "network.peer.port": port,
    } in [point.attributes for point in telemetry.points("db.client.operation.duration")]


def test_each_batch_that_is_asked_for(client, telemetry):
    """Each getMore that the caller's iteration asks for is an operation beside the find."""
    with telemetry.tracer.start_as_current_span("request"):
        documents = list(client.shop.users.find({}, batch_size=2))

    assert len(documents) == 5
    get_more = {"getMore shop.users": ["getMore"]}
    assert tree(telemetry.spans) == [
        {"request": [{"find shop.users": ["find"]}, get_more, get_more]}
    ]
    cursors = {
        span.name: span.attributes["db.mongodb.cursor_id"]
        for span in telemetry.spans
        if span.name != "request"
    }
    assert cursors.keys() == {"find", "find shop.users", "getMore", "getMore shop.users"}
    assert len(set(cursors.values())) == 1


def test_a_cursor_that_is_read_at_once(client, telemetry):
    """A cursor whose first batch is all has no ID to be told."""
    list(client.shop.users.find({}))

    assert not any("db.mongodb.cursor_id" in span.attributes for span in telemetry.spans)


def test_batches_that_the_driver_asks_for(client, telemetry):
    """What the driver sends inside of a call belongs to that call."""
    for name in "abcd":
        client.shop.create_collection(name, check_exists=False)
    telemetry.forget()
    names = client.shop.list_collection_names(cursor={"batchSize": 2})

    assert sorted(names) == ["a", "b", "c", "d", "users"]
    assert tree(telemetry.spans) == [{"listCollections shop": ["listCollections", "getMore"]}]


def test_a_closed_cursor(client, telemetry):
    """To kill a cursor is an operation; in the background it is nobody's."""
    cursor = client.shop.users.find({}, batch_size=2)
    with telemetry.tracer.start_as_current_span("request"):
        next(cursor)
        cursor.close()
    in_request = tree(telemetry.spans)
    telemetry.forget()
    with telemetry.tracer.start_as_current_span("request"):
        next(client.shop.users.find({}, batch_size=2))
        gc.collect()
    eventually(lambda: telemetry.named("killCursors"), "the cursor to be killed")

    kill = {"killCursors shop.users": ["killCursors"]}
    find = {"find shop.users": ["find"]}
    assert in_request == [{"request": [find, kill]}]
    assert tree(telemetry.spans) == [{"request": [find]}, kill]


def test_close(telemetry_of_operations, mongodb_uri):
    """The end of a client's sessions is an operation of its own."""
    client = pymongo.MongoClient(mongodb_uri)
    client.admin.command("ping")
    telemetry_of_operations.forget()
    client.close()

    assert tree(telemetry_of_operations.spans) == [{"endSessions admin": ["endSessions"]}]


def test_an_idle_change_stream(client, telemetry):
    """A getMore of a change stream for which nothing comes is an operation like others."""
    users = client.shop.users
    with users.watch(max_await_time_ms=50) as stream:
        assert stream.try_next() is None
        assert stream.try_next() is None
        idle = tree(telemetry.spans)

    get_more = {"getMore shop.users": ["getMore"]}
    assert idle == [{"aggregate shop.users": ["aggregate"]}, get_more, get_more]


def test_a_sensitive_command(client, telemetry):
    """A call whose only command is not to be seen is seen itself, without anything of it."""
    client.shop.command("createUser", "alice", pwd="secret", roles=[])
    client.shop.command("dropUser", "alice")

    assert tree(telemetry.spans) == ["runCommand shop", {"runCommand shop": ["dropUser"]}]
    assert "alice" not in str(
        [dict(span.attributes) for span in telemetry.named("runCommand shop")]
    )


class EmptyError(LookupError):
    """An exception of an application's that has a length, of 0."""

    def __len__(self):
        return 0


class TestFailures:
    """One ERROR span for the call, whatever it was that failed."""

    @staticmethod
    def failed(telemetry, name):
        (span,) = telemetry.named(name)
        assert span.status.status_code is StatusCode.ERROR
        assert "error.type" not in span.attributes
        return span

    def test_server(self, client, telemetry):
        """What the server refuses is told, but not a value of it."""
        with pytest.raises(DuplicateKeyError):
            client.shop.users.insert_one({"_id": 1, "name": "alice"})

        span = self.failed(telemetry, "insert shop.users")
        assert span.attributes["exception.type"] == "pymongo.errors.DuplicateKeyError"
        assert span.attributes["exception.message"] == span.status.description
        stacktrace = span.attributes["exception.stacktrace"]
        assert stacktrace.endswith("pymongo.errors.DuplicateKeyError\n")
        assert "dup key" not in str(dict(span.attributes))
        (command,) = telemetry.named("insert")
        assert command.attributes["error.type"] == "11000"
        assert command.attributes["db.response.status_code"] == "11000"

    def test_command(self, client, telemetry):
        """The exception of a command is on the command's span, too."""
        with pytest.raises(OperationFailure):
            client.shop.command("noSuchCommand")

        self.failed(telemetry, "runCommand shop")
        (command,) = telemetry.named("noSuchCommand")
        assert command.attributes["exception.type"] == "pymongo.errors.OperationFailure"
        assert command.attributes["exception.message"] == "CommandNotFound"
        assert command.attributes["exception.stacktrace"].startswith("Traceback ")
        assert command.attributes["error.type"] == "59"

    def test_messages(self, telemetry, mongodb_uri):
        """Those who ask for messages get them."""
        MongoInstrumentor().instrument(
            span_convention="mongodb", error_messages=True, **telemetry.providers
        )
        with pymongo.MongoClient(mongodb_uri) as client, pytest.raises(OperationFailure) as raised:
            client.shop.command("noSuchCommand")

        span = self.failed(telemetry, "runCommand shop")
        assert span.attributes["exception.message"] == str(raised.value)
        assert str(raised.value) in span.attributes["exception.stacktrace"]

    def test_bulk_write(self, client, telemetry):
        """A bulk write that fails in part has failed, though the server called it a success."""
        with pytest.raises(BulkWriteError):
            client.shop.users.insert_many([{"_id": 50}, {"_id": 1}])

        span = self.failed(telemetry, "insert shop.users")
        assert span.attributes["exception.type"] == "pymongo.errors.BulkWriteError"

    def test_encoding(self, client, telemetry):
        """A document that cannot be sent has a span without a command."""
        with pytest.raises(Exception, match="cannot encode"):
            client.shop.users.insert_one({"secret": object()})

        span = self.failed(telemetry, "insert shop.users")
        assert tree(telemetry.spans) == ["insert shop.users"]
        assert "secret" not in str(dict(span.attributes))

    @pytest.mark.parametrize(
        "call", ["insert_one", "find_one", "create_index", "command", "options"]
    )
    def test_selection(self, telemetry_of_operations, call):
        """That there is no server is told where the call goes, with the wait inside of it."""
        make, expected = CALLS[call]
        uri = f"mongodb://localhost:{free_port()}"
        client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=50)
        with client, pytest.raises(ServerSelectionTimeoutError):
            make(client.shop, client.shop.users)

        (name,) = expected
        assert tree(telemetry_of_operations.spans) == [{name: ["select server"]}]
        assert self.failed(telemetry_of_operations, name).attributes["db.namespace"] == "shop"

    def test_check_out(self, telemetry_of_operations, mongodb_uri):
        """That there is no connection in time is told inside of the operation."""
        with pymongo.MongoClient(mongodb_uri, maxPoolSize=1, waitQueueTimeoutMS=50) as client:
            client.shop.users.insert_many([{} for _ in range(5)])
            cursor = client.shop.users.find(
                {}, batch_size=2, cursor_type=pymongo.CursorType.EXHAUST
            )
            next(cursor)
            telemetry_of_operations.forget()
            with pytest.raises(WaitQueueTimeoutError):
                client.shop.users.insert_one({})
            failed = [span for span in telemetry_of_operations.spans if "getMore" not in span.name]

        assert tree(failed)[0].keys() == {"insert shop.users"}
        (operation,) = [span for span in failed if span.name == "insert shop.users"]
        assert operation.status.status_code is StatusCode.ERROR
        assert set(tree(failed)[0]["insert shop.users"]) == {"check out connection"}

    @needs_async
    async def test_cancellation(self, telemetry_of_operations, mongodb_uri):
        """A call whose task is cancelled has failed."""
        async with pymongo.AsyncMongoClient(mongodb_uri) as client:
            await client.shop.users.insert_one({"_id": 1})
            telemetry_of_operations.forget()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    client.shop.users.find_one({"$where": "sleep(2000) || true"}), 0.2
                )

            span = self.failed(telemetry_of_operations, "find shop.users")
            assert span.attributes["exception.type"] == "asyncio.exceptions.CancelledError"
            assert tree(telemetry_of_operations.spans) == [{"find shop.users": ["find"]}]

    def test_interrupt(self, telemetry_of_operations, mongodb_uri):
        """So has one that is interrupted."""
        with pymongo.MongoClient(mongodb_uri, event_listeners=[Interrupting()]) as client:
            client.admin.command("ping")
            telemetry_of_operations.forget()
            with pytest.raises(KeyboardInterrupt):
                client.shop.users.insert_one({})

        span = self.failed(telemetry_of_operations, "insert shop.users")
        assert span.attributes["exception.type"] == "KeyboardInterrupt"


class Interrupting(CommandListener):
    """Interrupts the inserts of a client, as a signal would, when they are about to be sent."""

    def started(self, event):
        if event.command_name == "insert":
            raise KeyboardInterrupt

    def succeeded(self, event):
        pass

    failed = succeeded


def test_attempts(client, telemetry, mongodb_uri):
    """All attempts at a call are inside of its one span, which ends well if one of them does."""
    # NetworkTimeout: unlike ShutdownInProgress, it does not make the retry wait for a heartbeat.
    point = {"failCommands": ["find"], "errorCode": 89, "errorLabels": ["RetryableWriteError"]}
    with pymongo.MongoClient(
        mongodb_uri, event_listeners=event_listeners(command_spans=False)
    ) as control:
        control.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=point)
    telemetry.forget()
    client.shop.users.find_one({"_id": 1})

    finds = [span for span in telemetry.spans if span.name.startswith("find")]
    assert tree(finds) == [{"find shop.users": ["find", "find"]}]
    first, second, operation = finds
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is operation.status.status_code is StatusCode.UNSET


def test_slow_waits(telemetry, mongodb_uri):
    """Waits are inside of the operation that waited."""
    MongoInstrumentor().instrument(
        span_convention="mongodb", wait_span_threshold=0, events="none", **telemetry.providers
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.insert_one({})

        assert tree(telemetry.spans) == [
            {"insert shop.users": ["select server", "check out connection", "insert"]}
        ]


class TestTransactions:
    def test_commit(self, client, telemetry):
        """What is done in a transaction is inside of its span, what others do is not."""
        with client.start_session() as session, session.start_transaction():
            client.shop.users.insert_one({"_id": 60}, session=session)
            client.shop.users.find_one({"_id": 1})

        insert, find = {"insert shop.users": ["insert"]}, {"find shop.users": ["find"]}
        commit = {"commitTransaction admin": ["commitTransaction"]}
        assert tree(telemetry.spans) == [{"transaction": [insert, commit]}, find]
        (transaction,) = telemetry.named("transaction")
        assert transaction.attributes == {"db.system.name": "mongodb"}
        assert transaction.status.status_code is StatusCode.UNSET

    def test_get_more(self, client, telemetry):
        """So is a getMore of a cursor that the transaction opened."""
        with client.start_session() as session, session.start_transaction():
            list(client.shop.users.find({}, batch_size=3, session=session))

        find, get_more = {"find shop.users": ["find"]}, {"getMore shop.users": ["getMore"]}
        commit = {"commitTransaction admin": ["commitTransaction"]}
        assert tree(telemetry.spans) == [{"transaction": [find, get_more, commit]}]

    def test_abort(self, client, telemetry):
        """A transaction that is aborted is over, too."""
        with client.start_session() as session:
            session.start_transaction()
            client.shop.users.insert_one({"_id": 60}, session=session)
            session.abort_transaction()

        (transaction,) = tree(telemetry.spans)
        assert transaction["transaction"][1] == {"abortTransaction admin": ["abortTransaction"]}

    @pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction", "end_session"])
    def test_empty(self, client, telemetry, end):
        """A transaction in which nothing was done ends all the same."""
        with client.start_session() as session:
            session.start_transaction()
            getattr(session, end)()

        assert tree(telemetry.spans) == ["transaction"]

    def test_lost(self, client, telemetry):
        """One whose session was lost is ended by the next call, as of when it was lost."""
        client.start_session().start_transaction()
        gc.collect()
        lost = time.time_ns()
        assert not telemetry.spans
        time.sleep(0.001)
        client.shop.users.find_one()

        transaction, *_ = telemetry.spans
        assert transaction.name == "transaction"
        assert transaction.end_time <= lost

    def test_lost_by_a_client_that_is_closed(self, client, telemetry):
        """So does the end of a client."""
        client.start_session().start_transaction()
        gc.collect()
        client.close()

        assert telemetry.named("transaction")

    def test_lost_where_a_lock_is_held(self, client, telemetry):
        """A session that the garbage collector finds while a span processor works calls none."""

        class Locked(SpanProcessor):
            lock = threading.Lock()

            def on_end(self, span):
                assert self.lock.acquire(timeout=5), "A deadlock"
                try:
                    lost.clear()
                    gc.collect()
                finally:
                    self.lock.release()

        session = client.start_session()
        session.start_transaction()
        lost = [session]
        del session
        telemetry.tracer_provider.add_span_processor(Locked())
        client.shop.users.find_one()
        client.shop.users.find_one()

        assert len(telemetry.named("transaction")) == 1

    def test_begun_anew(self, client, telemetry):
        """The next transaction of a session has a span of its own."""
        with client.start_session() as session:
            for number in (61, 62):
                with session.start_transaction():
                    client.shop.users.insert_one({"_id": number}, session=session)

        assert [next(iter(each)) for each in tree(telemetry.spans)] == ["transaction"] * 2

    def test_commit_again(self, client, telemetry):
        """A commit that is repeated belongs to the transaction that it commits."""
        with client.start_session() as session:
            session.start_transaction()
            client.shop.users.insert_one({"_id": 60}, session=session)
            session.commit_transaction()
            session.commit_transaction()

        (transaction,) = tree(telemetry.spans)
        commit = {"commitTransaction admin": ["commitTransaction"]}
        assert transaction["transaction"][1:] == [commit, commit]

    def test_with_transaction(self, client, telemetry):
        """All attempts of with_transaction are inside of one span."""
        attempts = []

        def callback(session):
            attempts.append(session)
            client.shop.users.insert_one({"_id": 60 + len(attempts)}, session=session)
            if len(attempts) == 1:
                error = OperationFailure("again")
                error._add_error_label("TransientTransactionError")
                raise error

        with client.start_session() as session:
            session.with_transaction(callback)

        insert = {"insert shop.users": ["insert"]}
        abort = {"abortTransaction admin": ["abortTransaction"]}
        commit = {"commitTransaction admin": ["commitTransaction"]}
        assert tree(telemetry.spans) == [{"transaction": [insert, abort, insert, commit]}]

    @pytest.mark.parametrize("error", [LookupError, EmptyError])
    def test_with_transaction_that_fails(self, client, telemetry, error):
        """One that fails is an ERROR, whatever its exception is taken for where true is asked."""

        def callback(session):
            raise error

        with client.start_session() as session, pytest.raises(error):
            session.with_transaction(callback)

        (transaction,) = telemetry.named("transaction")
        assert transaction.status.status_code is StatusCode.ERROR
        assert transaction.attributes == {"db.system.name": "mongodb"}

    def test_a_wrong_call(self, client, telemetry):
        """A second transaction of one session, which PyMongo refuses, does not end the first."""
        with client.start_session() as session, session.start_transaction():
            for begin in (session.start_transaction, lambda: session.with_transaction(print)):
                with pytest.raises(InvalidOperation):
                    begin()
            client.shop.users.insert_one({"_id": 60}, session=session)

        (transaction,) = tree(telemetry.spans)
        assert transaction["transaction"][0] == {"insert shop.users": ["insert"]}

    @needs_async
    async def test_async(self, telemetry_of_operations, mongodb_uri):
        """An AsyncMongoClient's transactions are the same."""

        async def callback(session):
            await client.shop.users.insert_one({"_id": 60}, session=session)

        async with pymongo.AsyncMongoClient(mongodb_uri) as client:
            await client.shop.users.insert_one({"_id": 1})
            telemetry_of_operations.forget()
            async with client.start_session() as session:
                async with await session.start_transaction():
                    await client.shop.users.find_one({}, session=session)
                await session.with_transaction(callback)
                with pytest.raises(LookupError):
                    await session.with_transaction(raising)

            commit = {"commitTransaction admin": ["commitTransaction"]}
            assert tree(telemetry_of_operations.spans) == [
                {"transaction": [{"find shop.users": ["find"]}, commit]},
                {"transaction": [{"insert shop.users": ["insert"]}, commit]},
                "transaction",
            ]

    async def test_motor(self, telemetry_of_operations, mongodb_uri):
        """So are Motor's."""
        motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
        client = motor.AsyncIOMotorClient(mongodb_uri)
        attempts = []

        async def callback(session):
            attempts.append(session)
            await client.shop.users.insert_one({"_id": 60 + len(attempts)}, session=session)
            if len(attempts) == 1:
                error = OperationFailure("again")
                error._add_error_label("TransientTransactionError")
                raise error

        await client.shop.users.insert_one({"_id": 1})
        telemetry_of_operations.forget()
        async with await client.start_session() as session:
            async with session.start_transaction():
                await client.shop.users.find_one({}, session=session)
            await session.with_transaction(callback)
        client.close()

        insert = {"insert shop.users": ["insert"]}
        abort = {"abortTransaction admin": ["abortTransaction"]}
        commit = {"commitTransaction admin": ["commitTransaction"]}
        assert tree(telemetry_of_operations.spans)[:2] == [
            {"transaction": [{"find shop.users": ["find"]}, commit]},
            {"transaction": [insert, abort, insert, commit]},
        ]


async def raising(_):
    raise LookupError


@pytest.mark.skipif(pymongo.version_tuple < (4, 17), reason="Sessions are bound since PyMongo 4.17")
def test_bound_session(client, telemetry):
    """A session need not be passed on if it is bound."""
    with client.start_session() as session, session.bind(end_session=False):
        session.start_transaction()
        client.shop.users.insert_one({"_id": 60})
        session.commit_transaction()

    insert = {"insert shop.users": ["insert"]}
    commit = {"commitTransaction admin": ["commitTransaction"]}
    assert tree(telemetry.spans)[0] == {"transaction": [insert, commit]}


class TestSettings:
    @pytest.fixture
    def spans_of(self, telemetry, mongodb_uri):
        """What is seen of some calls with some settings."""

        def spans_of(make, **settings):
            MongoInstrumentor().instrument(
                span_convention="mongodb",
                wait_span_threshold=NO_WAITS,
                events="none",
                **settings,
                **telemetry.providers,
            )
            with pymongo.MongoClient(mongodb_uri) as client:
                client.shop.users.insert_one({"_id": 1})
                telemetry.forget()
                make(client)
                return list(telemetry.spans)

        return spans_of

    def test_no_commands(self, spans_of):
        """Without command spans there are none of operations either."""
        assert spans_of(lambda client: client.shop.users.find_one(), command_spans=False) == []

    @pytest.mark.parametrize(
        "excluded",
        [
            {"exclude_commands": "find"},
            {"exclude_databases": "shop"},
            {"exclude_collections": "shop.users"},
        ],
    )
    def test_excluded(self, spans_of, excluded):
        """What is excluded has no span as an operation either."""
        spans = spans_of(
            lambda client: (client.shop.users.find_one(), client.other.command("ping")), **excluded
        )

        assert tree(spans) == [{"runCommand other": ["ping"]}]

    def test_excluded_command_of_an_operation(self, spans_of):
        """An operation all of whose commands are excluded has no span."""
        spans = spans_of(lambda client: client.shop.command("ping"), exclude_commands="ping")

        assert spans == []

    def test_excluded_sensitive_command(self, spans_of):
        """Nor has one whose only command is sensitive and excluded."""

        def make(client):
            client.shop.command("createUser", "alice", pwd="secret", roles=[])
            client.shop.command("dropUser", "alice")

        assert spans_of(make, exclude_commands="createUser,dropUser") == []

    def test_authentication(self, telemetry, with_auth):
        """That a connection is authenticated on the way gives an excluded call no span."""
        MongoInstrumentor().instrument(
            span_convention="mongodb",
            wait_span_threshold=NO_WAITS,
            events="none",
            exclude_commands=["ping", "endSessions"],
            **telemetry.providers,
        )
        with pymongo.MongoClient(with_auth.uri) as client:
            client.admin.command("ping")

        assert [point.attributes for point in telemetry.points("db.client.operation.duration")]
        assert telemetry.spans == ()

    def test_require_parent(self, spans_of, telemetry):
        """Outside of a trace there is nothing, if so wanted."""

        def make(client):
            client.shop.users.find_one()
            with client.start_session() as session, session.start_transaction():
                client.shop.users.find_one(session=session)
            with telemetry.tracer.start_as_current_span("request"):
                client.shop.users.find_one()

        assert tree(spans_of(make, require_parent=True)) == [
            {"request": [{"find shop.users": ["find"]}]}
        ]

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({}, None),
            ({"query_text": "sanitized"}, '{"find":"users","filter":{"name":"?"},"limit":1'),
            ({"query_text": "raw"}, '{"find":"users","filter":{"name":"alice"},"limit":1'),
        ],
    )
    def test_query_text(self, spans_of, settings, text):
        """Commands have no text unless it is asked for."""
        *_, command, _ = spans_of(
            lambda client: client.shop.users.find_one({"name": "alice"}), **settings
        )

        assert command.name == "find"
        assert (command.attributes.get("db.query.text") or "").startswith(text or "")
        assert ("db.query.text" in command.attributes) is bool(text)

    def test_variable_of_drivers(self, spans_of, monkeypatch):
        """The variable of MongoDB's drivers shows raw text of its length."""
        monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_MONGODB_QUERY_TEXT_MAX_LENGTH", "20")
        command, _ = spans_of(lambda client: client.shop.users.find_one({"name": "alice"}))

        assert command.attributes["db.query.text"] == '{"find":"users","...'

    def test_events(self, telemetry, mongodb_uri):
        """What happened in the cluster meanwhile is told in the operation's span."""
        MongoInstrumentor().instrument(span_convention="mongodb", **telemetry.providers)
        with pymongo.MongoClient(mongodb_uri, connect=False) as client:
            client.shop.users.find_one()

        (operation,) = telemetry.named("find shop.users")
        assert "mongodb.client.topology.description_changed" in [
            event.name for event in operation.events
        ]


def test_semconv_wraps_nothing(telemetry):
    """By default no function of PyMongo's that operations go through is wrapped."""
    functions = [
        pymongo.MongoClient._retry_internal,
        pymongo.MongoClient._run_operation,
        pymongo.client_session.ClientSession.start_transaction,
    ]
    MongoInstrumentor().instrument(**telemetry.providers)

    assert functions == [
        pymongo.MongoClient._retry_internal,
        pymongo.MongoClient._run_operation,
        pymongo.client_session.ClientSession.start_transaction,
    ]


def test_two_conventions(telemetry, telemetry_of_operations, mongodb_uri):
    """A client with other settings of its own has the spans that those ask for."""
    listeners = event_listeners(span_convention="semconv", **telemetry.providers)
    with pymongo.MongoClient(mongodb_uri, event_listeners=listeners) as client:
        client.shop.users.insert_one({})

    assert "insert users" in [span.name for span in telemetry.spans]
    assert not telemetry.named("insert shop.users")


def test_existing_client(telemetry, mongodb_uri):
    """A client that exists already can have operations from now on."""
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.insert_one({})
        instrument_client(client, span_convention="mongodb", events="none", **telemetry.providers)
        client.shop.users.insert_one({})

        assert tree(telemetry.spans) == [{"insert shop.users": ["insert"]}]
        MongoInstrumentor().uninstrument()
        client.shop.users.insert_one({})
        assert len(telemetry.spans) == 2


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda db: db.drop_collection(5), "dropCollection shop"),
        (lambda db: db.create_collection(5), "createCollection shop"),
        (lambda db: db.client.drop_database(5), "dropDatabase"),
    ],
)
def test_wrong_arguments(client, telemetry, caplog, call, operation):
    """What is no name is PyMongo's to complain about; the call failed, and nothing of ours did."""
    with pytest.raises(TypeError):
        call(client.shop)

    (failed,) = [span for span in telemetry.spans if span.status.status_code is StatusCode.ERROR]
    assert failed.name == operation
    assert not caplog.records


def test_uninstrument_midway(client, telemetry):
    """An operation that is begun ends, whatever is undone meanwhile."""
    with client.start_session() as session, session.start_transaction():
        client.shop.users.insert_one({"_id": 60}, session=session)
        MongoInstrumentor().uninstrument()

    assert telemetry.started_and_ended[0] == telemetry.started_and_ended[1]
    assert telemetry.named("transaction")


def test_gridfs(client, telemetry):
    """GridFS makes calls of the API, and each is an operation."""
    gridfs = pytest.importorskip("gridfs")
    files = gridfs.GridFS(client.shop)
    with telemetry.tracer.start_as_current_span("request") as request:
        assert files.get(files.put(b"hello")).read() == b"hello"

    spans = [span for span in telemetry.spans if span.name != "request"]
    operations = [span for span in spans if " " in span.name]
    assert {"insert shop.fs.files", "insert shop.fs.chunks"} <= {span.name for span in operations}
    assert {span.parent.span_id for span in operations} == {request.get_span_context().span_id}
    assert all(parent(span, operations) for span in spans if " " not in span.name)


def test_client_encryption(client, telemetry):
    """Client-side encryption works as before, and what it sends is an operation like others."""
    pytest.importorskip("pymongocrypt")
    with ClientEncryption(
        {"local": {"key": b"k" * 96}}, "shop.keys", client, CodecOptions()
    ) as encryption:
        key = encryption.create_data_key("local")
        secret = encryption.encrypt("alice", Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random, key)

        assert encryption.decrypt(secret) == "alice"
    assert {"insert shop.keys": ["insert"]} in tree(telemetry.spans)
    assert "alice" not in str([dict(span.attributes) for span in telemetry.spans])


def test_the_connection_of_an_exhaust_cursor(client, telemetry):
    """A getMore tells the connection that its cursor keeps, not the one that was used last."""
    users = client.shop.users
    for read in (users.find, users.find_raw_batches):
        with read(batch_size=2, cursor_type=pymongo.CursorType.EXHAUST) as cursor:
            next(cursor)
            client.admin.command("ping")
            list(cursor)

        (find,) = telemetry.named("find")
        (ping,) = telemetry.named("ping")
        of_cursor = {driver_connection(span) for span in telemetry.named("getMore")}
        assert of_cursor == {driver_connection(find)} != {driver_connection(ping)}
        telemetry.forget()


def driver_connection(span):
    return span.attributes["db.mongodb.driver_connection_id"]


class Auditor(CommandListener):
    """Calls another client whenever this one's inserts begin."""

    def __init__(self, call):
        self._call = call

    def started(self, event):
        if event.command_name == "insert":
            self._call()

    def succeeded(self, event):
        """Nothing to do."""

    def failed(self, event):
        """Nothing to do."""


def test_calls_inside_of_a_call(telemetry_of_operations, mongodb_uri):
    """What a listener asks of another client is that client's own operation."""
    telemetry = telemetry_of_operations
    with pymongo.MongoClient(mongodb_uri) as other:
        auditor = Auditor(lambda: list(other.shop.audits.find(batch_size=1)))
        with pymongo.MongoClient(mongodb_uri, event_listeners=[auditor]) as client:
            other.shop.audits.insert_many([{}, {}])
            telemetry.forget()
            with telemetry.tracer.start_as_current_span("request"):
                client.shop.users.insert_one({})

            (insert,) = telemetry.named("insert shop.users")
            (request,) = tree(telemetry.spans)
            assert sorted(request["request"], key=str) == [
                {"find shop.audits": ["find"]},
                {"getMore shop.audits": ["getMore"]},
                {"getMore shop.audits": ["getMore"]},
                {"insert shop.users": ["insert"]},
            ]
            assert "db.mongodb.cursor_id" not in insert.attributes


@pytest.mark.parametrize("hook", ["request_hook", "response_hook", "failed_hook"])
def test_calls_of_a_hook(telemetry, mongodb_uri, hook):
    """What a hook asks of the client that it is a hook of is an operation of its own."""

    def audit(span, event):
        if event.command_name == "find":
            client.shop.audits.count_documents({})

    MongoInstrumentor().instrument(
        span_convention="mongodb",
        wait_span_threshold=NO_WAITS,
        **{hook: audit},
        **telemetry.providers,
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        client.admin.command("ping")
        telemetry.forget()
        with suppress(OperationFailure):
            client.shop.users.find_one({"$wrong": 1} if hook == "failed_hook" else {})

        seen = tree(telemetry.spans)
        assert {"count shop.audits": ["aggregate"]} in seen
        assert {"find shop.users": ["find"]} in seen


def test_times(client, telemetry):
    """An operation lasts from the call to its return."""
    before = time.time_ns()
    client.shop.users.find_one({"$where": "sleep(20) || true"})
    after = time.time_ns()

    (operation,) = telemetry.named("find shop.users")
    (command,) = telemetry.named("find")
    assert before <= operation.start_time <= command.start_time
    assert command.end_time <= operation.end_time <= after
