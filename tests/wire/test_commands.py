"""Commands of a real client to a server that fails in ways that a real one does not on demand."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import bson
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from pymongo import CursorType, WriteConcern
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    CursorNotFound,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WriteError,
)
from pymongo.monitoring import CommandListener
from scripted_server import ScriptedServer, found, more, refused
from versions import RETRY, RETRY_OF_BULK

from otel_mongo_apm import MongoInstrumentor

DOCUMENT = bson.encode(found({"name": "???"}))
NOT_UTF8 = DOCUMENT.replace(b"???", b"\xff\xfe\xfd")
NO_SUCH_TYPE = DOCUMENT.replace(b"\x02name", b"\x1aname")


def test_a_dropped_read(users, server, telemetry, command_spans, attributes_of, durations):
    """A read whose connection is dropped is an error; its retry is not; one span is around both."""
    server.on("find", found({"_id": 1}))
    server.drop("find")
    with telemetry.tracer.start_as_current_span("request") as request:
        assert users.find_one() == {"_id": 1}

    dropped, retried = command_spans()
    assert dropped.status.status_code is StatusCode.ERROR
    assert dict(dropped.attributes) == {**attributes_of("find"), "error.type": "OSError"}
    assert retried.status.status_code is StatusCode.UNSET
    assert dict(retried.attributes) == {
        **attributes_of("find"),
        **RETRY,
        "db.response.returned_rows": 1,
    }
    parent = request.get_span_context().span_id
    assert [span.parent.span_id for span in (dropped, retried)] == [parent, parent]
    assert durations() == {("find", "OSError"): 1, ("find", None): 1}


@pytest.mark.parametrize(
    ("insert", "retry"),
    [
        (lambda users: users.insert_one({}), RETRY),
        (lambda users: users.insert_many([{}, {}]), RETRY_OF_BULK),
    ],
)
def test_a_dropped_write(users, server, command_spans, attributes_of, durations, insert, retry):
    """A write whose connection is dropped is an error of the socket's, whichever way it is sent."""
    server.drop("insert")
    insert(users)

    dropped, retried = command_spans()
    assert dropped.status.status_code is StatusCode.ERROR
    assert dict(dropped.attributes) == {**attributes_of("insert"), "error.type": "OSError"}
    assert retried.status.status_code is StatusCode.UNSET
    assert dict(retried.attributes) == {**attributes_of("insert"), **retry}
    assert durations() == {("insert", "OSError"): 1, ("insert", None): 1}
    assert len({insert["txnNumber"] for insert in server.received("insert")}) == 1


def test_dropped_again(users, server, command_spans, durations):
    """A retry that is dropped, too, is a second error."""
    server.drop("find", times=2)
    with pytest.raises(AutoReconnect):
        users.find_one()

    assert [span.attributes["error.type"] for span in command_spans()] == ["OSError", "OSError"]
    assert durations() == {("find", "OSError"): 2}


def test_a_server_that_is_gone(instrumented, server, command_spans):
    """Where a server is gone only what was sent to it has a span; once it is back all is well."""
    with pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=700) as client:
        client.shop.command("ping")
        server.refuse()
        with pytest.raises(ConnectionFailure):
            client.shop.command("ping")
        server.accept()
        client.shop.command("ping")

    before, lost, after = command_spans()
    assert before.status.status_code is StatusCode.UNSET
    assert lost.status.status_code is StatusCode.ERROR
    # It depends on the network which of the two a client is told.
    assert lost.attributes["error.type"] in {"OSError", "ConnectionResetError"}
    assert after.status.status_code is StatusCode.UNSET


def test_a_socket_that_times_out(instrumented, server, command_spans, attributes_of, durations):
    """A server that hangs for longer than `socketTimeoutMS` is an error of the socket's."""
    server.hang("insert")
    with (
        pymongo.MongoClient(server.uri, socketTimeoutMS=100, retryWrites=False) as client,
        pytest.raises(NetworkTimeout),
    ):
        client.shop.users.insert_one({})

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes) == {**attributes_of("insert"), "error.type": "TimeoutError"}
    assert span.end_time - span.start_time >= 90_000_000
    assert durations()["insert", "TimeoutError"] == 1


def test_an_operation_that_times_out(users, server, command_spans, attributes_of, durations):
    """A server that hangs for longer than `pymongo.timeout()` allows is an error."""
    with suppress_instrumentation():
        users.database.command("ping")  # A busy machine takes its time to find the server.
    server.hang("find")
    with pytest.raises(NetworkTimeout), pymongo.timeout(0.5):
        users.find_one()

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes) == {**attributes_of("find"), "error.type": "TimeoutError"}
    assert durations() == {("find", "TimeoutError"): 1}


