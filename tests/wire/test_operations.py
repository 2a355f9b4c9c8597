"""Operations of the convention `mongodb` whose server does what a real one seldom does."""

from __future__ import annotations

import pymongo
import pytest
from bson.codec_options import CodecOptions, TypeRegistry
from local_mongodb import free_port
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure
from scripted_server import found, more, refused

from otel_mongo_apm import MongoInstrumentor

RECORDED = ("exception.type", "exception.message", "exception.stacktrace")


@pytest.fixture
def client(telemetry, server):
    MongoInstrumentor().instrument(
        span_convention="mongodb", wait_span_threshold=60.0, events="none", **telemetry.providers
    )
    with pymongo.MongoClient(server.uri) as client:
        yield client


@pytest.mark.parametrize("script", [refused(251, "NoSuchTransaction"), None])
def test_an_abort_that_fails(client, server, telemetry, script):
    """A transaction whose abort fails, which PyMongo ignores, is aborted and no ERROR."""
    server.on("abortTransaction", script)
    with client.start_session() as session:
        session.start_transaction()
        client.shop.users.insert_one({}, session=session)
        session.abort_transaction()

    (abort,) = telemetry.named("abortTransaction admin")
    (transaction,) = telemetry.named("transaction")
    assert abort.status.status_code is StatusCode.ERROR
    assert transaction.status.status_code is StatusCode.UNSET


def test_a_commit_that_fails(client, server, telemetry):
    """One whose commit fails is an ERROR."""
    server.on("commitTransaction", refused(251, "NoSuchTransaction"))
    with client.start_session() as session:
        session.start_transaction()
        client.shop.users.insert_one({}, session=session)
        with pytest.raises(pymongo.errors.OperationFailure):
            session.commit_transaction()

    (transaction,) = telemetry.named("transaction")
    assert transaction.status.status_code is StatusCode.ERROR


def instrument(telemetry, **settings):
    MongoInstrumentor().instrument(
        **{"wait_span_threshold": 60.0, "events": "none", **settings}, **telemetry.providers
    )


def fail(uri, error, **options):
    """Make a call that fails."""
    with pymongo.MongoClient(uri, **options) as client, pytest.raises(error):
        client.shop.users.find_one()


def recorded(span):
    """What a span tells of the exception in its attributes; its event tells the same."""
    told = {name: span.attributes[name] for name in RECORDED}
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes == told
    return told


class TestErrorTypes:
    """A command's error is the class that the application gets, or the server's code."""

    def failed(self, telemetry):
        (command,) = telemetry.named("find")
        (operation,) = telemetry.named("find shop.users")
        assert command.status.status_code is operation.status.status_code is StatusCode.ERROR
        assert "error.type" not in operation.attributes
        assert recorded(operation)["exception.type"] == recorded(command)["exception.type"]
        return command, operation

    def test_a_connection_that_is_lost(self, telemetry, server):
        """A network error is PyMongo's exception, not its cause, on both of its spans."""
        instrument(telemetry, span_convention="mongodb")
        server.drop("find")
        fail(server.uri, AutoReconnect, retryReads=False)

        command, operation = self.failed(telemetry)
        assert command.attributes["error.type"] == "pymongo.errors.AutoReconnect"
        assert recorded(command)["exception.type"] == "pymongo.errors.AutoReconnect"
        assert command.status.description == operation.status.description == "AutoReconnect"
        (duration,) = telemetry.points("db.client.operation.duration")
        assert duration.attributes["error.type"] == "OSError"

    def test_a_reply_that_does_not_come(self, telemetry, server):
        """So is a timeout."""
        instrument(telemetry, span_convention="mongodb")
        server.hang("find", 1.0)
        fail(server.uri, NetworkTimeout, retryReads=False, socketTimeoutMS=100)

        command, _ = self.failed(telemetry)
        assert command.attributes["error.type"] == "pymongo.errors.NetworkTimeout"

    def test_a_command_that_fails(self, telemetry, server):
        """What the server refuses is its code, though the exception has a class."""
        instrument(telemetry, span_convention="mongodb")
        server.on("find", refused(2, "BadValue"))
        fail(server.uri, OperationFailure)

        command, _ = self.failed(telemetry)
        assert command.attributes["error.type"] == "2"
        assert recorded(command)["exception.type"] == "pymongo.errors.OperationFailure"

    def test_semconv(self, telemetry, server):
        """OpenTelemetry's convention prefers the cause, and records no exception on spans."""
        instrument(telemetry)
        server.drop("find")
        fail(server.uri, AutoReconnect, retryReads=False)

        (command,) = telemetry.named("find users")
        assert command.attributes["error.type"] == "OSError"
        assert not command.events
        assert not set(RECORDED).intersection(command.attributes)


