"""Commands of a real client to a real server."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from urllib.parse import quote_plus

import bson
import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteConcernError
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners

pytestmark = pytest.mark.usefixtures("shop")

USERS = [{"_id": number, "name": f"user {number}"} for number in range(250)]


@pytest.fixture
def client(instrumented, mongodb_uri):
    with pymongo.MongoClient(mongodb_uri) as client:
        yield client


@pytest.fixture
def users(client, telemetry):
    """A collection of 250 documents."""
    client.shop.users.insert_many(USERS)
    telemetry.forget()
    return client.shop.users


def test_an_application(client, users, telemetry):
    """Every command of an operation is a child of the span around it."""
    with telemetry.tracer.start_as_current_span("request") as request:
        assert len(list(users.find({"_id": {"$gte": 0}}, batch_size=100))) == 250

    commands, rows = telemetry.commands, []
    assert [span.name for span in commands] == ["find users", "getMore users", "getMore users"]
    for span in commands:
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert span.parent.span_id == request.get_span_context().span_id
        rows.append(span.attributes["db.response.returned_rows"])
    assert rows == [100, 100, 50]
    host, port = client.address
    assert dict(commands[0].attributes) == {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "db.query.text": '{"find":"users","filter":{"_id":{"$gte":"?"}},"batchSize":100}',
        "db.response.returned_rows": 100,
        "server.address": host,
        "server.port": port,
        "network.peer.address": host,
        "network.peer.port": port,
    }


def test_its_metrics(users, telemetry):
    """Durations are counted for each kind of command."""
    for _ in range(3):
        users.find_one({"_id": 1})

    def counts(name: str) -> dict[str, int]:
        points = telemetry.points(name)
        return {p.attributes["db.operation.name"]: p.data.count for p in points}

    assert counts("db.client.operation.duration") == {"insert": 1, "find": 3}
    assert counts("db.client.response.returned_rows") == {}


def test_a_duplicate_key(users, telemetry):
    """A duplicate key, which the server calls a success, is an error; the key is not shown."""
    with suppress_instrumentation():
        users.insert_one({"_id": "alice"})
    with pytest.raises(DuplicateKeyError, match="alice"):
        users.insert_one({"_id": "alice"})

    span = telemetry.command
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "DuplicateKeyError"
    assert span.attributes["error.type"] == "11000"
    assert span.attributes["db.response.status_code"] == "11000"
    assert "alice" not in span.to_json()


def test_a_bulk_with_errors(users, telemetry):
    """An unordered bulk write with errors is one with the first error's code."""
    with pytest.raises(BulkWriteError):
        users.bulk_write([pymongo.InsertOne({"_id": 1}), pymongo.InsertOne({"_id": 999})], False)  # noqa: FBT003

    assert telemetry.command.attributes["error.type"] == "11000"


def test_a_write_concern_that_cannot_be_met(users, telemetry):
    """A write concern error, which the server calls a success, is an error."""
    with pytest.raises(WriteConcernError):
        users.with_options(write_concern=pymongo.WriteConcern(w=7, wtimeout=100)).insert_one({})

    span = telemetry.command
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["db.response.status_code"] == "100"
    assert span.attributes["error.type"] == "100"


def test_a_command_that_the_server_refuses(users, telemetry):
    """A refused command is an error with the server's code and its name."""
    with pytest.raises(OperationFailure):
        users.find_one({"$nonsense": "alice"})

    span = telemetry.command
    assert span.status.description == "BadValue"
    assert span.attributes["error.type"] == "2"
    assert "alice" not in span.to_json()


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
@pytest.mark.parametrize(
    "explained",
    [
        {"createUser": "ada", "pwd": "alice", "roles": []},
        {"explain": {"updateUser": "ada", "pwd": "alice"}},
    ],
)
def test_an_explained_secret(mongodb_uri, telemetry, convention, explained):
    """What is not to be seen is not seen in an explain either, not even in raw text."""
    settings = {"span_convention": convention, "query_text": "raw", **telemetry.providers}
    listeners = event_listeners(**settings)
    with pymongo.MongoClient(mongodb_uri, event_listeners=listeners) as client:
        with pytest.raises(OperationFailure):
            client.shop.command("explain", explained)
        client.shop.command("explain", {"find": "users", "filter": {"age": 30}})

    assert not any("alice" in span.to_json() for span in telemetry.spans)
    texts = [span.attributes.get("db.query.text", "") for span in telemetry.spans]
    (explain,) = (text for text in texts if "explain" in text)
    assert "30" in explain


