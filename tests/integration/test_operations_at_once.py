"""Operations of many threads and tasks at once: each has its own commands, nobody a stranger's."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pymongo
import pytest
from opentelemetry.trace import StatusCode
from pymongo.errors import PyMongoError
from threads import at_once
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

pytestmark = [pytest.mark.usefixtures("shop"), pytest.mark.slow]

THREADS = 16
TASKS = 200
ROUNDS = 12
SEED = 4711


@pytest.fixture
def seen(telemetry):
    MongoInstrumentor().instrument(
        span_convention="mongodb", wait_span_threshold=0, **telemetry.providers
    )
    return telemetry


def calls(number, generator):
    """What one request does, in its own collection: names of `Request`'s methods."""
    names = ["insert", "find", "count", "duplicate", "bulk", "transaction", "with_transaction"]
    return [generator.choice(names) for _ in range(ROUNDS)]


class Request:
    """The calls of one thread."""

    def __init__(self, client, number):
        self.client = client
        self.users = client.shop[f"users{number}"]
        self.number = 0

    def document(self):
        self.number += 1
        return {"_id": self.number}

    def insert(self):
        self.users.insert_one(self.document())

    def find(self):
        list(self.users.find({}, batch_size=2))

    def count(self):
        self.users.count_documents({})

    def duplicate(self):
        document = self.document()
        self.users.insert_many([document, document])

    def bulk(self):
        self.users.bulk_write([pymongo.InsertOne(self.document()), pymongo.DeleteOne({"_id": 0})])

    def transaction(self):
        with self.client.start_session() as session, session.start_transaction():
            self.users.insert_one(self.document(), session=session)
            self.users.count_documents({})

    def with_transaction(self):
        with self.client.start_session() as session:
            session.with_transaction(
                lambda session: self.users.insert_one(self.document(), session=session)
            )


class AsyncRequest(Request):
    """The calls of one task."""

    async def insert(self):
        await self.users.insert_one(self.document())

    async def find(self):
        await self.users.find({}, batch_size=2).to_list()

    async def count(self):
        await self.users.count_documents({})

    async def duplicate(self):
        document = self.document()
        await self.users.insert_many([document, document])

    async def bulk(self):
        writes = [pymongo.InsertOne(self.document()), pymongo.DeleteOne({"_id": 0})]
        await self.users.bulk_write(writes)

    async def transaction(self):
        async with self.client.start_session() as session, await session.start_transaction():
            await self.users.insert_one(self.document(), session=session)
            await self.users.count_documents({})

    async def with_transaction(self):
        async def callback(session):
            await self.users.insert_one(self.document(), session=session)

        async with self.client.start_session() as session:
            await session.with_transaction(callback)


def test_threads(seen, mongodb_uri):
    """The operations of threads are those of their requests, their commands their own."""
    failures: Counter[int] = Counter()
    generator = random.Random(SEED)
    plans = [calls(number, generator) for number in range(THREADS)]
    interval = sys.getswitchinterval()

    with pymongo.MongoClient(mongodb_uri) as client:
        prepare(client, THREADS)

        def request(number):
            own = Request(client, number)
            with seen.tracer.start_as_current_span(f"request {number}"):
                for name in plans[number]:
                    with counted(failures, number):
                        getattr(own, name)()

        sys.setswitchinterval(1e-5)
        try:
            at_once(request, THREADS)
        finally:
            sys.setswitchinterval(interval)

    assert_all_at_home(seen, THREADS, failures)


@needs_async
async def test_tasks(seen, mongodb_uri):
    """So are those of tasks, some of which are cancelled."""
    failures: Counter[int] = Counter()
    generator = random.Random(SEED)
    plans = [calls(number, generator) for number in range(TASKS)]

    async with pymongo.AsyncMongoClient(mongodb_uri, maxPoolSize=20) as client:
        with pymongo.MongoClient(mongodb_uri) as control:
            prepare(control, TASKS)

        async def request(number):
            own = AsyncRequest(client, number)
            with seen.tracer.start_as_current_span(f"request {number}"):
                for name in plans[number]:
                    with counted(failures, number):
                        await getattr(own, name)()

        tasks = [asyncio.create_task(request(number)) for number in range(TASKS)]
        for task in tasks[::10]:
            asyncio.get_running_loop().call_later(generator.random(), task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)

    assert_all_at_home(seen, TASKS, failures)


@contextmanager
def counted(failures, number):
    """Count what fails."""
    try:
        yield
    except PyMongoError:
        failures[number] += 1


def prepare(client, number):
    """Make the collections; in a transaction that would take locks."""
    for each in range(number):
        client.shop.create_collection(f"users{each}", check_exists=False)


def assert_all_at_home(seen, requests, failures):
    started, ended = seen.started_and_ended
    assert started == ended
    spans = seen.spans
    by_id: dict[int, ReadableSpan] = {span.context.span_id: span for span in spans}

    def parent(span):
        return by_id.get(span.parent.span_id) if span.parent else None

    roots = {f"request {number}" for number in range(requests)}
    assert roots <= {span.name for span in spans}
    failed: Counter[int] = Counter()
    checked = 0
    for span in spans:
        if "db.command.name" in span.attributes:
            operation = parent(span)
            assert operation is not None, span.name
            assert "db.operation.summary" in operation.attributes, (span.name, operation.name)
            collection = span.attributes.get("db.collection.name")
            assert operation.attributes.get("db.collection.name") == collection
            assert operation.start_time <= span.start_time <= span.end_time <= operation.end_time
        elif "db.operation.summary" in span.attributes:
            above = parent(span)
            collection = span.attributes.get("db.collection.name", "")
            while above is not None and above.name == "transaction":
                above = parent(above)
            if above is None:  # What was prepared before the requests, and sessions ended after.
                assert span.name.startswith(("createCollection", "endSessions"))
            elif collection:
                number = int(collection.removeprefix("users"))
                assert above.name == f"request {number}"
                is_error = span.status.status_code is StatusCode.ERROR
                failed[number] += is_error and not is_cancelled(span)
                checked += 1
    assert checked > requests * ROUNDS / 2
    assert failed == failures


def is_cancelled(span):
    return span.attributes.get("exception.type") == "asyncio.exceptions.CancelledError"
