"""Calls within calls of the convention `mongodb`: which are the driver's own, and which are not."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import sys
import weakref

import pymongo
import pytest
from opentelemetry.trace import StatusCode
from pymongo.errors import InvalidOperation
from pymongo.monitoring import CommandListener
from span_tree import parent, tree
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._operations import calls, in_progress, transactions

pytestmark = pytest.mark.usefixtures("shop")

FIND = {"find shop.users": ["find"]}
INSERT = {"insert shop.users": ["insert"]}
COUNT = {"count shop.audits": ["aggregate"]}


@pytest.fixture
def seen(telemetry):
    MongoInstrumentor().instrument(
        span_convention="mongodb", wait_span_threshold=60.0, events="none", **telemetry.providers
    )
    return telemetry


@pytest.fixture
def client(seen, mongodb_uri):
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.insert_one({"_id": 1})
        seen.forget()
        yield client


class Audit(CommandListener):
    """Calls a function of the application's whenever something becomes of an insert."""

    def __init__(self, moment):
        self.moment = moment
        self.call = None

    def _told(self, moment, event):
        if moment == self.moment and event.command_name == "insert":
            self.call()

    def started(self, event):
        self._told("started", event)

    def succeeded(self, event):
        self._told("succeeded", event)

    def failed(self, event):
        self._told("failed", event)


@pytest.mark.parametrize("moment", ["started", "succeeded", "failed"])
def test_a_listener_that_calls_the_same_client(seen, mongodb_uri, moment):
    """A call that a listener makes with its own client is an operation beside the one it hears."""
    audit = Audit(moment)
    with pymongo.MongoClient(mongodb_uri, event_listeners=[audit]) as client:
        users = client.shop.users
        audit.call = lambda: client.shop.audits.count_documents({})
        client.shop.command("ping")
        seen.forget()
        with seen.tracer.start_as_current_span("request"), contextlib.suppress(Exception):
            users.insert_one({"_id": 1} if moment != "failed" else {"_id": {"$wrong": 1}})
            users.find_one()

        (request,) = tree(seen.spans)
        expected = [INSERT, COUNT, FIND] if moment != "failed" else [INSERT]
        assert sorted(request["request"], key=str) == sorted(expected, key=str)
        assert not in_progress._in_progress


@contextlib.contextmanager
def interrupting(call):
    """Let a signal handler make a call as soon as PyMongo sends a command."""
    original = pymongo.monitoring._EventListeners.publish_command_start

    def publish(*args, **kwargs):
        signal.raise_signal(signal.SIGUSR1)
        return original(*args, **kwargs)

    before = signal.signal(signal.SIGUSR1, lambda *_: once())
    calls = [call]

    def once():
        if calls:
            calls.pop()()

    pymongo.monitoring._EventListeners.publish_command_start = publish
    try:
        yield
    finally:
        pymongo.monitoring._EventListeners.publish_command_start = original
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no such signal")
def test_a_signal_handler(client, seen):
    """So is one that a signal handler makes while a call is on its way."""
    with interrupting(lambda: client.shop.audits.count_documents({})):
        client.shop.users.find_one()

    assert sorted(tree(seen.spans), key=str) == [COUNT, FIND]


class Closing:
    """Says goodbye to the database when it is lost."""

    def __init__(self, client):
        self.client = client
        self.itself = self

    def __del__(self):
        self.client.shop.audits.count_documents({})


class Collecting(CommandListener):
    """Has what is lost collected whenever a command begins."""

    def started(self, event):
        if event.command_name == "find":
            gc.collect()

    def succeeded(self, event):
        """Nothing to do."""

    failed = succeeded


def test_a_finalizer(seen, mongodb_uri):
    """So is one that an object's `__del__` makes, wherever the garbage collector runs."""
    with pymongo.MongoClient(mongodb_uri, event_listeners=[Collecting()]) as client:
        client.shop.command("ping")
        seen.forget()
        Closing(client)
        client.shop.users.find_one()

        assert sorted(tree(seen.spans), key=str) == [COUNT, FIND]


