"""CommandTelemetry: from PyMongo's events to spans and measurements."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import threading
import time
import weakref
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from bson.code import Code
from events import ADDRESS, MILLISECOND, REQUEST_ID, failed, started, succeeded
from in_memory import InMemoryTelemetry
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandStartedEvent,
    ConnectionCheckedOutEvent,
)

from otel_mongo_apm import Settings, event_listeners
from otel_mongo_apm._commands import cursors, in_flight, listener, signatures
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._driver.failures import TELLS_INTERRUPTIONS
from otel_mongo_apm._metrics import names
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._setup.client import ClientTelemetry, client_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.trace import Span

    from otel_mongo_apm._commands.listener import CommandTelemetry

FIND = {"find": "users", "filter": {"age": 30}, "$db": "shop"}
FOUND = {"cursor": {"id": 0, "ns": "shop.users", "firstBatch": [{"_id": 1}, {"_id": 2}]}, "ok": 1.0}
# Of a client that nobody knows; the next has what it is configured with.
OF_ANY_CLIENT = {
    "db.system.name": "mongodb",
    "db.operation.name": "find",
    "db.namespace": "shop",
    "db.collection.name": "users",
    "network.peer.address": "db.example",
    "network.peer.port": 27017,
}
CREATION_ATTRIBUTES = {**OF_ANY_CLIENT, "server.address": "db.example,standby.example"}
RECORDED_ATTRIBUTES = {
    "db.query.text": '{"find":"users","filter":{"age":"?"}}',
    "db.response.returned_rows": 2,
}


@pytest.fixture
def client() -> Iterator[pymongo.MongoClient[Any]]:
    """A client that is configured with two servers, and connects to none."""
    with pymongo.MongoClient("mongodb://standby.example,db.example", connect=False) as client:
        yield client


@pytest.fixture
def commands_with(
    client: pymongo.MongoClient[Any], telemetry: InMemoryTelemetry
) -> Callable[..., CommandTelemetry]:
    def make(**settings: Any) -> CommandTelemetry:
        shared = Telemetry(Settings(**telemetry.providers, **settings))
        return ClientTelemetry(shared, ClientReference(weakref.ref(client))).command_listener()

    return make


@pytest.fixture
def commands(commands_with: Callable[..., CommandTelemetry]) -> CommandTelemetry:
    return commands_with()


def test_a_command_has_a_span(commands, telemetry):
    """A command that succeeded is a CLIENT span with what its events told, and no status."""
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    span = telemetry.span
    assert span.name == "find users"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {**CREATION_ATTRIBUTES, **RECORDED_ATTRIBUTES}
    assert span.instrumentation_scope.name == "otel_mongo_apm"
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.45.0"
    assert len(commands.in_flight) == 0


def test_a_command_is_measured(commands_with, telemetry):
    """Duration, in seconds, and rows carry the span's attributes, and its ID as an exemplar."""
    commands = commands_with(returned_rows="both")
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND, duration=dt.timedelta(microseconds=2500)))

    metrics = telemetry.metrics()
    (duration,) = metrics["db.client.operation.duration"]
    (rows,) = metrics["db.client.response.returned_rows"]
    assert duration.attributes == rows.attributes == CREATION_ATTRIBUTES
    assert (duration.data.count, duration.data.sum) == (1, 0.0025)
    assert duration.data.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert (rows.data.count, rows.data.sum) == (1, 2)
    assert rows.data.explicit_bounds == (
        *(1, 2, 5, 10, 20, 50, 100),
        *(200, 500, 1000, 2000, 5000, 10000),
    )
    (exemplar,) = duration.data.exemplars
    assert exemplar.span_id == telemetry.span.context.span_id


@pytest.mark.parametrize(
    ("where", "is_attribute", "is_metric"),
    [("span", True, False), ("metric", False, True), ("both", True, True), ("none", False, False)],
)
def test_returned_rows(commands_with, telemetry, where, is_attribute, is_metric):
    """The number of documents in a reply goes where `returned_rows` says, and nowhere else."""
    commands = commands_with(returned_rows=where)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert ("db.response.returned_rows" in telemetry.span.attributes) is is_attribute
    assert ("db.client.response.returned_rows" in telemetry.metrics()) is is_metric


def test_without_a_collection(commands, telemetry):
    """A command that is sent to no collection is named by its database."""
    commands.started(started({"ping": 1}, "admin"))
    commands.succeeded(succeeded("ping"))

    assert telemetry.span.name == "ping admin"
    assert "db.collection.name" not in telemetry.span.attributes


