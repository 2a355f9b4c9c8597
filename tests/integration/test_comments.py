"""The trace context in each command's comment, read back from where a real server tells it."""

from __future__ import annotations

import asyncio
import json
import threading

import local_mongodb
import pymongo
import pytest
from bson.son import SON
from client_kinds import documents, of_each_kind, settle
from in_memory import InMemoryTelemetry
from mongod import or_skip
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import TraceFlags, format_span_id, format_trace_id
from pymongo import InsertOne, UpdateOne
from pymongo.errors import AutoReconnect
from pymongo.monitoring import CommandListener

from otel_mongo_apm import MongoInstrumentor, instrument_client
from otel_mongo_apm._commands import comments

# The profiler shows each write of an `update` or a `delete`, not the command.
WRITES = {"update": {"op": "update"}, "delete": {"op": "remove"}}
SLOW_FIND = {"$where": "sleep(400) || true"}


@pytest.fixture(scope="module")
def servers():
    with or_skip(), local_mongodb.replica_set() as servers:
        yield servers


@pytest.fixture
def profiled(servers):
    """A database of which the server keeps and logs every command."""
    with pymongo.MongoClient(servers.uri) as client:
        client.shop.command("profile", 0)
        client.drop_database("shop")
        client.shop.users.insert_many([{"_id": number} for number in range(5)])
        client.shop.command("profile", 2, slowms=0)
        yield client.shop
        client.shop.command("profile", 0, slowms=100)


@pytest.fixture
def propagating(telemetry, profiled):
    MongoInstrumentor().instrument(comment_propagation="trace", **telemetry.providers)
    return telemetry


def named(span):
    """How a comment names a span."""
    context = span.get_span_context()
    trace_id, span_id = format_trace_id(context.trace_id), format_span_id(context.span_id)
    return f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"


def profile(database, name):
    """The comments of the commands of a name that the server has kept."""
    with suppress_instrumentation():
        wanted = {"ns": "shop.users", **WRITES.get(name, {f"command.{name}": {"$exists": True}})}
        found = database["system.profile"].find(wanted)
        return [each["command"].get("comment") for each in found.sort("ts")]


def getting_on(database):
    """The comments of what the server is doing."""
    with suppress_instrumentation():
        pipeline = [{"$currentOp": {}}, {"$match": {"command.find": "users"}}]
        return [
            each["command"].get("comment") for each in database.client.admin.aggregate(pipeline)
        ]


def logged(server, name):
    """The comments of the commands of a name in the server's slow query log."""
    lines = map(json.loads, server.log.read_text(encoding="utf-8").splitlines())
    commands = [each["attr"]["command"] for each in lines if each["msg"] == "Slow query"]
    return [each.get("comment") for each in commands if name in each]


async def _find(shop, session):
    await settle(shop.users.find_one({}, session=session))


async def _insert(shop, session):
    await settle(shop.users.insert_one({}, session=session))


async def _bulk(shop, session):
    await settle(shop.users.bulk_write([InsertOne({})], session=session))


async def _update(shop, session):
    await settle(shop.users.update_one({}, {"$set": {"a": 1}}, session=session))


async def _delete(shop, session):
    await settle(shop.users.delete_one({}, session=session))


async def _find_and_modify(shop, session):
    await settle(shop.users.find_one_and_update({}, {"$set": {"a": 1}}, session=session))


async def _aggregate(shop, session):
    await documents(await settle(shop.users.aggregate([{"$match": {}}], session=session)))


async def _distinct(shop, session):
    await settle(shop.users.distinct("_id", session=session))


async def _count(shop, session):
    await settle(shop.command("count", "users", session=session))


CALLS = {
    "find": _find,
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "findAndModify": _find_and_modify,
    "aggregate": _aggregate,
    "distinct": _distinct,
    "count": _count,
}


@of_each_kind
@pytest.mark.parametrize("name", CALLS)
def test_commands(kind, name, propagating, profiled, servers):
    """The profiler has the caller's span in the comment of every command."""

    async def work():
        client = kind.make(servers.uri)
        with propagating.tracer.start_as_current_span("request") as span:
            await CALLS[name](client.shop, None)
        await settle(client.close())
        return span

    span = kind.run(work())

    assert profile(profiled, name)[-1] == {"traceparent": named(span)}


@of_each_kind
def test_slow_query_log(kind, propagating, servers):
    """The server's slow query log has the caller's span."""

    async def work():
        client = kind.make(servers.uri)
        with propagating.tracer.start_as_current_span("request") as span:
            await _find(client.shop, None)
        await settle(client.close())
        return span

    span = kind.run(work())

    assert {"traceparent": named(span)} in logged(servers.members[0], "find")


def test_what_the_server_is_doing(propagating, profiled, servers):
    """`currentOp` has the caller's span while the command runs."""
    found = []

    def look():
        while not found:
            found.extend(getting_on(profiled))

    with pymongo.MongoClient(servers.uri) as client:
        watcher = threading.Thread(target=look)
        watcher.start()
        with propagating.tracer.start_as_current_span("request") as span:
            client.shop.users.find_one(SLOW_FIND)
        found.append("nothing")  # Should it have been too quick, the watcher must end, too.
        watcher.join()

    assert found[0] == {"traceparent": named(span)}