@pytest.mark.parametrize("odd", ["alice", {"a": "alice"}, ["alice"], [["alice"]], None, 4711])
@pytest.mark.parametrize(
    "command",
    [
        lambda odd: {"getMore": odd, "collection": "users"},
        lambda odd: {"killCursors": "users", "cursors": odd},
        lambda odd: {"aggregate": "users", "pipeline": odd, "cursor": {}},
    ],
)
def test_a_command_that_makes_no_sense(users, telemetry, caplog, command, odd):
    """One with values of wrong types is refused, and has its span as others do."""
    with telemetry.tracer.start_as_current_span("request"), suppress(OperationFailure):
        users.database.command(command(odd))

    name = next(iter(command(odd)))
    (span,) = telemetry.named(f"{name} users")
    assert "alice" not in span.to_json()
    assert caplog.messages == []


def test_a_time_out(mongodb_uri, instrumented, telemetry):
    """A socket that times out is an error of the socket's class, whatever PyMongo wraps it in."""
    with pymongo.MongoClient(mongodb_uri, socketTimeoutMS=100, retryReads=False) as client:
        client.shop.users.insert_one({})
        with pytest.raises(pymongo.errors.NetworkTimeout):
            client.shop.users.find_one({"$where": "sleep(2000) || true"})

    (find,) = telemetry.named("find users")
    assert find.status.status_code is StatusCode.ERROR
    assert find.attributes["error.type"] == "TimeoutError"


@pytest.mark.parametrize(
    ("send", "name"),
    [
        (lambda users: list(users.database.list_collections()), "listCollections shop"),
        (lambda users: list(users.database.aggregate([{"$documents": [{}]}])), "aggregate shop"),
        (lambda users: list(users.aggregate([{"$match": {}}])), "aggregate users"),
        (lambda users: users.find({"x": 1}).explain(), "explain users"),
        (lambda users: users.count_documents({}), "aggregate users"),
        (lambda users: users.estimated_document_count(), "count users"),
        (lambda users: users.distinct("name"), "distinct users"),
        (lambda users: users.create_index("name"), "createIndexes users"),
        (lambda users: users.find_one_and_update({"_id": 1}, {"$set": {"x": 1}}),
         "findAndModify users"),
        (lambda users: users.database.client.list_database_names(), "listDatabases admin"),
        (lambda users: users.database.command("ping"), "ping shop"),
        (lambda users: users.rename("people"), "renameCollection admin"),
    ],
)  # fmt: skip
def test_names(users, telemetry, send, name):
    """A span is named by its command and the collection it is sent to, else the database."""
    send(users)

    span = telemetry.commands[0]
    assert span.name == name
    collection = name.split()[1] if name.endswith("users") else None
    assert span.attributes.get("db.collection.name") == collection


class Names(str, Enum):
    """Names as applications keep them."""

    SHOP = "shop"
    USERS = "users"
    PEOPLE = "people"
    PING = "ping"


def test_members_of_an_enumeration(mongodb_uri, telemetry):
    """A name that is a member of an enumeration is told, and excluded, by its value."""
    settings = {**telemetry.providers, "exclude_collections": "shop.people"}
    listeners = event_listeners(**settings)
    with pymongo.MongoClient(mongodb_uri, event_listeners=listeners) as client:
        shop = client[Names.SHOP]
        shop[Names.USERS].find_one()
        shop[Names.PEOPLE].find_one()
        shop.command(Names.PING)

    assert [span.name for span in telemetry.commands] == ["find users", "ping shop"]
    values = [value for span in telemetry.commands for value in span.attributes.values()]
    assert {type(value) for value in values} == {str, int}


PIPELINE = [
    {"$match": {"name": "user 1", "$expr": {"$gt": ["$_id", 0]}}},
    {
        "$lookup": {
            "from": "users",
            "let": {"name": "$name"},
            "pipeline": [{"$match": {"$expr": {"$eq": ["$name", "$$name"]}}}, {"$limit": 2}],
            "as": "others",
        }
    },
    {"$unwind": "$others"},
    {"$project": {"_id": 0, "name": {"$toUpper": "$name"}, "secret": {"$literal": "$4711"}}},
    {"$sort": {"name": -1}},
]


