"""Calls that fail without a command that says so: each is shown once, and counted once."""

from __future__ import annotations

import bson
import pymongo
import pytest
from client_kinds import of_each_kind, settle
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import DocumentTooLarge, PyMongoError, ServerSelectionTimeoutError
from pymongo.write_concern import WriteConcern
from scripted_server import found, refused

from otel_mongo_apm import MongoInstrumentor

TOO_LARGE = {"text": "x" * 17_000_000}
CONVENTIONS = pytest.mark.parametrize("convention", ["semconv", "mongodb"])


@pytest.fixture
def failures(telemetry):
    """How many failures were counted, by their names and errors."""

    def failures():
        return {
            (point.attributes["db.operation.name"], point.attributes["error.type"]): (
                point.data.count
            )
            for point in telemetry.points("db.client.operation.duration")
            if "error.type" in point.attributes
        }

    return failures


def errors(telemetry):
    """The spans that are errors, and no cluster's."""
    return [
        span
        for span in telemetry.spans
        if span.status.status_code is StatusCode.ERROR and span.kind is SpanKind.CLIENT
    ]


@of_each_kind
def test_a_document_that_is_too_large(kind, instrumented, server, telemetry):
    """A document that PyMongo does not send is an error of its call, with all that is known."""

    async def insert():
        client = kind.make(server.uri)
        with (
            telemetry.tracer.start_as_current_span("request") as request,
            pytest.raises(DocumentTooLarge),
        ):
            await settle(client.shop.users.insert_one(TOO_LARGE))
        await settle(client.close())
        return request.get_span_context()

    request = kind.run(insert())

    (span,) = errors(telemetry)
    expected = {
        "db.system.name": "mongodb",
        "db.operation.name": "insert",
        "db.namespace": "shop",
        "db.collection.name": "users",
        "server.address": server.host,
        "server.port": server.port,
        "error.type": "pymongo.errors.DocumentTooLarge",
    }
    assert span.name == "insert users"
    assert span.kind is SpanKind.CLIENT
    assert span.parent == request
    assert span.status.description == "DocumentTooLarge"
    assert dict(span.attributes) == expected
    points = telemetry.points("db.client.operation.duration")
    (point,) = (each for each in points if "error.type" in each.attributes)
    assert (point.attributes, point.data.count) == (expected, 1)
    assert point.data.exemplars[0].span_id == span.context.span_id
    assert point.data.sum == pytest.approx((span.end_time - span.start_time) / 1e9, abs=0.1)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda users: users.find_one({"a": object()}), "find users"),
        (lambda users: users.insert_one({"a": object()}), "insert users"),
        (lambda users: users.update_one({}, {"$set": {"a": object()}}), "update users"),
        (lambda users: users.delete_one({"a": object()}), "delete users"),
        (lambda users: users.count_documents({"a": object()}), "aggregate users"),
        (lambda users: list(users.aggregate([{"$match": {"a": object()}}])), "aggregate users"),
        (lambda users: users.distinct("a", {"a": object()}), "distinct users"),
        (lambda users: users.find_one_and_delete({"a": object()}), "findAndModify users"),
        (lambda users: users.bulk_write([pymongo.InsertOne({"a": object()})]), "insert users"),
        (
            lambda users: users.bulk_write(
                [pymongo.InsertOne({"a": object()}), pymongo.DeleteOne({})]
            ),
            "bulkWrite users",
        ),
        (lambda users: users.create_index("a", partialFilterExpression=object()), None),
        (lambda users: users.database.command("ping", a=object()), "ping shop"),
        (
            lambda users: users.with_options(write_concern=WriteConcern(0)).bulk_write(
                [pymongo.InsertOne({"a": object()})]
            ),
            "insert users",
        ),
    ],
)
def test_what_cannot_be_encoded(users, telemetry, failures, call, name):
    """Whatever call it is that PyMongo cannot encode, it is told once, by its command's name."""
    with pytest.raises(bson.errors.InvalidDocument):
        call(users)

    (span,) = errors(telemetry)
    assert span.name == name or name is None
    assert failures() == {(span.attributes["db.operation.name"], "bson.errors.InvalidDocument"): 1}