@of_each_kind
def test_transactions(kind, propagating, profiled, servers):
    """Commands in a transaction and its commit have it, too."""

    async def work():
        client = kind.make(servers.uri)
        with propagating.tracer.start_as_current_span("request") as span:
            session = await settle(client.start_session())
            async with _entered(session):
                await settle(_begun(session))
                await _insert(client.shop, session)
                await settle(session.commit_transaction())
        await settle(client.close())
        return span

    span = kind.run(work())

    assert profile(profiled, "insert")[-1] == {"traceparent": named(span)}


class _entered:  # noqa: N801 - As a function it would be a generator, which no sync client can run.
    """A session of any kind, ended afterwards."""

    def __init__(self, session):
        self._session = session

    async def __aenter__(self):
        return self._session

    async def __aexit__(self, *_):
        await settle(self._session.end_session())


def _begun(session):
    transaction = session.start_transaction()
    return transaction if asyncio.iscoroutine(transaction) else None


def test_each_get_more_has_its_own(propagating, profiled, servers):
    """A getMore does not go on with the comment of the command that opened its cursor."""
    with pymongo.MongoClient(servers.uri) as client:
        cursor = client.shop.users.find(batch_size=2)
        with propagating.tracer.start_as_current_span("first") as first:
            next(cursor)
        with propagating.tracer.start_as_current_span("second") as second:
            list(cursor)

    assert profile(profiled, "find")[-1] == {"traceparent": named(first)}
    assert profile(profiled, "getMore") == [{"traceparent": named(second)}] * 2


@pytest.mark.parametrize("acknowledged", [True, False])
def test_bulk_writes(acknowledged, propagating, profiled, servers):
    """Each command of a bulk write has it, acknowledged or not."""
    concern = pymongo.WriteConcern(w=1 if acknowledged else 0)
    with pymongo.MongoClient(servers.uri) as client:
        users = client.shop.get_collection("users", write_concern=concern)
        with propagating.tracer.start_as_current_span("request") as span:
            users.bulk_write([InsertOne({}), UpdateOne({}, {"$set": {"a": 1}})])
        client.shop.users.find_one()  # The server has the writes before it answers this.

    for name in ("insert", "update"):
        assert profile(profiled, name)[-1] == {"traceparent": named(span)}


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("by age", {"text": "by age"}),
        ({"ticket": 7}, {"ticket": 7}),
        ({"ticket": {"$gt": 7}, "text": "mine"}, {"ticket": {"$gt": 7}, "text": "mine"}),
    ],
)
def test_comments_of_the_application(comment, expected, propagating, profiled, servers):
    """The application's own comment stays; a string becomes the text, its document is copied."""
    before = repr(comment)
    with (
        pymongo.MongoClient(servers.uri) as client,
        propagating.tracer.start_as_current_span("request") as span,
    ):
        client.shop.users.find_one(comment=comment)

    assert profile(profiled, "find")[-1] == {**expected, "traceparent": named(span)}
    assert repr(comment) == before


@pytest.mark.parametrize("comment", [{"traceparent": "mine"}, 4711, ["mine"]])
def test_comments_that_are_left_alone(comment, propagating, profiled, servers):
    """A comment that has a traceparent, or is neither string nor document, is not touched."""
    with (
        pymongo.MongoClient(servers.uri) as client,
        propagating.tracer.start_as_current_span("request"),
    ):
        client.shop.users.find_one(comment=comment)

    assert profile(profiled, "find")[-1] == comment


@pytest.mark.parametrize(
    "command",
    [SON([("count", "users")]), {"count": "users"}, SON([("count", "users"), ("comment", "mine")])],
)
def test_documents_of_the_application(command, propagating, servers):
    """What the application gives to `command()` keeps what was in it, and gets nothing of ours."""
    before = command.get("comment")
    with (
        pymongo.MongoClient(servers.uri) as client,
        propagating.tracer.start_as_current_span("request"),
    ):
        client.shop.command(command)

    assert command.get("comment") == before


def test_without_a_trace(propagating, profiled, servers):
    """Outside of any trace there is no comment."""
    with pymongo.MongoClient(servers.uri) as client:
        client.shop.users.find_one()

    assert profile(profiled, "find")[-1] is None


def test_suppressed(propagating, profiled, servers):
    """Nor is there one while instrumentation is suppressed."""
    with (
        pymongo.MongoClient(servers.uri) as client,
        propagating.tracer.start_as_current_span("request"),
        suppress_instrumentation(),
    ):
        client.shop.users.find_one()

    assert profile(profiled, "find")[-1] is None