def test_what_the_driver_calls_itself(client, seen):
    """What the driver calls in the course of a call stays a part of it, through all its layers."""
    client.shop.create_collection("audits")
    client.drop_database("shop")

    assert tree(seen.spans) == [
        {"createCollection shop.audits": ["listCollections", "create"]},
        {"dropDatabase shop": ["dropDatabase"]},
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Tasks can be given a context since 3.11")
@needs_async
async def test_tasks_that_share_a_context(seen, mongodb_uri):
    """Tasks that run in one context have each its own operation."""
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:
        await client.shop.users.insert_one({"_id": 1})
        seen.forget()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()

        async def find(number):
            for _ in range(5):
                await client.shop[f"users{number}"].find_one()

        await asyncio.gather(*(loop.create_task(find(n), context=context) for n in range(10)))

        commands = seen.named("find")
        assert len(commands) == 50
        for command in commands:
            collection = command.attributes["db.collection.name"]
            assert parent(command, seen.spans).name == f"find shop.{collection}"


@needs_async
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # What they have opened is closed with them.
async def test_a_dropped_client_is_freed(seen, mongodb_uri):
    """An AsyncMongoClient that is dropped without `close()` is freed, and so is who used it."""

    async def request():
        client = pymongo.AsyncMongoClient(mongodb_uri)
        await client.shop.users.find_one()
        return weakref.ref(client), weakref.ref(asyncio.current_task())

    refs = [ref for _ in range(3) for ref in await asyncio.create_task(request())]
    for _ in range(40):
        await asyncio.sleep(0.1)
        gc.collect()
        if all(ref() is None for ref in refs):
            break

    assert [ref() for ref in refs] == [None] * 6


@needs_async
async def test_the_first_task_is_not_kept(seen, mongodb_uri):
    """The first task to use a client is not kept for the client's life, nor is its result."""

    class Result:
        pass

    async with pymongo.AsyncMongoClient(mongodb_uri) as client:

        async def request():
            await client.shop.users.find_one()
            return Result()

        result = weakref.ref(await asyncio.create_task(request()))
        await client.shop.users.find_one()
        gc.collect()

        assert result() is None


def interrupted(call, *, at):
    """Make a call and interrupt it at the n-th line of our own code; whether that was reached."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in OURS:
            return trace if "otel_mongo_apm" in frame.f_code.co_filename else None
        if event == "line":
            lines += 1
            if lines == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


OURS = {calls.__file__, in_progress.__file__, transactions.__file__}


@pytest.mark.slow
def test_interrupts(client, seen):
    """Wherever a KeyboardInterrupt comes, the next call is an operation of its own trace."""
    at = 1
    while interrupted(client.shop.users.find_one, at=at):
        at += 1
        seen.forget()
        with seen.tracer.start_as_current_span("request"):
            client.shop.users.find_one()

        assert tree(seen.spans) == [{"request": [FIND]}], at
    assert at > 20


@pytest.mark.slow
def test_interrupted_transactions(client, seen):
    """Wherever it comes in a with_transaction, the session's next one is a transaction anew."""

    def insert(session):
        client.shop.users.insert_one({}, session=session)

    at = 1
    with client.start_session() as session:
        while interrupted(lambda: session.with_transaction(insert), at=at):
            at += 7
            if session.in_transaction:
                session.abort_transaction()
            client.shop.users.find_one()
            seen.forget()
            session.with_transaction(insert)

            (transaction,) = tree(seen.spans)
            assert transaction["transaction"][0] == INSERT, at
    assert at > 20


def test_an_interrupt_before_the_call(client, seen):
    """A call that is interrupted as it begins is an error, and over."""
    assert interrupted(client.shop.users.find_one, at=40)
    assert not in_progress._in_progress
    started, ended = seen.started_and_ended
    assert started == ended


@pytest.mark.skipif(pymongo.version_tuple < (4, 17), reason="Sessions are bound since PyMongo 4.17")
def test_refused_within_a_bound_session(client, seen, mongodb_uri, caplog):
    """A call that PyMongo refuses, since another's session is bound, is an operation that fails."""
    with (
        pymongo.MongoClient(mongodb_uri) as other,
        other.start_session() as session,
        session.bind(end_session=False),
    ):
        with pytest.raises(InvalidOperation):
            client.shop.users.insert_many([{}])
        with pytest.raises(InvalidOperation):
            client.shop.command("ping")
        with pytest.raises(InvalidOperation):
            client.shop.users.find_one()

    failed = [span for span in seen.spans if span.status.status_code is StatusCode.ERROR]
    assert {span.name for span in failed} >= {"insert shop.users"}
    assert {span.attributes["exception.type"] for span in failed} == {
        "pymongo.errors.InvalidOperation"
    }
    assert not caplog.records