def test_a_server_that_hangs_altogether(instrumented, server, command_spans):
    """A command that the monitor interrupts, since heartbeats hang as well, is an error."""
    timeouts = {"heartbeatFrequencyMS": 500, "connectTimeoutMS": 100}
    with pymongo.MongoClient(server.uri, **timeouts, retryReads=False) as client:
        client.shop.command("ping")
        server.hang("find")
        server.hang("hello")
        with pytest.raises(AutoReconnect):
            client.shop.users.find_one()

    _, span = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "pymongo.errors._OperationCancelled"


@pytest.mark.parametrize(
    ("reply", "error", "error_type"),
    [
        (NOT_UTF8, bson.errors.InvalidBSON, "bson.errors.InvalidBSON"),
        (NO_SUCH_TYPE, bson.errors.InvalidBSON, "bson.errors.InvalidBSON"),
        (b"\x05", struct.error, "struct.error"),
    ],
    ids=["text", "type", "message"],
)
def test_a_reply_that_cannot_be_decoded(
    users, server, command_spans, attributes_of, durations, reply, error, error_type
):
    """A reply that is not BSON is an error, as the client has nothing to show for its success."""
    server.on("find", reply)
    with pytest.raises(error):
        users.find_one()

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes) == {**attributes_of("find"), "error.type": error_type}
    assert durations() == {("find", error_type): 1}


def test_a_reply_that_cannot_be_processed(users, server, command_spans, durations):
    """A reply that PyMongo chokes on ends its span once, though some versions tell of it twice."""
    server.on("insert", {"n": 1, "ok": 1, "$clusterTime": 4711})
    users.insert_one({})
    with pytest.raises(TypeError):
        users.insert_many([{}])

    # Where PyMongo tells of a success first, the call that fails has a span of its own.
    sent = [span for span in command_spans() if "network.peer.address" in span.attributes]
    assert len(sent) == 2
    assert sum(durations().values()) == len(command_spans())


@pytest.mark.parametrize(
    ("refusal", "told", "description"),
    [
        (
            refused(),
            {"error.type": "pymongo.errors.OperationFailure"},
            "OperationFailure",
        ),
        (
            refused(8000),
            {"error.type": "8000", "db.response.status_code": "8000"},
            "OperationFailure",
        ),
        (
            refused(26, "NamespaceNotFound"),
            {"error.type": "26", "db.response.status_code": "26"},
            "NamespaceNotFound",
        ),
    ],
    ids=["no code", "no name", "code and name"],
)
def test_refusals(
    users, server, telemetry, command_spans, attributes_of, refusal, told, description
):
    """A refusal is told by its code and name; where they are missing, by the exception's class."""
    server.on("find", refusal)
    with pytest.raises(OperationFailure):
        users.find_one()

    (duration,) = telemetry.points("db.client.operation.duration")
    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == description
    name = duration.attributes.pop("mongodb.client.error.name", description)
    assert dict(span.attributes) == duration.attributes == {**attributes_of("find"), **told}
    assert name == description


def test_no_primary_any_more(users, server, command_spans, durations):
    """A server that has stepped down refuses twice, as the client retries: two errors."""
    server.on("find", refused(10107, "NotWritablePrimary"))
    with pytest.raises(AutoReconnect):
        users.find_one()

    descriptions = [span.status.description for span in command_spans()]
    assert descriptions == ["NotWritablePrimary", "NotWritablePrimary"]
    assert durations() == {("find", "10107"): 2}


def test_a_cursor_that_was_lost(users, server, command_spans, attributes_of, durations):
    """Where a cursor is lost the getMore is the error, not the find."""
    server.on("find", found({"_id": 1}, cursor_id=7))
    server.on("getMore", refused(43, "CursorNotFound"))
    with pytest.raises(CursorNotFound):
        list(users.find())

    find, get_more = command_spans()
    assert find.status.status_code is StatusCode.UNSET
    assert get_more.status.description == "CursorNotFound"
    assert dict(get_more.attributes) == {
        **attributes_of("getMore"),
        "error.type": "43",
        "db.response.status_code": "43",
    }
    assert durations() == {("find", None): 1, ("getMore", "43"): 1}


WRITE_ERRORS = [{"index": 0, "code": 121, "errmsg": "alice is not allowed"}]
WRITE_CONCERN_ERROR = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "alice waits"}