def test_off_by_default(telemetry, profiled, servers):
    """Nobody who has not asked for it has anything in a comment."""
    MongoInstrumentor().instrument(**telemetry.providers)
    with (
        pymongo.MongoClient(servers.uri) as client,
        telemetry.tracer.start_as_current_span("request"),
    ):
        client.shop.users.find_one()

    assert profile(profiled, "find")[-1] is None


def test_what_is_not_sampled(profiled, servers):
    """The context of a trace that is not sampled is there, and says so."""
    telemetry = InMemoryTelemetry(ALWAYS_OFF)
    MongoInstrumentor().instrument(comment_propagation="trace", **telemetry.providers)
    with (
        pymongo.MongoClient(servers.uri) as client,
        telemetry.tracer.start_as_current_span("request") as span,
    ):
        client.shop.users.find_one()
    telemetry.shutdown()

    (comment,) = profile(profiled, "find")[-1:]
    assert comment == {"traceparent": named(span)}
    assert not int(comment["traceparent"][-2:], 16) & TraceFlags.SAMPLED


def test_a_client_that_exists(telemetry, profiled, servers):
    """A client that was made before has it from now on."""
    with pymongo.MongoClient(servers.uri) as client:
        client.shop.users.find_one()
        instrument_client(client, comment_propagation="trace", **telemetry.providers)
        with telemetry.tracer.start_as_current_span("request") as span:
            client.shop.users.find_one()
        MongoInstrumentor().uninstrument()
        with telemetry.tracer.start_as_current_span("later"):
            client.shop.users.find_one()

    assert profile(profiled, "find")[-3:] == [None, {"traceparent": named(span)}, None]


def test_operations(telemetry, profiled, servers):
    """With MongoDB's own convention it is the operation's span that the comment names."""
    MongoInstrumentor().instrument(
        comment_propagation="trace", span_convention="mongodb", **telemetry.providers
    )
    with (
        pymongo.MongoClient(servers.uri) as client,
        telemetry.tracer.start_as_current_span("request"),
    ):
        client.shop.users.find_one()

    (operation,) = telemetry.named("find shop.users")
    assert profile(profiled, "find")[-1] == {"traceparent": named(operation)}


@pytest.mark.parametrize("query_text", ["sanitized", "raw"])
@pytest.mark.parametrize("comment", [None, "by age"])
def test_query_text(query_text, comment, telemetry, servers):
    """The text of the command is the application's, without what we have put in."""
    MongoInstrumentor().instrument(
        comment_propagation="trace", query_text=query_text, **telemetry.providers
    )
    with pymongo.MongoClient(servers.uri) as client:
        client.shop.users.find_one({}, comment=comment)
        with telemetry.tracer.start_as_current_span("request"):
            client.shop.users.find_one({}, comment=comment)

    without, with_trace = (span.attributes["db.query.text"] for span in telemetry.commands)
    assert with_trace == without


class _Attempts(CommandListener):
    """Takes note of the comments of finds."""

    def __init__(self):
        self.comments = []

    def started(self, event):
        if event.command_name == "find":
            self.comments.append(event.command.get("comment"))

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def test_retries(propagating, profiled, servers):
    """Each attempt says once what the application has said, and names its own span."""
    attempts = _Attempts()
    failing = {"failCommands": ["find"], "errorCode": 91, "appName": "retried"}
    with suppress_instrumentation():
        profiled.client.admin.command(
            "configureFailPoint", "failCommand", mode={"times": 1}, data=failing
        )
    with (
        pymongo.MongoClient(servers.uri, appName="retried", event_listeners=[attempts]) as client,
        propagating.tracer.start_as_current_span("request") as span,
    ):
        client.shop.users.find_one(comment="mine")

    assert attempts.comments == [{"text": "mine", "traceparent": named(span)}] * 2


def test_servers_that_are_too_old(propagating, profiled, servers):
    """A server before 4.4 would refuse such comments, so it gets none."""
    with pymongo.MongoClient(servers.uri) as client:
        client.shop.users.find_one()
        (server,) = client._topology._servers.values()
        for connection in server.pool.conns:
            connection.max_wire_version = 8
        with propagating.tracer.start_as_current_span("request"):
            client.shop.users.find_one()

    assert profile(profiled, "find")[-1] is None


def test_a_trace_state(propagating, profiled, servers):
    """Vendors' trace state goes along."""
    state = trace.TraceState([("vendor", "value")])
    context = trace.SpanContext(1, 2, is_remote=True, trace_state=state)
    with (
        pymongo.MongoClient(servers.uri) as client,
        trace.use_span(trace.NonRecordingSpan(context)),
    ):
        client.shop.users.find_one()

    assert profile(profiled, "find")[-1]["tracestate"] == "vendor=value"


def test_a_failing_propagator_is_nobodys_business(propagating, profiled, servers, monkeypatch):
    """Whatever fails in it, the command goes out."""

    def fail(*_):
        raise AutoReconnect

    monkeypatch.setattr(comments._propagator, "inject", fail)
    with (
        pymongo.MongoClient(servers.uri) as client,
        propagating.tracer.start_as_current_span("request"),
    ):
        assert client.shop.users.find_one() == {"_id": 0}