def test_on_a_unix_socket(commands, telemetry):
    """A Unix socket's path is the server's address, and there is no port."""
    commands.started(started(FIND, address=("/tmp/mongodb-27017.sock", None)))
    commands.succeeded(succeeded("find"))

    assert telemetry.span.attributes["network.peer.address"] == "/tmp/mongodb-27017.sock"
    assert "network.peer.port" not in telemetry.span.attributes


def test_a_server_error(commands, telemetry):
    """A failure is told by the server's code and its name, never by its message."""
    commands.started(started(FIND))
    commands.failed(
        failed("find", {"ok": 0.0, "code": 2, "codeName": "BadValue", "errmsg": "secret 4711"})
    )

    error = {"error.type": "2", "db.response.status_code": "2"}
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "BadValue"
    assert dict(span.attributes) == {
        **CREATION_ATTRIBUTES,
        **error,
        "db.query.text": RECORDED_ATTRIBUTES["db.query.text"],
    }
    (duration,) = telemetry.points("db.client.operation.duration")
    name = {"mongodb.client.error.name": "BadValue"}
    assert duration.attributes == {**CREATION_ATTRIBUTES, **error, **name}


def test_an_error_message_if_wanted(commands_with, telemetry):
    """With `error_messages` the description is what the server said."""
    commands = commands_with(error_messages=True)
    commands.started(started(FIND))
    commands.failed(failed("find", {"code": 2, "codeName": "BadValue", "errmsg": "unknown: 4711"}))

    assert telemetry.span.status.description == "unknown: 4711"


def test_an_exception(commands, telemetry):
    """An exception of the client is told by its qualified class, without a status code."""
    commands.started(started(FIND))
    try:
        raise TimeoutError("4711")  # noqa: EM101, TRY301
    except TimeoutError:  # PyMongo publishes while it handles the exception.
        commands.failed(failed("find", {"errmsg": "4711", "errtype": "TimeoutError"}))

    span = telemetry.span
    assert span.attributes["error.type"] == "TimeoutError"
    assert span.status.description == "TimeoutError"
    assert "db.response.status_code" not in span.attributes


@pytest.mark.parametrize(
    ("reply", "code", "description"),
    [
        (
            {"n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000 4711"}]},
            "11000",
            "DuplicateKeyError",
        ),
        ({"n": 0, "writeErrors": [{"index": 0, "code": 121, "errmsg": "?"}]}, "121", "WriteError"),
        (
            {
                "n": 1,
                "writeConcernError": {"code": 100, "codeName": "CannotSatisfyWriteConcern"},
            },
            "100",
            "CannotSatisfyWriteConcern",
        ),
    ],
)
def test_a_success_that_is_none(commands, telemetry, reply, code, description):
    """A reply that reports write errors is an error with the first one's code, everywhere."""
    commands.started(started({"insert": "users", "documents": [{"_id": 4711}]}))
    commands.succeeded(succeeded("insert", {**reply, "ok": 1.0}))

    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == description
    assert span.attributes["error.type"] == span.attributes["db.response.status_code"] == code
    (duration,) = telemetry.points("db.client.operation.duration")
    assert duration.attributes["error.type"] == code
    assert duration.attributes["db.response.status_code"] == code


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ({"update": "users", "updates": [{"q": {}}] * 3}, 3),
        ({"update": "users", "updates": [{"q": {}}]}, None),
        ({"delete": "users", "deletes": []}, 0),
        ({"bulkWrite": 1, "ops": [{"insert": 0}, {"delete": 0}]}, 2),
        ({"insert": "users", "documents": [{}, {}]}, None),
    ],
)
def test_batch_size(commands, telemetry, command, size):
    """The size of a batch is told if it is not one; an insert of many is no batch."""
    commands.started(started(command))
    commands.succeeded(succeeded(next(iter(command))))

    assert telemetry.span.attributes.get("db.operation.batch.size") == size