def test_structure_in_texts(users, telemetry):
    """What the server takes for structure is shown, what it takes for values is not."""
    assert list(users.aggregate(PIPELINE)) == [{"name": "USER 1", "secret": "$4711"}]

    assert telemetry.commands[0].attributes["db.query.text"] == (
        '{"aggregate":"users","pipeline":['
        '{"$match":{"name":"?","$expr":{"$gt":["$_id","?"]}}},'
        '{"$lookup":{"from":"users","let":{"name":"$name"},'
        '"pipeline":[{"$match":{"$expr":{"$eq":["$name","$$name"]}}},{"$limit":2}],"as":"others"}},'
        '{"$unwind":"$others"},'
        '{"$project":{"_id":0,"name":{"$toUpper":"$name"},"secret":{"$literal":"?"}}},'
        '{"$sort":{"name":-1}}],"cursor":{}}'
    )


def test_dollars_in_updates(users, telemetry):
    """The server takes "$name" for a value in an update's document, for a path in its pipeline."""
    users.update_one({"_id": 1}, {"$set": {"copy": "$name"}})
    users.update_one({"_id": 2}, [{"$set": {"copy": "$name"}}])

    assert users.distinct("copy") == ["$name", "user 2"]
    first, second = (span.attributes["db.query.text"] for span in telemetry.commands[:2])
    assert '"u":{"$set":{"copy":"?"}}' in first
    assert '"u":[{"$set":{"copy":"$name"}}]' in second


def test_second_names_of_commands(mongodb_uri, telemetry):
    """A command that the server takes by another name has its collection, and can be excluded."""
    change = {"query": {}, "update": {"$set": {"a": 2}}}
    MongoInstrumentor().instrument(
        exclude_collections=["audit"], exclude_commands=["dbStats"], **telemetry.providers
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        for collection in ("users", "audit"):
            client.shop.command("findandmodify", collection, **change)
            client.shop.command("collstats", collection)
        client.shop.command("dbstats")

    assert [span.name for span in telemetry.commands] == ["findandmodify users", "collstats users"]


def test_a_polled_tail(client, telemetry):
    """A tailable cursor that is polled has spans for what it brings, and for nothing else."""
    queue = client.shop.create_collection("queue", capped=True, size=10_000)
    queue.insert_one({})
    telemetry.forget()
    cursor = queue.find(cursor_type=pymongo.CursorType.TAILABLE)
    assert len(list(cursor)) == 1
    assert list(cursor) == list(cursor) == []
    queue.insert_one({})
    assert len(list(cursor)) == 1

    names = [span.name for span in telemetry.commands]
    assert names == ["find queue", "insert queue", "getMore queue"]


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
def test_an_encoder_that_quotes_values(mongodb_uri, telemetry, caplog, convention):
    """What an application's mapping raises is in no log record and in no span."""

    class Odd(dict):
        def items(self):
            raise LookupError(*super().items())

    def hook(span, event):
        raise LookupError(event.command)

    MongoInstrumentor().instrument(
        span_convention=convention,
        query_text="sanitized",
        request_hook=hook,
        **telemetry.providers,
    )
    with pymongo.MongoClient(mongodb_uri) as client, suppress(LookupError):
        client.shop.users.find_one({"name": Odd(name="S3CRET")})

    assert "S3CRET" not in caplog.text
    assert "S3CRET" not in str([(span.attributes, span.status) for span in telemetry.spans])
    assert all(record.exc_info is None for record in caplog.records)


def test_cursors_of_a_database(users, telemetry):
    """A getMore on what is no collection, `$cmd.aggregate`, names none."""
    pipeline = [{"$documents": [{"x": x} for x in range(10)]}]
    list(users.database.aggregate(pipeline, batchSize=3))

    assert {span.name for span in telemetry.commands} == {"aggregate shop", "getMore shop"}


def test_raw_batches(users, telemetry):
    """Documents that nobody has decoded are counted all the same."""
    batches = list(users.find_raw_batches({}, batch_size=200))

    rows = [span.attributes["db.response.returned_rows"] for span in telemetry.commands]
    assert rows == [len(bson.decode_all(batch)) for batch in batches] == [200, 50]


def test_unacknowledged_writes(users, telemetry):
    """A write that nobody waits for has a span, too."""
    users.with_options(write_concern=pymongo.WriteConcern(w=0)).insert_one({"x": 1})

    assert telemetry.command.name == "insert users"


def test_an_exhaust_cursor(users, telemetry):
    """The getMores of an exhaust cursor, all with the same request ID, each have a span."""
    found = list(users.find({}, cursor_type=pymongo.CursorType.EXHAUST, batch_size=50))

    assert len(found) == 250
    rows = [span.attributes["db.response.returned_rows"] for span in telemetry.commands]
    assert sum(rows) == 250
    assert [span.name for span in telemetry.commands] == [
        "find users",
        *["getMore users"] * (len(rows) - 1),
    ]


def test_many_exhaust_cursors(users, telemetry):
    """Request IDs that repeat across threads mix up no spans."""

    def read(_: int) -> int:
        cursor = users.find({}, cursor_type=pymongo.CursorType.EXHAUST, batch_size=20)
        return len(list(cursor))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(read, range(40))) == 40 * 250

    rows = [span.attributes["db.response.returned_rows"] for span in telemetry.commands]
    assert sum(rows) == 40 * 250