@pytest.mark.parametrize("document_class", [dict, RawBSONDocument])
@pytest.mark.parametrize(
    ("reply", "error", "code", "description"),
    [
        ({"writeErrors": WRITE_ERRORS}, WriteError, "121", "WriteError"),
        (
            {"writeConcernError": WRITE_CONCERN_ERROR},
            WriteConcernError,
            "64",
            "WriteConcernTimeout",
        ),
        (
            {"writeErrors": WRITE_ERRORS, "writeConcernError": WRITE_CONCERN_ERROR},
            PyMongoError,
            "121",
            "WriteError",
        ),
        ({"writeErrors": [{"index": 0}]}, WriteError, None, "WriteError"),
    ],
    ids=["write", "write concern", "both", "no code"],
)
def test_failed_writes(
    users,
    server,
    telemetry,
    command_spans,
    attributes_of,
    document_class,
    reply,
    error,
    code,
    description,
):
    """What went wrong with a write is told, however documents are decoded, but not its message."""
    server.on("insert", {"n": 0, "ok": 1, **reply})
    options = users.codec_options.with_options(document_class=document_class)
    with pytest.raises(error):
        users.with_options(options).insert_one({})

    told = {"error.type": code, "db.response.status_code": code}
    (duration,) = telemetry.points("db.client.operation.duration")
    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == description
    name = duration.attributes.pop("mongodb.client.error.name", description)
    assert (
        dict(span.attributes)
        == duration.attributes
        == {**attributes_of("insert"), **(told if code else {"error.type": "_OTHER"})}
    )
    assert name == description
    assert "alice" not in span.to_json()


def test_a_reply_that_nobody_expects(server, telemetry, command_spans):
    """A reply of an unheard-of shape leaves no span open; the call that fails of it has its own."""
    server.on("insert", {"n": 0, "ok": 1, "writeErrors": {"index": 0, "code": 121}})
    MongoInstrumentor().instrument(**telemetry.providers)
    with pymongo.MongoClient(server.uri) as client, pytest.raises(KeyError):
        client.shop.users.insert_one({})

    command, call = command_spans()
    assert command.name == call.name == "insert users"
    assert command.status.status_code is StatusCode.UNSET
    assert call.status.description == "KeyError"


@pytest.mark.parametrize("batch", [bytes(8), b"\xff" * 8, b"\x05", b""])
def test_a_batch_of_something_else(server, telemetry, command_spans, caplog, batch):
    """A batch that looks like raw documents and is none keeps nobody waiting."""
    server.on("find", found(batch))
    MongoInstrumentor().instrument(**telemetry.providers)
    with pymongo.MongoClient(server.uri) as client:
        client.shop.command("find", "users")

    (span,) = command_spans()
    assert span.attributes["db.response.returned_rows"] in {0, 1}
    assert caplog.messages == []


def test_raw_documents(instrumented, server, command_spans, attributes_of):
    """Documents that are left undecoded are counted, and not decoded for that."""
    server.on("find", NOT_UTF8)
    with pymongo.MongoClient(server.uri, document_class=RawBSONDocument) as client:
        document = client.shop.users.find_one()

    assert b"\xff\xfe\xfd" in document.raw
    (span,) = command_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {**attributes_of("find"), "db.response.returned_rows": 1}


def test_an_unacknowledged_write(users, server, command_spans, attributes_of, durations):
    """A write that nobody waits for has a span, even if the server drops it."""
    server.drop("insert")
    users.with_options(write_concern=WriteConcern(w=0)).insert_one({})

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == attributes_of("insert")
    assert durations() == {("insert", None): 1}


def test_an_exhaust_cursor_that_is_dropped(users, server, command_spans, durations):
    """A stream of replies that breaks off is an error of the getMore that waited for more."""
    server.on("find", found({"_id": 1}, cursor_id=7))
    server.on("getMore", [more({"_id": 2}, cursor_id=7), None])
    with pytest.raises(AutoReconnect):
        list(users.find(cursor_type=CursorType.EXHAUST))

    assert [(span.name, span.attributes.get("error.type")) for span in command_spans()] == [
        ("find users", None),
        ("getMore users", None),
        ("getMore users", "OSError"),
    ]
    assert durations() == {("find", None): 1, ("getMore", None): 1, ("getMore", "OSError"): 1}


class _Rendezvous(CommandListener):
    """Lets no thread go on from a command with request ID 0 before all have sent theirs."""

    def __init__(self, threads: int) -> None:
        self.barrier = Barrier(threads, timeout=10)
        self.meetings = 0

    def started(self, event):
        pass

    def succeeded(self, event):
        if event.request_id == 0 and self.barrier.wait() == 0:
            self.meetings += 1

    def failed(self, event):
        pass