class RecordingSampler(Sampler):
    """Drops every span and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, *_, **__):
        self.seen = {"name": name, "kind": kind, **attributes}
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "RecordingSampler"


def test_samplers_see_what_is_known():
    """A sampler is shown the name, the kind and every attribute that is known at the start."""
    sampler = RecordingSampler()
    telemetry = InMemoryTelemetry(sampler)
    (commands, *_) = event_listeners(**telemetry.providers)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert sampler.seen == {
        "name": "find users",
        "kind": SpanKind.CLIENT,
        **OF_ANY_CLIENT,
    }


class Untouchable(dict):
    """A filter that nobody may look into."""

    def __iter__(self):
        raise AssertionError

    items = keys = values = __iter__


def test_a_span_that_is_not_sampled_costs_nothing():
    """Without a recording span no text is made and no hook called; it is measured all the same."""
    telemetry, calls = InMemoryTelemetry(ALWAYS_OFF), []
    hook = lambda *arguments: calls.append(arguments)  # noqa: E731
    (commands, *_) = event_listeners(
        **telemetry.providers, request_hook=hook, response_hook=hook, failed_hook=hook
    )
    commands.started(started({"find": "users", "filter": Untouchable()}))
    commands.succeeded(succeeded("find", FOUND))

    (duration,) = telemetry.points("db.client.operation.duration")
    assert duration.attributes == OF_ANY_CLIENT
    assert duration.data.count == 1
    assert telemetry.spans == ()
    assert calls == []


def test_hooks_see_span_and_event(commands_with, telemetry):
    """Each hook is called with the open span and its own kind of event."""
    calls = []

    def hook(name: str) -> Callable[..., None]:
        def call(span: Span, event: object) -> None:
            calls.append((name, span.is_recording(), event))

        return call

    commands = commands_with(
        request_hook=hook("request"), response_hook=hook("response"), failed_hook=hook("failed")
    )
    commands.started(first := started(FIND))
    commands.succeeded(second := succeeded("find", FOUND))
    commands.started(first)
    commands.failed(third := failed("find", {"code": 2}))

    assert calls == [
        ("request", True, first),
        ("response", True, second),
        ("request", True, first),
        ("failed", True, third),
    ]
    assert len(telemetry.spans) == 2


def test_a_hook_that_raises(commands_with, telemetry, caplog):
    """What a hook raises is logged, once per call, and changes nothing else."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    commands = commands_with(request_hook=fails, response_hook=fails, failed_hook=None)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert dict(telemetry.span.attributes) == {**CREATION_ATTRIBUTES, **RECORDED_ATTRIBUTES}
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert all("fails" in record.message for record in caplog.records)


def test_suppressed(commands, telemetry):
    """Where instrumentation is suppressed a command leaves no trace at all."""
    with suppress_instrumentation():
        commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.spans == ()
    assert telemetry.points("db.client.operation.duration") == []


def test_suppressed_midway_still_ends(commands, telemetry):
    """What started before instrumentation was suppressed still ends."""
    commands.started(started(FIND))
    with suppress_instrumentation():
        commands.succeeded(succeeded("find", FOUND))

    assert dict(telemetry.span.attributes) == {**CREATION_ATTRIBUTES, **RECORDED_ATTRIBUTES}
    assert len(commands.in_flight) == 0


def test_switched_off_midway_still_ends(telemetry):
    """To switch the telemetry off loses no span that had started."""
    shared = Telemetry(Settings(**telemetry.providers))
    commands = ClientTelemetry(shared, ClientReference()).command_listener()
    commands.started(started(FIND))
    shared.is_on = False
    commands.succeeded(succeeded("find", FOUND))
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert len(telemetry.spans) == 1
    assert len(commands.in_flight) == 0


@pytest.mark.parametrize(
    ("command_name", "command"),
    [
        ("saslStart", {}),
        ("createUser", {}),
        ("hello", {"hello": 1, "speculativeAuthenticate": {"saslStart": 1}}),
    ],
)
def test_sensitive_commands(commands, telemetry, command_name, command):
    """A command that carries credentials has no span; that it took time may be known."""
    event = started({command_name: "alice", **command}, "admin")
    commands.started(event)
    commands.succeeded(succeeded(command_name))

    assert telemetry.spans == ()
    (duration,) = telemetry.points("db.client.operation.duration")
    assert "db.collection.name" not in duration.attributes


def test_hello_outside_of_a_trace(commands_with, telemetry):
    """With `require_parent` a hello has no more of a span than others."""
    commands = commands_with(require_parent=True)
    commands.started(started({"hello": 1}, "admin"))
    commands.succeeded(succeeded("hello"))

    assert telemetry.spans == ()


def test_hello_of_a_user(commands, telemetry):
    """A hello without credentials is a command as any other."""
    commands.started(started({"hello": 1}, "admin"))
    commands.succeeded(succeeded("hello"))

    assert telemetry.span.name == "hello admin"


