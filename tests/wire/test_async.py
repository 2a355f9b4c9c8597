"""Commands of an asyncio client, which reads its replies in ways of its own."""

from __future__ import annotations

import asyncio
import inspect

import bson
import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from pymongo import CursorType
from pymongo.errors import AutoReconnect, NetworkTimeout
from pymongo.monitoring import ConnectionPoolListener
from scripted_server import found, more, refused
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
    with suppress_instrumentation():
        await users.database.command("ping")  # A busy machine takes its time to find the server.
    server.hang("find")
    with pytest.raises(NetworkTimeout), pymongo.timeout(0.5):
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


class CancelsWhoClears(ConnectionPoolListener):
    """Cancels the task that clears a pool, before it can close what it has taken out of it."""

    def pool_cleared(self, event):
        asyncio.current_task().cancel()

    def ignore(self, event):
        pass

    pool_created = pool_ready = pool_closed = ignore
    connection_created = connection_ready = connection_closed = ignore
    connection_check_out_started = connection_check_out_failed = ignore
    connection_checked_out = connection_checked_in = ignore


async def test_cancelled_while_it_clears_the_pool(instrumented, server, telemetry):
    """Connections that PyMongo has taken out of a pool, and then forgotten, are not counted."""
    server.on("find", found())
    server.hang("find", 0.2, times=4)
    listeners = [CancelsWhoClears()]
    async with pymongo.AsyncMongoClient(server.uri, event_listeners=listeners) as client:
        users = client.shop.users
        await asyncio.gather(*(users.find_one() for _ in range(4)))
        before = connections(telemetry)
        (pool,) = (each.pool for each in client._topology._servers.values())
        forgotten = list(pool.conns)
        server.on("find", refused(91))  # ShutdownInProgress
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(users.find_one())
        found_after = connections(telemetry)
        for each in forgotten:  # Else they stay open.
            if inspect.isawaitable(closed := each.close_conn(None)):
                await closed

        assert before == {"idle": 4, "used": 0}
        # Until 4.17 PyMongo forgets that of the task, too, and counts it as used ever after.
        assert found_after == {"idle": len(pool.conns), "used": pool.active_sockets}
        assert len(pool.conns) == 0


def connections(telemetry):
    return {
        point.attributes["db.client.connection.state"]: point.data.value
        for point in telemetry.points("db.client.connection.count")
    }