@pytest.mark.parametrize("error_messages", [False, True])
def test_what_is_recorded(telemetry, server, error_messages):
    """An exception is recorded with its stack trace; with its message only if that is asked for."""
    instrument(telemetry, span_convention="mongodb", error_messages=error_messages)
    server.on("find", refused(2, "BadValue", errmsg="alice"))
    fail(server.uri, OperationFailure)

    for name in ("find", "find shop.users"):
        (span,) = telemetry.named(name)
        told = recorded(span)
        assert "in _check_command_response" in told["exception.stacktrace"]
        assert ("alice" in told["exception.stacktrace"]) is error_messages
        assert ("alice" in told["exception.message"]) is error_messages
        assert ("alice" in str(span.status.description)) is error_messages


class SilentError(Exception):
    """An exception of the application's that cannot say what it is."""

    def __str__(self):
        raise LookupError


@pytest.mark.parametrize("error_messages", [False, True])
def test_an_exception_without_words(telemetry, server, caplog, error_messages):
    """A call fails with an exception whose `__str__` raises: an ERROR as others are."""

    def encode(value):
        raise SilentError

    instrument(telemetry, span_convention="mongodb", error_messages=error_messages)
    options = CodecOptions(type_registry=TypeRegistry(fallback_encoder=encode))
    with pymongo.MongoClient(server.uri) as client:
        users = client.shop.get_collection("users", codec_options=options)
        with pytest.raises(SilentError):
            users.insert_one({"name": object()})

    (operation,) = telemetry.named("insert shop.users")
    assert operation.status.status_code is StatusCode.ERROR
    assert recorded(operation)["exception.type"].endswith("SilentError")
    expected = {"otel_mongo_apm.cluster", "otel_mongo_apm._settings.environment"}
    assert {record.name for record in caplog.records} <= expected


def test_a_wait_in_an_operation_that_fails(telemetry):
    """A call that finds no server is one error: the wait inside of it only tells what it was."""
    instrument(telemetry, span_convention="mongodb")
    uri = f"mongodb://localhost:{free_port()}"
    fail(uri, pymongo.errors.ServerSelectionTimeoutError, serverSelectionTimeoutMS=50)

    wait, operation = telemetry.spans
    assert (wait.name, operation.name) == ("select server", "find shop.users")
    assert operation.status.status_code is StatusCode.ERROR
    assert wait.status.status_code is StatusCode.UNSET
    assert wait.kind is SpanKind.INTERNAL
    assert wait.parent.span_id == operation.context.span_id
    assert wait.attributes["error.type"] == "pymongo.errors.ServerSelectionTimeoutError"


def test_a_check_out_in_an_operation_that_fails(telemetry, server):
    """So is one that gets no connection."""
    instrument(telemetry, span_convention="mongodb")
    with pymongo.MongoClient(server.uri, retryReads=False) as client:
        client.admin.command("ping")
        server.refuse()
        client._topology._servers[server.host, server.port].pool.reset()
        telemetry.forget()
        with pytest.raises(AutoReconnect):
            client.shop.users.find_one()

        waits = [span for span in telemetry.spans if span.name != "find shop.users"]
        assert {span.status.status_code for span in waits} == {StatusCode.UNSET}
        assert {span.kind for span in waits} == {SpanKind.INTERNAL}
        assert all("error.type" in span.attributes for span in waits)
        server.accept()


def test_waits_that_fail_under_semconv(telemetry):
    """Where calls have no spans, the wait that failed is the error."""
    instrument(telemetry)
    uri = f"mongodb://localhost:{free_port()}"
    fail(uri, pymongo.errors.ServerSelectionTimeoutError, serverSelectionTimeoutMS=50)

    (wait,) = telemetry.named("select server")
    assert wait.status.status_code is StatusCode.ERROR
    assert wait.kind is SpanKind.CLIENT


def test_attributes_of_no_convention(client, server, telemetry):
    """Attempts and batches are told by what they are inside of, not by attributes or links."""
    server.on("find", found({"_id": 1}, cursor_id=7))
    server.on("getMore", more({"_id": 2}))
    server.drop("find")
    assert len(list(client.shop.users.find())) == 2

    first, second = telemetry.named("find")
    (get_more,) = telemetry.named("getMore")
    assert first.status.status_code is StatusCode.ERROR
    for span in telemetry.spans:
        assert "mongodb.client.retry.count" not in span.attributes
        assert not span.links
    assert second.parent == first.parent
    assert second.attributes["db.mongodb.cursor_id"] == get_more.attributes["db.mongodb.cursor_id"]