@pytest.mark.parametrize("command", [{"endSessions": [{"id": 1}]}, {"killCursors": "users"}])
def test_what_the_driver_sends_by_itself(commands, telemetry, command):
    """To tidy up is no trace of its own, only part of one; it is measured either way."""
    name = next(iter(command))
    commands.started(started(command))
    commands.succeeded(succeeded(name))
    with telemetry.tracer.start_as_current_span("request"):
        commands.started(started(command))
        commands.succeeded(succeeded(name))

    assert [span.name.split()[0] for span in telemetry.spans] == [name, "request"]
    (duration,) = telemetry.points("db.client.operation.duration")
    assert duration.data.count == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"exclude_commands": ["find"]},
        {"exclude_databases": ["shop"]},
        {"exclude_collections": ["users"]},
        {"exclude_collections": ["shop.users"]},
        {"require_parent": True},
        {"command_spans": False},
    ],
)
def test_no_span_if_not_wanted(commands_with, telemetry, settings):
    """What is excluded has no span, and is measured all the same."""
    commands = commands_with(**settings)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.spans == ()
    assert len(telemetry.points("db.client.operation.duration")) == 1


@pytest.mark.parametrize(
    ("excluded", "sent"),
    [
        ("findAndModify", "findandmodify"),
        ("findandmodify", "findAndModify"),
        ("dropIndexes", "deleteIndexes"),
        ("dbStats", "dbstats"),
    ],
)
def test_excluded_by_another_name(commands_with, telemetry, excluded, sent):
    """A command is excluded by whichever of its names it is sent."""
    commands = commands_with(exclude_commands=[excluded])
    commands.started(started({sent: "users", "$db": "shop"}))
    commands.succeeded(succeeded(sent))

    assert not telemetry.spans


def test_a_field_without_a_name(commands, telemetry):
    """What a command has in a field without a name is a value, never a collection."""
    commands.started(started({"ping": 1, "": "S3CRET", "$db": "shop"}))
    commands.succeeded(succeeded("ping"))

    assert telemetry.span.name == "ping shop"
    assert "S3CRET" not in str([telemetry.span.attributes, telemetry.metrics()])


def test_code_in_place_of_a_collection(commands, telemetry):
    """Code is a string for Python but no name of a collection."""
    commands.started(started({"find": Code("S3CRET"), "$db": "shop"}))
    commands.succeeded(succeeded("find"))

    assert telemetry.span.name == "find shop"
    assert "S3CRET" not in str([telemetry.span.attributes, telemetry.metrics()])


def test_a_batch_that_is_none(commands_with, telemetry):
    """A command with a number in place of its batch keeps its text and its hook."""
    calls = []
    commands = commands_with(request_hook=lambda *_: calls.append(1))
    commands.started(started({"update": "users", "updates": 5, "$db": "shop"}))
    commands.failed(failed("update", {"code": 14}))

    assert telemetry.span.attributes["db.query.text"] == '{"update":"users","updates":"?"}'
    assert calls == [1]


@pytest.mark.parametrize("code", [float("nan"), float("inf")])
def test_a_code_that_is_no_number(commands, telemetry, code):
    """A failure with such a code is an error, and nothing of ours fails."""
    commands.started(started(FIND))
    commands.failed(failed("find", {"code": code, "errmsg": "x"}))

    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.attributes["error.type"] == "_OTHER"


@pytest.mark.parametrize(
    "settings",
    [
        {"exclude_commands": ["insert"]},
        {"exclude_databases": ["sho"]},
        {"exclude_collections": ["orders", "other.users"]},
    ],
)
def test_a_span_for_what_is_not_excluded(commands_with, telemetry, settings):
    """An exclusion concerns what it names alone."""
    commands = commands_with(**settings)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.span.name == "find users"


def test_no_metrics_if_not_wanted(commands_with, telemetry):
    """With `metrics` off, spans go on alone."""
    commands = commands_with(metrics=False)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.span.name == "find users"
    assert telemetry.metrics() == {}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"query_text": "off"}, None),
        ({"query_text": "sanitized"}, '{"find":"users","filter":{"age":"?"}}'),
        ({"query_text": "raw"}, '{"find":"users","filter":{"age":30}}'),
        ({"query_text_max_length": 10}, '{"find"...'),
        ({"query_text": "raw", "query_text_max_length": 10}, '{"find"...'),
        ({"query_text_keys": "masked"}, '{"find":"users","filter":{"?":"?"}}'),
    ],
)
def test_query_text(commands_with, telemetry, settings, text):
    """The text is off, sanitized or raw, and as long as it may be."""
    commands = commands_with(**settings)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.span.attributes.get("db.query.text") == text


def test_query_text_hides_users(commands, telemetry):
    """The value of a command that names no collection is hidden."""
    commands.started(started({"dropUser": "alice", "$db": "shop"}))
    commands.succeeded(succeeded("dropUser"))

    assert telemetry.span.attributes["db.query.text"] == '{"dropUser":"?"}'
    assert "alice" not in str(telemetry.span.to_json())