def test_an_idle_change_stream(users, telemetry):
    """A change stream without changes is silent; a change is seen."""
    with users.watch(max_await_time_ms=50) as changes:
        assert [changes.try_next() for _ in range(3)] == [None] * 3
        assert [span.name for span in telemetry.commands] == ["aggregate users"]
        users.insert_one({})
        while changes.try_next() is None:
            pass

    names = [span.name for span in telemetry.commands]
    assert names[:2] == ["aggregate users", "insert users"]
    assert names.count("getMore users") == 1


def test_closing_is_no_trace(instrumented, mongodb_uri, telemetry):
    """What a client sends to tidy up when it is closed makes no trace of its own."""
    client = pymongo.MongoClient(mongodb_uri)
    client.admin.command("ping")
    client.close()

    assert [span.name for span in telemetry.commands] == ["ping admin"]
    operations = telemetry.points("db.client.operation.duration")
    assert {p.attributes["db.operation.name"] for p in operations} == {"ping", "endSessions"}


@needs_async
async def test_async(instrumented, mongodb_uri, telemetry):
    """Commands of concurrent tasks are children of their own tasks' spans."""
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:

        async def request(number: int) -> None:
            with telemetry.tracer.start_as_current_span("request"):
                await client.shop.users.insert_one({"_id": number})
                await client.shop.users.find_one({"_id": number})

        await asyncio.gather(*(request(number) for number in range(50)))

    requests = {s.context.span_id: s for s in telemetry.spans if s.name == "request"}
    commands = telemetry.commands
    assert len(requests) == 50
    assert len(commands) == 100
    assert {span.parent.span_id for span in commands} == requests.keys()


async def test_motor(instrumented, mongodb_uri, telemetry):
    """Motor, which runs PyMongo in threads, keeps its commands in the caller's trace."""
    motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    client = motor.AsyncIOMotorClient(mongodb_uri)
    with telemetry.tracer.start_as_current_span("request") as request:
        await client.shop.users.insert_one({"_id": 1})
    client.close()

    span = telemetry.named("insert users")[0]
    assert span.parent.span_id == request.get_span_context().span_id


def test_passed_listeners(mongodb_uri, telemetry):
    """Without `instrument()`, listeners that are passed do the same."""
    listeners = event_listeners(**telemetry.providers, query_text="off")
    with pymongo.MongoClient(mongodb_uri, event_listeners=listeners) as client:
        client.shop.users.find_one()

    assert telemetry.command.name == "find users"
    assert "db.query.text" not in telemetry.command.attributes


def test_undone(client, users, telemetry, mongodb_uri):
    """Once undone, old and new clients are silent; done again, new ones are seen again."""
    MongoInstrumentor().uninstrument()
    users.find_one()
    with pymongo.MongoClient(mongodb_uri) as other:
        other.shop.users.find_one()
    assert telemetry.commands == []

    MongoInstrumentor().instrument(**telemetry.providers, query_text="off")
    users.find_one()
    with pymongo.MongoClient(mongodb_uri) as other:
        other.shop.users.find_one()

    assert "db.query.text" not in telemetry.command.attributes


def test_a_unix_socket(instrumented, standalone, telemetry):
    """On a Unix socket the address is its path."""
    socket = standalone.unix_socket
    with pymongo.MongoClient(f"mongodb://{quote_plus(socket)}") as client:
        client.shop.users.find_one()

    assert telemetry.command.attributes["network.peer.address"] == socket
    assert "network.peer.port" not in telemetry.command.attributes