@pytest.mark.parametrize("connection_id", [True, False])
def test_equal_request_ids(instrumented, telemetry, command_spans, durations, connection_id):
    """Threads whose commands have equal request IDs mix up nothing, connection IDs or no."""
    rendezvous = _Rendezvous(8)
    with (
        ScriptedServer(connection_id=connection_id) as server,
        pymongo.MongoClient(server.uri, event_listeners=[rendezvous]) as client,
    ):
        server.on("find", _first_batch)
        server.on("getMore", _stream)

        def read(size: int) -> None:
            with telemetry.tracer.start_as_current_span(f"reader {size}"):
                list(client.shop.users.find({}, cursor_type=CursorType.EXHAUST, batch_size=size))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(read, range(2, 10)))

    assert rendezvous.meetings == 4
    readers = {s.context.span_id: s.name for s in telemetry.spans if s.name.startswith("reader")}
    batches = [
        (readers[span.parent.span_id], f"reader {span.attributes['db.response.returned_rows']}")
        for span in command_spans()
    ]
    assert len(batches) == 8 * 6
    assert all(reader == read_by for reader, read_by in batches)
    assert durations() == {("find", None): 8, ("getMore", None): 8 * 5, ("endSessions", None): 1}


def _first_batch(find):
    """As many documents as are asked for; their number is the cursor's ID, too."""
    size = find["batchSize"]
    return found(*[{}] * size, cursor_id=size)


def _stream(get_more):
    """Five batches, each of as many documents as the cursor's ID says."""
    size = get_more["getMore"]
    return [more(*[{}] * size, cursor_id=size if batch < 4 else 0) for batch in range(5)]


def _raise(*_: object) -> None:
    message = "a mistake of the user's"
    raise RuntimeError(message)


def test_hooks_that_raise(server, telemetry, command_spans, caplog):
    """What a hook raises is logged; the operation and its span do not notice."""
    hooks = dict.fromkeys(("request_hook", "response_hook", "failed_hook"), _raise)
    MongoInstrumentor().instrument(**telemetry.providers, **hooks)
    server.on("find", found({"_id": 1}))
    server.drop("find")
    with pymongo.MongoClient(server.uri) as client:
        assert client.shop.users.find_one() == {"_id": 1}

    codes = [span.status.status_code for span in command_spans()]
    assert codes == [StatusCode.ERROR, StatusCode.UNSET]
    logged = [record.getMessage() for record in caplog.records if "_raise" in record.getMessage()]
    assert len(logged) == 4
    assert all(line.endswith("in _raise\nRuntimeError") for line in logged)


class _Faulty(CommandListener):
    """A listener of the user's that raises."""

    started = succeeded = failed = _raise


def test_a_listener_that_raises(instrumented, server, command_spans, durations, capsys):
    """What a listener of the user's raises is PyMongo's to report; ours is told all the same."""
    server.on("find", found({"_id": 1}))
    server.drop("find")
    with pymongo.MongoClient(server.uri, event_listeners=[_Faulty()]) as client:
        assert client.shop.users.find_one() == {"_id": 1}
        assert durations() == {("find", "OSError"): 1, ("find", None): 1}

    assert "a mistake of the user's" in capsys.readouterr().err
    codes = [span.status.status_code for span in command_spans()]
    assert codes == [StatusCode.ERROR, StatusCode.UNSET]


class _Curious(CommandListener):
    """A listener of the user's that sends a command of its own before and after each find."""

    client: pymongo.MongoClient

    def started(self, event):
        if event.command_name == "find":
            self.client.shop.command("ping")

    succeeded = failed = started


def test_a_listener_that_sends_commands(instrumented, server, command_spans, durations):
    """Commands that are sent while another is in flight leave that one its span."""
    server.on("find", found({"_id": 1}))
    server.drop("find")
    listener = _Curious()
    with pymongo.MongoClient(server.uri, event_listeners=[listener]) as client:
        listener.client = client
        client.shop.users.find_one()
        assert durations() == {("ping", None): 4, ("find", "OSError"): 1, ("find", None): 1}

    assert [(span.name, span.attributes.get("error.type")) for span in command_spans()] == [
        ("ping shop", None),
        ("ping shop", None),
        ("find users", "OSError"),
        ("ping shop", None),
        ("ping shop", None),
        ("find users", None),
    ]