TAIL = {"getMore": 4711, "collection": "users", "maxTimeMS": 1000}


def test_a_getmore_that_waited_in_vain(commands_with, telemetry):
    """An idle tailed cursor makes no spans, but is measured."""
    commands = commands_with(returned_rows="metric")
    commands.started(started(TAIL))
    commands.succeeded(succeeded("getMore", {"cursor": {"id": 4711, "nextBatch": []}, "ok": 1.0}))

    assert telemetry.spans == ()
    (rows,) = telemetry.points("db.client.response.returned_rows")
    assert (rows.data.count, rows.data.sum) == (1, 0)


def test_a_getmore_that_brought_documents(commands_with, telemetry):
    """A tailed cursor's getMore with documents has a span as long as the wait was."""
    requested = []
    commands = commands_with(request_hook=lambda _, event: requested.append(event))
    commands.started(event := started(TAIL))
    before = time.time_ns()
    commands.succeeded(
        succeeded(
            "getMore",
            {"cursor": {"id": 4711, "nextBatch": [{}]}, "ok": 1.0},
            duration=dt.timedelta(seconds=3),
        )
    )

    span = telemetry.span
    assert span.name == "getMore users"
    assert before - 3_100_000_000 < span.start_time <= time.time_ns() - 3_000_000_000
    assert span.end_time - span.start_time >= 3_000_000_000
    assert (
        span.attributes["db.query.text"] == '{"getMore":"?","collection":"users","maxTimeMS":"?"}'
    )
    assert requested == [event]


def test_a_getmore_that_failed(commands, telemetry):
    """A tailed cursor's getMore that failed has a span."""
    commands.started(started(TAIL))
    commands.failed(failed("getMore", {"code": 43, "codeName": "CursorNotFound", "errmsg": "x"}))

    assert telemetry.span.status.description == "CursorNotFound"


def test_a_clock_set_back(commands, telemetry):
    """A duration below nothing, which PyMongo could tell until 4.18, counts as nothing."""
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND, duration=dt.timedelta(seconds=-1)))

    assert telemetry.points("db.client.operation.duration")[0].data.sum == 0


def test_an_end_without_a_start(commands, telemetry):
    """What ends twice, or never started, is left alone."""
    commands.succeeded(succeeded("find", FOUND))
    commands.failed(failed("find", {"code": 2}))
    commands.started(started(FIND))
    commands.failed(failed("find", {"code": 2}))
    commands.succeeded(succeeded("find", FOUND))

    assert len(telemetry.spans) == 1


def test_a_hook_that_sends_a_command(commands_with, telemetry):
    """A command that a hook sends in the middle of another's start does not take its place."""
    inner = started({"find": "audit"}, request_id=2)

    def hook(_: object, event: object) -> None:
        if event is not inner:
            commands.started(inner)
            commands.succeeded(succeeded("find", FOUND, request_id=2))

    commands = commands_with(request_hook=hook)
    commands.started(started(FIND, request_id=1))
    commands.succeeded(succeeded("find", FOUND, request_id=1))

    assert [span.name for span in telemetry.spans] == ["find audit", "find users"]
    assert len(commands.in_flight) == 0


@pytest.fixture
def two_names(monkeypatch):
    """Let metrics name two commands, two databases and two collections."""
    for kind in ("commands", "databases", "collections"):
        monkeypatch.setattr(names, f"_{kind}", names._Names(kind, 2))


def test_metrics_name_so_many_collections(commands, telemetry, two_names, caplog):
    """Beyond the bound, metrics leave collections out and say so once; spans do not."""
    for collection in ("a", "b", "c", "d", "a"):
        commands.started(started({"find": collection}))
        commands.succeeded(succeeded("find", FOUND))

    named = {
        point.attributes.get("db.collection.name"): point.data.count
        for point in telemetry.points("db.client.operation.duration")
    }
    assert named == {"a": 2, "b": 1, None: 2}
    assert [span.name[-1] for span in telemetry.spans] == ["a", "b", "c", "d", "a"]
    assert len(caplog.records) == 1


def test_metrics_name_so_many_commands(commands, telemetry, two_names, caplog):
    """So they do with commands, which an application may take from who knows where."""
    for name in ("a", "b", "c", "d", "a"):
        commands.started(started({name: 1}))
        commands.succeeded(succeeded(name))

    named = {
        point.attributes.get("db.operation.name"): point.data.count
        for point in telemetry.points("db.client.operation.duration")
    }
    assert named == {"a": 2, "b": 1, None: 2}
    assert [span.attributes["db.operation.name"] for span in telemetry.spans] == list("abcda")
    assert len(caplog.records) == 1


