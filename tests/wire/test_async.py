"""Commands of an asyncio client, which reads its replies in ways of its own."""

from __future__ import annotations

import asyncio

import bson
import pymongo
import pytest
from opentelemetry.trace import StatusCode
from pymongo import CursorType
from pymongo.errors import AutoReconnect, NetworkTimeout
from scripted_server import found, more
from versions import RETRY

pytestmark = pytest.mark.skipif(
    pymongo.version_tuple < (4, 11), reason="PyMongo 4.11 has the first asyncio client of use."
)


@pytest.fixture
async def client(instrumented, server):
    async with pymongo.AsyncMongoClient(server.uri) as client:
        yield client


async def test_a_dropped_read(users, server, telemetry, command_spans, attributes_of, durations):
    """A read whose connection is dropped is an error; its retry is not; one span is around both."""
    server.on("find", found({"_id": 1}))
    server.drop("find")
    with telemetry.tracer.start_as_current_span("request") as request:
        assert await users.find_one() == {"_id": 1}

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


async def test_a_dropped_write(users, server, command_spans, attributes_of):
    """A write whose connection is dropped is an error of the socket's."""
    server.drop("insert")
    await users.insert_one({})

    dropped, retried = command_spans()
    assert dict(dropped.attributes) == {**attributes_of("insert"), "error.type": "OSError"}
    assert dict(retried.attributes) == {**attributes_of("insert"), **RETRY}


async def test_an_operation_that_times_out(users, server, command_spans, attributes_of, durations):
    """A server that hangs for longer than `pymongo.timeout()` allows is an error."""
    server.hang("find")
    with pytest.raises(NetworkTimeout), pymongo.timeout(0.1):
        await users.find_one()

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes) == {**attributes_of("find"), "error.type": "TimeoutError"}
    assert durations() == {("find", "TimeoutError"): 1}


async def test_a_reply_that_cannot_be_decoded(users, server, command_spans, attributes_of):
    """A reply that is not BSON is an error."""
    server.on("find", bson.encode(found({"name": "???"})).replace(b"???", b"\xff\xfe\xfd"))
    with pytest.raises(bson.errors.InvalidBSON):
        await users.find_one()

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes) == {
        **attributes_of("find"),
        "error.type": "bson.errors.InvalidBSON",
    }


async def test_an_exhaust_cursor_that_is_dropped(users, server, command_spans):
    """A stream of replies that breaks off is an error of the getMore that waited for more."""
    server.on("find", found({"_id": 1}, cursor_id=7))
    server.on("getMore", [more({"_id": 2}, cursor_id=7), None])
    with pytest.raises(AutoReconnect):
        await users.find(cursor_type=CursorType.EXHAUST).to_list()

    assert [(span.name, span.attributes.get("error.type")) for span in command_spans()] == [
        ("find users", None),
        ("getMore users", None),
        ("getMore users", "OSError"),
    ]


async def test_tasks_of_unequal_luck(users, server, telemetry, command_spans):
    """Of many tasks at once each has its own command's outcome."""
    server.on("find", lambda find: None if find["filter"]["_id"] % 2 else found({"_id": 1}))

    async def request(number: int) -> None:
        with telemetry.tracer.start_as_current_span(f"request {number % 2}"):
            await users.find_one({"_id": number})

    await asyncio.gather(*map(request, range(20)), return_exceptions=True)

    requests = {s.context.span_id: s.name for s in telemetry.spans if s.name.startswith("request")}
    outcomes = {
        (requests[span.parent.span_id], span.attributes.get("error.type"))
        for span in command_spans()
    }
    assert outcomes == {("request 0", None), ("request 1", "OSError")}
