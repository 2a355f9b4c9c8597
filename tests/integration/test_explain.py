"""Slow commands, explained by a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
import uuid

import pymongo
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, TypeEncoder, TypeRegistry
from bson.datetime_ms import DatetimeMS
from client_kinds import documents, of_each_kind, settle
from local_mongodb import eventually
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.trace import SpanKind
from pymongo import InsertOne
from pymongo.encryption_options import AutoEncryptionOpts
from versions import log_exporter, needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners
from otel_mongo_apm._explain import explanation, queue, slow_commands

INDEX = "IXSCAN { customer: 1, total: -1 }"
CANARY = "alice@example.com"


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch):
    """Every shape is new, and the thread of another test has ended."""
    monkeypatch.setattr(queue, "IDLE", 0.05)
    queue.explanations.start_anew()
    yield
    eventually(lambda: not explainers(), "the thread's end")


@pytest.fixture
def orders(mongodb_uri, shop):
    with pymongo.MongoClient(mongodb_uri) as client:
        orders = client[shop].orders
        orders.insert_many(
            [{"_id": n, "customer": n % 7, "total": n, "name": CANARY} for n in range(100)]
        )
        yield orders


@pytest.fixture
def explaining(telemetry):
    MongoInstrumentor().instrument(explain_slower_than=0, **telemetry.providers)
    return telemetry


def explainers():
    return [each for each in threading.enumerate() if each.name == "otel_mongo_apm_explain"]


def explained(telemetry):
    eventually(lambda: not explainers(), "the thread's end")
    return telemetry.named("explain orders")


async def _find(orders):
    await documents(orders.find({"customer": 3, "name": {"$ne": CANARY}}).sort("total", -1))


async def _aggregate(orders):
    pipeline = [{"$match": {"customer": 3}}, {"$group": {"_id": "$total"}}]
    await documents(await settle(orders.aggregate(pipeline)))


async def _count(orders):
    await settle(orders.database.command("count", "orders", query={"customer": 3}))


async def _distinct(orders):
    await settle(orders.distinct("total", {"customer": 3}))


async def _find_and_modify(orders):
    await settle(orders.find_one_and_update({"customer": 3}, {"$set": {"a": CANARY}}))


async def _update(orders):
    await settle(orders.update_many({"customer": 3}, {"$set": {"a": CANARY}}))


async def _delete(orders):
    await settle(orders.delete_one({"customer": 3}))


CALLS = {
    "find": _find,
    "aggregate": _aggregate,
    "count": _count,
    "distinct": _distinct,
    "findAndModify": _find_and_modify,
    "update": _update,
    "delete": _delete,
}


def work_of(kind, uri, call):
    """Make one call with a client of a kind, which lives until it was explained."""

    async def work():
        client = kind.make(uri)
        await call(client.shop.orders)
        deadline = time.monotonic() + 10
        while explainers() and time.monotonic() < deadline:
            await settle(_pause(kind))
        await settle(client.close())

    kind.run(work())


def _pause(kind):
    """Let others work: a client that awaits nothing blocks its thread, others their task."""
    is_sync = type(kind).__name__ == "SyncClients"
    return time.sleep(0.02) if is_sync else asyncio.sleep(0.02)


@of_each_kind
@pytest.mark.parametrize("name", CALLS)
def test_commands(kind, name, explaining, orders, mongodb_uri):
    """The plan of a slow command is a span inside of the command's, and shows no value."""
    orders.create_index([("customer", 1), ("total", -1)])
    work_of(kind, mongodb_uri, CALLS[name])

    (span,) = explained(explaining)
    (command,) = explaining.named(f"{name} orders")
    assert span.parent.span_id == command.context.span_id
    assert span.context.trace_id == command.context.trace_id
    assert span.kind is SpanKind.INTERNAL
    assert span.start_time >= command.start_time
    assert "{ customer: 1, total: -1 }" in span.attributes["mongodb.query.plan.summary"]
    assert CANARY not in json.dumps(dict(span.attributes))