def test_metrics_name_so_many_databases(commands, telemetry, two_names, caplog):
    """So they do with databases, of which there may be one for each customer."""
    for database in ("a", "b", "c", "d"):
        commands.started(started({"ping": 1}, database))
        commands.succeeded(succeeded("ping"))

    named = {
        point.attributes.get("db.namespace"): point.data.count
        for point in telemetry.points("db.client.operation.duration")
    }
    assert named == {"a": 1, "b": 1, None: 2}
    assert len(caplog.records) == 1


def test_nothing_is_said_of_metrics_that_are_off(commands_with, two_names, caplog):
    """Without metrics there is nothing to be left out."""
    commands = commands_with(metrics=False)
    for collection in ("a", "b", "c"):
        commands.started(started({"find": collection}))
        commands.succeeded(succeeded("find", FOUND))

    assert caplog.records == []


def test_signatures_are_bounded(commands, monkeypatch):
    """What is remembered of commands does not grow without end."""
    monkeypatch.setattr(signatures, "MAX_SIGNATURES", 10)
    for number in range(100):
        commands.started(started({"find": f"c{number}"}))
        commands.succeeded(succeeded("find", FOUND))

    assert len(commands._signatures) <= 10


CONNECTION = (ADDRESS, 7)
needs_published_interruptions = pytest.mark.skipif(
    not TELLS_INTERRUPTIONS, reason="PyMongo before 4.20.1 does not publish interruptions"
)


@pytest.fixture
def on_a_connection(commands):
    """Have a connection checked out, with a PyMongo that does not publish interruptions."""
    commands._connections = client_telemetry(commands).connections
    commands._connections.check_out(CONNECTION)
    return CONNECTION


def test_an_interrupted_command(commands, telemetry, on_a_connection):
    """A command whose connection is given back while it is open was interrupted: an error."""
    commands.started(started(FIND))
    checked_in = (*on_a_connection, None)
    raising = {"__name__": "pymongo.pool", "commands": commands, "checked_in": checked_in}
    exec(
        "try: raise KeyboardInterrupt\nexcept BaseException: commands.checked_in(checked_in)",
        raising,
    )
    commands.closed(on_a_connection)

    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "KeyboardInterrupt"
    assert span.attributes["error.type"] == "KeyboardInterrupt"
    assert len(commands.in_flight) == 0
    (duration,) = telemetry.points("db.client.operation.duration")
    assert duration.attributes == {**CREATION_ATTRIBUTES, "error.type": "KeyboardInterrupt"}


def test_interrupted_by_who_knows_what(commands, telemetry, on_a_connection):
    """Where the exception is not known, it was another."""
    commands.started(started(FIND))
    commands.checked_in((*on_a_connection, None))

    assert telemetry.span.attributes["error.type"] == "_OTHER"


def test_an_orphan_of_another_thread(commands, telemetry, on_a_connection):
    """A connection that another thread closes ends what was open on it."""
    commands.started(started(FIND))
    thread = threading.Thread(target=commands.closed, args=(on_a_connection,))
    thread.start()
    thread.join()

    assert telemetry.span.name == "find users"
    assert len(commands.in_flight) == 0


def test_other_connections(commands, telemetry, on_a_connection):
    """What happens to other connections concerns no command of this one."""
    commands.started(started(FIND))
    commands.checked_in((ADDRESS, 8, None))
    commands.closed((ADDRESS, 8))

    assert telemetry.spans == ()
    commands.succeeded(succeeded("find", FOUND))
    commands.checked_in((*on_a_connection, None))
    assert telemetry.span.status.status_code is StatusCode.UNSET


@needs_published_interruptions
def test_an_end_that_never_came(commands, telemetry):
    """A command whose end we were not told of ends with its connection, and not with another's."""
    checked_out = time.monotonic()
    commands.started(started(FIND))
    commands.checked_in((ADDRESS, 8, time.monotonic()))  # Which a listener had meanwhile.
    commands.checked_in((ADDRESS, 9, None))
    before = telemetry.spans
    commands.checked_in((ADDRESS, 7, checked_out))

    assert before == ()
    assert telemetry.span.attributes["error.type"] == "_OTHER"
    assert len(commands.in_flight) == 0


@needs_published_interruptions
def test_connections_that_nobody_needs(telemetry):
    """Where PyMongo publishes every end, the connection of a command is not kept track of."""
    commands, pools, _ = event_listeners(**telemetry.providers)
    pools.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, 7, 0.0))
    commands.started(started(FIND))

    assert len(client_telemetry(commands).connections) == 0