@CONVENTIONS
def test_no_server(telemetry, failures, convention):
    """A call that finds no server counts once, and its wait is its only span."""
    MongoInstrumentor().instrument(**telemetry.providers, span_convention=convention)
    with (
        pymongo.MongoClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50) as client,
        pytest.raises(ServerSelectionTimeoutError),
    ):
        client.shop.users.find_one()

    error = "pymongo.errors.ServerSelectionTimeoutError"
    assert failures() == {("find", error): 1}
    (span,) = errors(telemetry)
    assert span.name == {"semconv": "select server", "mongodb": "find shop.users"}[convention]
    (waits,) = telemetry.points("mongodb.client.server.selection.duration")
    assert waits.attributes == {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "error.type": error,
    }
    assert waits.data.sum >= 0.05


def test_no_connection(users, server, telemetry, failures):
    """A call that gets no connection counts once, though PyMongo tries it twice."""
    server.on("find", found({"_id": 1}))
    users.find_one()
    users.database.client.close()
    # To close the client takes no longer than to select a server, of which there is none.
    seldom = {"heartbeatFrequencyMS": 60_000, "serverSelectionTimeoutMS": 1_000}
    with pymongo.MongoClient(server.uri, **seldom) as client:
        client.admin.command("ping")
        server.refuse()
        telemetry.forget()
        client._topology._servers[next(iter(client.nodes))].pool.reset()
        with pytest.raises(PyMongoError), pymongo.timeout(0.5):
            client.shop.users.find_one()

    assert sum(failures().values()) == 1


def test_a_command_that_failed(users, server, telemetry, failures):
    """A failure that a command tells is not told again."""
    server.on("find", refused(11600, "InterruptedAtShutdown"))
    with pytest.raises(PyMongoError):
        users.find_one()

    assert set(failures()) == {("find", "11600")}
    assert {span.status.description for span in errors(telemetry)} == {"InterruptedAtShutdown"}
    assert {span.name for span in errors(telemetry)} == {"find users"}
    if pymongo.version_tuple < (4, 18):  # Its attempts had nothing in common.
        return
    (point,) = (p for p in telemetry.points("mongodb.client.retries") if p.data.value)
    assert point.attributes == {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "db.operation.name": "find",
        "db.collection.name": "users",
    }
    assert len(server.received("find")) == 1 + point.data.value


def test_retries_are_counted_from_0(users, server, telemetry):
    """Before the first retry there are none, of each kind of command to each collection."""
    users.insert_one({})

    (point,) = telemetry.points("mongodb.client.retries")
    assert (point.attributes["db.operation.name"], point.data.value) == ("insert", 0)


@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({"exclude_collections": "users"}, 1),
        ({"command_spans": False}, 1),
        ({"require_parent": True}, 1),
        ({"metrics": False}, 0),
    ],
)
def test_what_is_not_wanted(server, telemetry, failures, settings, counted):
    """A call has no span if its command had none; it is counted all the same."""
    MongoInstrumentor().instrument(**telemetry.providers, **settings)
    with pymongo.MongoClient(server.uri) as client, pytest.raises(DocumentTooLarge):
        client.shop.users.insert_one(TOO_LARGE)

    assert sum(failures().values()) == counted
    assert len(errors(telemetry)) == 1 - counted


def test_suppressed(users, telemetry, failures):
    """Of a call that is suppressed nothing is told."""
    with suppress_instrumentation(), pytest.raises(DocumentTooLarge):
        users.insert_one(TOO_LARGE)

    assert (errors(telemetry), failures()) == ([], {})


def test_undone(users, telemetry, failures):
    """Nor is it of one that fails after `uninstrument()`."""
    MongoInstrumentor().uninstrument()
    with pytest.raises(DocumentTooLarge):
        users.insert_one(TOO_LARGE)

    assert (errors(telemetry), failures()) == ([], {})


def test_an_end_of_sessions_in_vain(server, telemetry, failures):
    """What PyMongo keeps to itself when a client is closed is no failure of a call."""
    MongoInstrumentor().instrument(**telemetry.providers)
    with pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=50) as client:
        client.shop.users.insert_one({})
        server.refuse()
        with pytest.raises(PyMongoError):
            client.shop.users.find_one()
        found_nothing = failures()

    assert failures() == found_nothing