def test_what_it_says(explaining, orders, mongodb_uri):
    """Without an index the collection is scanned and sorted; with it, neither."""
    with pymongo.MongoClient(mongodb_uri) as client:
        for index in (None, [("customer", 1), ("total", -1)]):
            if index:
                orders.create_index(index)
                queue.explanations.start_anew()
            list(client.shop.orders.find({"customer": 3}).sort("total", -1))
            eventually(lambda: not explainers(), "the thread's end")

    without, with_index = explained(explaining)
    where = {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "db.operation.name": "explain",
        "db.collection.name": "orders",
        "mongodb.query.plan.rejected": 0,
    }
    assert without.attributes == {
        **where,
        "mongodb.query.plan.summary": "COLLSCAN",
        "mongodb.query.plan.stages": "SORT > COLLSCAN",
        "mongodb.query.plan.has_sort_stage": True,
    }
    assert with_index.attributes == {
        **where,
        "mongodb.query.plan.summary": INDEX,
        "mongodb.query.plan.stages": "FETCH > IXSCAN",
        "mongodb.query.plan.has_sort_stage": False,
    }


def test_nothing_of_it_is_seen_elsewhere(explaining, orders, mongodb_uri):
    """The explain itself has no command span, and it is asked once for each shape."""
    with pymongo.MongoClient(mongodb_uri) as client:
        for customer in range(5):
            client.shop.orders.find_one({"customer": customer})
        client.shop.orders.find_one({"total": 3})
        spans = explained(explaining)

    assert len(spans) == 2
    names = {span.name for span in explaining.spans}
    assert names - {"mongodb.topology.discovery"} <= {
        *("insert orders", "find orders", "explain orders"),
        *("select server", "check out connection"),
    }


@pytest.mark.parametrize("threshold", [None, 60])
def test_not_slow(threshold, telemetry, orders, mongodb_uri):
    """Quick commands, and all while nothing is set, are not explained, and there is no thread."""
    MongoInstrumentor().instrument(explain_slower_than=threshold, **telemetry.providers)
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.find_one({"customer": 3})
        assert not explainers()

    assert explained(telemetry) == []
    assert len(queue.explanations) == 0


def test_slow(telemetry, orders, mongodb_uri):
    """A command that took longer than the threshold is explained, even if it failed for that."""
    MongoInstrumentor().instrument(explain_slower_than=0.05, **telemetry.providers)
    slow = {"$where": "sleep(100) || true"}
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.find_one({"customer": 3})
        with pytest.raises(pymongo.errors.ExecutionTimeout):
            client.shop.orders.find_one(slow, max_time_ms=80)
        (span,) = explained(telemetry)

    assert span.attributes["mongodb.query.plan.summary"] == "COLLSCAN"


def test_transactions(explaining, orders, mongodb_uri):
    """A command in a transaction is not explained."""
    with pymongo.MongoClient(mongodb_uri) as client, client.start_session() as session:
        with session.start_transaction():
            client.shop.orders.find_one({"customer": 3}, session=session)
        assert explained(explaining) == []