def test_a_getmore_that_was_interrupted(commands, telemetry, on_a_connection):
    """A tailed cursor's getMore that is interrupted has a span, too."""
    commands.started(started(TAIL))
    commands.checked_in((*on_a_connection, None))

    assert telemetry.span.name == "getMore users"
    assert telemetry.span.status.status_code is StatusCode.ERROR


def test_the_memory_of_a_command(commands, on_a_connection):
    """A command in flight takes less than 400 bytes beside its span and what it shares."""
    commands.started(started(FIND))
    commands.failed(failed("find", {"code": 91}))
    commands.started(started(FIND))  # A retry: more is told of it than of others.
    (command,) = commands.in_flight._open.values()

    own = [command, command.began, command.special, command.special.retry]
    assert sum(map(sys.getsizeof, own)) < 400


def test_contexts_hold_numbers(commands, on_a_connection):
    """A context, which outlives a command wherever it was copied to, keeps nothing but numbers."""
    commands.started(started(TAIL))
    commands.failed(failed("getMore", {"code": 91}))
    commands.started(started(FIND))
    kept = {key.name: value for key, value in copy_context().items() if value is not None}
    ours = {name: value for name, value in kept.items() if name.startswith("otel_mongo_apm")}

    assert len(ours) == 4
    assert set(map(type, ours.values())) == {int, float}


def test_expected_retries_are_bounded(commands, monkeypatch):
    """Operations that fail for good do not add up."""
    monkeypatch.setattr(in_flight, "MAX_RETRIES", 3)

    def fail():
        commands.started(started(FIND))
        commands.failed(failed("find", {"code": 8000}))

    for _ in range(10):
        Context().run(fail)

    assert len(in_flight.retries) == 3


def test_too_many_in_flight(commands, telemetry, monkeypatch):
    """What is in flight is bounded; the oldest that has to make room is ended."""
    monkeypatch.setattr(in_flight, "MAX_OPEN", 3)
    for number in range(5):
        commands.started(started({"find": f"c{number}"}, request_id=number))

    assert [span.name for span in telemetry.spans] == ["find c0", "find c1"]
    assert len(commands.in_flight) == 3


RETRY = "mongodb.client.retry.count"


def test_retries(commands, telemetry):
    """Another attempt of an operation that failed says which one it is, linked to the last."""
    for _ in range(2):
        commands.started(started(FIND, operation_id=7))
        commands.failed(failed("find", {"code": 91}, operation_id=7))
    commands.started(started(FIND, operation_id=7))
    commands.succeeded(succeeded("find", FOUND))

    first, second, third = telemetry.spans
    assert [span.attributes.get(RETRY) for span in telemetry.spans] == [None, 1, 2]
    assert first.links == ()
    assert [link.context for link in second.links] == [first.context]
    assert [link.context for link in third.links] == [second.context]


def test_no_retries(commands, telemetry):
    """Another operation is no retry, nor is what follows an operation's success."""
    commands.started(started(FIND, operation_id=7))
    commands.failed(failed("find", {"code": 2}, operation_id=7))
    commands.started(started(FIND, operation_id=8))
    commands.succeeded(succeeded("find", FOUND))
    commands.started(started(FIND, operation_id=8))
    commands.succeeded(succeeded("find", FOUND))

    assert [span.attributes.get(RETRY) for span in telemetry.spans] == [None] * 3
    assert [span.links for span in telemetry.spans] == [()] * 3


def test_an_operation_without_an_id(commands, telemetry):
    """What has no operation ID is no retry of what had none either."""
    for _ in range(2):
        commands.started(CommandStartedEvent(FIND, "shop", REQUEST_ID, ADDRESS, None))
        commands.failed(CommandFailedEvent(MILLISECOND, {}, "find", REQUEST_ID, ADDRESS, None))

    assert [span.attributes.get(RETRY) for span in telemetry.spans] == [None] * 2


def opened(cursor_id: int) -> dict[str, Any]:
    return {"cursor": {"id": cursor_id, "ns": "shop.users", "firstBatch": [{}]}, "ok": 1.0}


def more(cursor_id: int, *documents: dict[str, Any]) -> dict[str, Any]:
    return {"cursor": {"id": cursor_id, "ns": "shop.users", "nextBatch": [*documents]}, "ok": 1.0}


def test_a_getmore_is_linked(commands, telemetry):
    """A getMore is linked to the command that opened its cursor, which is then forgotten."""
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", opened(4711)))
    for left in (4711, 0):
        commands.started(started({"getMore": 4711, "collection": "users"}))
        commands.succeeded(succeeded("getMore", more(left, {})))

    find, *get_mores = telemetry.spans
    for span in get_mores:
        assert [link.context for link in span.links] == [find.context]
    assert len(commands._cursors) == 0


def test_a_getmore_of_an_unknown_cursor(commands, telemetry):
    """A getMore whose cursor was opened by nobody we know has no link, and opens none."""
    commands.started(started({"getMore": 4711, "collection": "users"}))
    commands.succeeded(succeeded("getMore", more(4711, {})))

    assert telemetry.span.links == ()


def test_killed_cursors_are_forgotten(commands):
    """A cursor that is killed is forgotten, whether or not it is done with."""
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", opened(4711)))
    commands.started(started({"killCursors": "users", "cursors": [4711, 4712]}))

    assert len(commands._cursors) == 0


def test_open_cursors_are_bounded(commands, monkeypatch):
    """Cursors that nobody exhausts do not pile up."""
    monkeypatch.setattr(cursors, "MAX_CURSORS", 10)
    for number in range(1, 100):
        commands.started(started(FIND))
        commands.succeeded(succeeded("find", opened(number)))

    assert len(commands._cursors) == 10


@pytest.mark.parametrize(
    "command",
    [
        {"aggregate": "users", "pipeline": [{"$changeStream": {}}]},
        {"find": "users", "tailable": True, "awaitData": True},
        {"find": "users", "tailable": True},
    ],
)
def test_an_idle_tail(commands, telemetry, command):
    """The getMores of a cursor that stays open are silent without documents, whatever they say."""
    commands.started(started(command))
    commands.succeeded(succeeded(next(iter(command)), opened(4711)))
    for documents in ([], [{}], []):
        commands.started(started({"getMore": 4711, "collection": "users"}))
        commands.succeeded(succeeded("getMore", more(4711, *documents)))

    assert [span.name.split()[0] for span in telemetry.spans] == [next(iter(command)), "getMore"]


SAMPLED, DROPPED = Decision.RECORD_AND_SAMPLE, Decision.DROP


class ByTurns(Sampler):
    """Samples each of the spans, or none, as it is told."""

    def __init__(self, *decisions: Decision) -> None:
        self._decisions = iter(decisions)

    def should_sample(self, *arguments: Any, **_: Any) -> SamplingResult:
        return SamplingResult(next(self._decisions), arguments[4])

    def get_description(self) -> str:
        return "ByTurns"


def unmeasured(*decisions: Decision) -> tuple[InMemoryTelemetry, CommandTelemetry]:
    telemetry = InMemoryTelemetry(ByTurns(*decisions))
    shared = Telemetry(Settings(**telemetry.providers, metrics=False))
    return telemetry, ClientTelemetry(shared, ClientReference()).command_listener()


def test_what_nobody_sees_is_not_kept():
    """Nothing is kept of a command that is neither sampled nor measured; the next is told of."""
    telemetry, commands = unmeasured(DROPPED, SAMPLED)
    commands.started(started(FIND))
    kept = len(commands.in_flight)
    commands.succeeded(succeeded("find", FOUND))
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert kept == 0
    assert telemetry.span.attributes.items() >= RECORDED_ATTRIBUTES.items()
    assert len(commands.in_flight) == 0


def test_the_end_of_what_nobody_sees_is_nobody_elses():
    """A command that is not sampled ends none of the same ID that another task has in flight."""
    telemetry, commands = unmeasured(SAMPLED, DROPPED)
    commands.started(started(FIND))

    def meanwhile() -> None:
        commands.started(started(FIND))
        commands.succeeded(succeeded("find", FOUND))

    other = threading.Thread(target=meanwhile)
    other.start()
    other.join()

    assert (len(telemetry.spans), len(commands.in_flight)) == (0, 1)


def test_a_retry_of_what_nobody_saw():
    """A sampled retry tells its number even if the attempt that failed was not sampled."""
    telemetry, commands = unmeasured(DROPPED, DROPPED, SAMPLED)
    for request_id in (1, 2, 3):
        commands.started(started(FIND, request_id=request_id, operation_id=7))
        commands.failed(failed("find", {"code": 189}, request_id=request_id, operation_id=7))

    assert telemetry.span.attributes[RETRY] == 2


def test_a_command_without_a_record_is_not_left_open(monkeypatch):
    """If what is kept of a command cannot be made, the span that has started ends."""
    telemetry, commands = unmeasured(SAMPLED)
    monkeypatch.setattr(listener, "in_flight_command", lambda *_: 1 / 0)
    commands.started(started(FIND))

    assert telemetry.started_and_ended == (1, 1)