def test_excluded(telemetry, orders, mongodb_uri):
    """Nor is one that is excluded."""
    MongoInstrumentor().instrument(
        explain_slower_than=0, exclude_collections=["orders"], **telemetry.providers
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.find_one({"customer": 3})
        assert explained(telemetry) == []


def test_encryption(explaining, orders, mongodb_uri):
    """Nor is any of a client that encrypts."""
    options = AutoEncryptionOpts(
        {"local": {"key": b"\0" * 96}}, "keys.keys", bypass_auto_encryption=True
    )
    with pymongo.MongoClient(mongodb_uri, auto_encryption_opts=options) as client:
        client.shop.orders.find_one({"customer": 3})
        assert explained(explaining) == []


def test_large_commands(explaining, orders, mongodb_uri, monkeypatch):
    """Nor is a command of more than a mebibyte."""
    monkeypatch.setattr(slow_commands, "MAX_BYTES", 1000)
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.find_one({"name": "a" * 1000})
        assert explained(explaining) == []


def test_documents_that_change(explaining, orders, mongodb_uri):
    """A command is explained as it was sent, even if the application reuses its filter."""
    hold = threading.Event()
    queue.explanations.add(lambda: hold.wait(10))
    with pymongo.MongoClient(mongodb_uri) as client:
        chosen = {"_id": 3}
        list(client.shop.orders.find(chosen))
        del chosen["_id"]
        chosen["total"] = 3
        hold.set()
        (span,) = explained(explaining)

    assert span.attributes["mongodb.query.plan.stages"] == "IDHACK"


class Money:
    """A type of the application's."""


class MoneyEncoder(TypeEncoder):
    python_type = Money

    def transform_python(self, _):
        return 3


@pytest.mark.parametrize(
    ("value", "is_explained"),
    [
        (uuid.uuid4(), True),
        (DatetimeMS(2**60), True),
        (Money(), False),
    ],
    ids=["UUID", "date after 9999", "type of the collection's"],
)
def test_values(value, is_explained, explaining, orders, mongodb_uri, caplog):
    """Values that need the collection's codec options are explained if possible, and no errors."""
    options = CodecOptions(
        type_registry=TypeRegistry([MoneyEncoder()]),
        uuid_representation=UuidRepresentation.STANDARD,
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.with_options(options).find_one({"customer": value})
        assert len(explained(explaining)) == is_explained

    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_no_connection_to_spare(telemetry, orders, mongodb_uri, monkeypatch):
    """The application's connections come first; what finds none free is dropped and counted."""
    monkeypatch.setattr(explanation, "PATIENCE", 0.05)
    MongoInstrumentor().instrument(explain_slower_than=0, **telemetry.providers)
    with (
        pymongo.MongoClient(mongodb_uri, maxPoolSize=1) as client,
        client.shop.orders.find(batch_size=2, cursor_type=pymongo.CursorType.EXHAUST) as cursor,
    ):
        next(cursor)
        assert explained(telemetry) == []

    (point,) = telemetry.points("mongodb.client.query.explain.drops")
    assert point.data.value == 1


@needs_async
def test_tasks_that_were_cancelled(explaining, orders, mongodb_uri, monkeypatch):
    """Tasks that were cancelled while they waited for a connection do not wait for ever."""
    monkeypatch.setattr(explanation, "PATIENCE", 0.5)

    async def work():
        async with pymongo.AsyncMongoClient(mongodb_uri, maxPoolSize=1) as client:
            users, slow = client.shop.users, {"$where": "sleep(200) || true"}
            await users.insert_one({})
            holder = asyncio.create_task(users.find_one(slow))
            await asyncio.sleep(0.05)
            waiting = asyncio.create_task(users.find_one())
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.wait([holder, waiting])
            await client.shop.orders.find_one({"customer": 3})
            while explainers():
                await asyncio.sleep(0.02)

    asyncio.run(work())

    assert len(explained(explaining)) == 1


def test_drops_begin_with_zero(telemetry, mongodb_uri):
    """The counter is there before anything is dropped, so that the first is an increase."""
    MongoInstrumentor().instrument(explain_slower_than=60, **telemetry.providers)
    with pymongo.MongoClient(mongodb_uri):
        (point,) = telemetry.points("mongodb.client.query.explain.drops")

    assert point.data.value == 0


@pytest.fixture
def refusing(orders):
    """A server that refuses to explain anything."""
    admin = orders.database.client.admin
    refusal = {"failCommands": ["explain"], "errorCode": 13}
    admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=refusal)
    yield
    admin.command("configureFailPoint", "failCommand", mode="off")


@pytest.mark.usefixtures("refusing")
def test_who_may_not_explain(explaining, mongodb_uri, caplog):
    """One line says that a user may not, and no more is asked for ten minutes."""
    with pymongo.MongoClient(mongodb_uri) as client:
        for field in ("a", "b", "c"):
            client.shop.orders.find_one({field: 1})
            eventually(lambda: not explainers(), "the thread's end")

    (line,) = (each.getMessage() for each in caplog.records if "explain" in each.getMessage())
    assert line == (
        "The server refused to explain a slow command (Unauthorized)."
        " Slow commands of this client are not explained for the next 10 minutes."
    )
    assert explained(explaining) == []


def test_a_client_that_was_closed(explaining, orders, mongodb_uri, caplog):
    """To close the client at once neither waits nor fails, and leaves no thread behind."""
    with pymongo.MongoClient(mongodb_uri) as client:
        began = time.monotonic()
        client.shop.orders.find_one({"customer": 3})
    took = time.monotonic() - began
    explained(explaining)

    assert took < 5
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


@needs_async
@pytest.mark.parametrize("number", range(3))
def test_a_loop_that_has_ended(number, explaining, orders, mongodb_uri, recwarn):
    """An event loop that ends at once is not held up, and no coroutine is left behind."""

    async def work():
        client = pymongo.AsyncMongoClient(mongodb_uri)
        await client.shop.orders.find_one({"customer": number})
        await client.close()

    asyncio.run(work())
    explained(explaining)

    assert [str(each.message) for each in recwarn if "never awaited" in str(each.message)] == []


UNCLOSED = """
import asyncio, logging, sys, time
import pymongo
from opentelemetry.sdk.trace import TracerProvider
from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._explain import queue

async def work(number):
    client = pymongo.AsyncMongoClient(sys.argv[1])
    await client.shop.orders.find_one({"_id": 1})
    await client.shop.orders.find_one({f"field {number}": 1})
    await asyncio.sleep(number / 2000)

logging.basicConfig(level="WARNING")
queue.IDLE = 0.05
MongoInstrumentor().instrument(explain_slower_than=0, tracer_provider=TracerProvider())
for number in range(8):
    queue.explanations.start_anew()
    asyncio.run(work(number))
time.sleep(2.5)
"""


@needs_async
def test_a_client_that_is_not_closed(orders, mongodb_uri):
    """An event loop that ends while a command is being explained shows no errors of that."""
    process = subprocess.run(
        [sys.executable, "-c", UNCLOSED, mongodb_uri], capture_output=True, text=True, check=True
    )

    assert process.stderr == ""


def test_bulk_writes(explaining, orders, mongodb_uri):
    """What cannot be explained, as several writes in one command, is left alone."""
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.bulk_write([InsertOne({}), InsertOne({})])
        assert explained(explaining) == []


def test_log_events(telemetry, orders, mongodb_uri):
    """Where events go to logs, the plan does, too, in the trace of the command."""
    exporter = log_exporter()
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    MongoInstrumentor().instrument(
        explain_slower_than=0, events="logs", logger_provider=logs, **telemetry.providers
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.find_one({"customer": 3})
        (span,) = explained(telemetry)
    records = [each.log_record for each in exporter.get_finished_logs()]

    (record,) = (each for each in records if each.event_name == "mongodb.client.query.explained")
    (command,) = telemetry.named("find orders")
    assert record.attributes == span.attributes
    assert record.body.startswith("find orders took ")
    assert record.body.endswith(" s: COLLSCAN")
    assert record.trace_id == command.context.trace_id
    assert record.span_id == command.context.span_id


def test_listeners_that_are_passed(telemetry, orders, mongodb_uri):
    """It works with `event_listeners()` as well."""
    listeners = event_listeners(explain_slower_than=0, **telemetry.providers)
    with pymongo.MongoClient(mongodb_uri, event_listeners=listeners) as client:
        client.shop.orders.find_one({"customer": 3})
        assert len(explained(telemetry)) == 1


def test_operations(telemetry, orders, mongodb_uri):
    """With MongoDB's own convention the plan is inside of the command, and is no operation."""
    MongoInstrumentor().instrument(
        explain_slower_than=0, span_convention="mongodb", **telemetry.providers
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.orders.find_one({"customer": 3})
        (span,) = explained(telemetry)

    (command,) = telemetry.named("find")
    assert span.parent.span_id == command.context.span_id
