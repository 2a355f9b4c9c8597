"""Clients for event loops: what many requests do at once stays in each one's own trace."""

from __future__ import annotations

import asyncio
import gc
import inspect
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from in_memory import WAITS
from opentelemetry.instrumentation.utils import suppress_instrumentation
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from in_memory import InMemoryTelemetry

pytestmark = pytest.mark.usefixtures("shop")

REQUESTS = 1_000
# How many at once; more than there are connections.
AT_ONCE = 100
POOL_SIZE = 20
# The longest pause between two commands, in seconds.
PAUSE = 0.005
SEED = 4711
SELECT_SERVER, CHECK_OUT = WAITS
OPERATIONS = "db.client.operation.duration"
HEARTBEATS = "mongodb.client.server.heartbeat.duration"


class Asyncio:
    """An event loop and the client that is made for it."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(main())

    def client(self, *args: Any, **kwargs: Any) -> Any:
        return pymongo.AsyncMongoClient(*args, **kwargs)


class Motor(Asyncio):
    def client(self, *args: Any, **kwargs: Any) -> Any:
        motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
        return motor.AsyncIOMotorClient(*args, **kwargs)


class MotorTornado(Motor):
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        ioloop = pytest.importorskip("tornado.ioloop")
        loop = ioloop.IOLoop(make_current=False)
        try:
            loop.run_sync(main)
        finally:
            loop.close()

    def client(self, *args: Any, **kwargs: Any) -> Any:
        motor = pytest.importorskip("motor.motor_tornado", exc_type=ImportError)
        return motor.MotorClient(*args, **kwargs)


@pytest.fixture(
    params=[pytest.param(Asyncio(), marks=needs_async), Motor(), MotorTornado()],
    ids=["AsyncMongoClient", "Motor", "Motor on Tornado"],
)
def driver(request) -> Asyncio:
    return request.param


async def got(thing: Awaitable[Any] | Any) -> Any:
    """What has to be awaited of an AsyncMongoClient does not of Motor's, and vice versa."""
    return await thing if inspect.isawaitable(thing) else thing


async def close(client: Any) -> None:
    """Close a client without a trace: it ends its sessions, and that is nobody's request."""
    with suppress_instrumentation():
        await got(client.close())


def note_request(span, event) -> None:
    """Let a command's span say which request has sent it."""
    if "comment" in event.command:
        span.set_attribute("request", event.command["comment"])


@pytest.fixture
def every_wait(telemetry) -> InMemoryTelemetry:
    """Instrument all clients of the test, so that each wait is seen, however short."""
    MongoInstrumentor().instrument(
        **telemetry.providers, wait_span_threshold=0, request_hook=note_request
    )
    return telemetry


class Requests:
    """Does many requests, some at once, each with pauses between its commands."""

    def __init__(self, client: Any, telemetry: InMemoryTelemetry) -> None:
        self._users = client.shop.users
        self._tracer = telemetry.tracer
        self._randomly = random.Random(SEED)
        self._numbers = iter(range(1, REQUESTS + 1))  # PyMongo sends no comment that is 0.

    async def run(self) -> None:
        await asyncio.gather(*(self._worker() for _ in range(AT_ONCE)))

    async def _worker(self) -> None:
        for number in self._numbers:
            with self._tracer.start_as_current_span("request", attributes={"request": number}):
                await self._request(number)

    async def _request(self, number: int) -> None:
        await self._users.insert_one({"_id": number}, comment=number)
        await self._pause()
        if number % 2:
            cursor = self._users.find({"_id": {"$lt": 0}}, batch_size=2, comment=number)
            async for _ in cursor:
                await self._pause()
        else:
            await asyncio.gather(*(self._users.find_one({}, comment=number) for _ in range(2)))
        if number % 3:
            cursor = await got(self._users.aggregate([{"$limit": 1}], comment=number))
            await cursor.to_list(1)

    async def _pause(self) -> None:
        await asyncio.sleep(self._randomly.uniform(0, PAUSE))


def measured(telemetry: InMemoryTelemetry, metric: str, operation: str | None = None) -> list[Any]:
    """What was measured; of one operation, if the metric tells of such."""
    return [
        point.data
        for point in telemetry.points(metric)
        if point.attributes.get("db.operation.name") == operation
    ]


def how_many(telemetry: InMemoryTelemetry, metric: str, operation: str | None = None) -> int:
    return sum(data.count for data in measured(telemetry, metric, operation))


def test_many_requests_at_once(driver, every_wait, mongodb_uri, telemetry):
    """Each command and each wait is a child of the span of the request that it is for."""

    async def main() -> None:
        client = driver.client(mongodb_uri, maxPoolSize=POOL_SIZE)
        users = client.shop.users
        with telemetry.tracer.start_as_current_span("first"):
            await users.insert_many([{"_id": -number} for number in range(1, 4)])
        telemetry.forget()
        await Requests(client, telemetry).run()
        await close(client)

    driver.run(main)

    requests = {span.context.span_id: span for span in telemetry.named("request")}
    commands = Counter()
    for span in telemetry.commands:
        request = requests[span.parent.span_id]
        assert span.attributes["request"] == request.attributes["request"]
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time
        commands[span.parent.span_id] += 1
    assert len(requests) == REQUESTS
    assert set(commands.values()) == {3, 4}
    for wait in WAITS:
        assert Counter(span.parent.span_id for span in telemetry.named(wait)) == commands


def test_the_first_request(driver, every_wait, mongodb_uri, telemetry):
    """What the driver does by itself is not in the trace of the request that came first."""

    async def first(client: Any) -> None:
        await client.shop.users.insert_many([{} for _ in range(10)])
        async for _ in client.shop.users.find(batch_size=2):
            break

    async def main() -> None:
        client = driver.client(mongodb_uri, heartbeatFrequencyMS=500, minPoolSize=3)
        with telemetry.tracer.start_as_current_span("first"):
            await first(client)
        heartbeats = how_many(telemetry, HEARTBEATS)
        for _ in range(200):
            gc.collect()
            await asyncio.sleep(0.05)
            is_killed = how_many(telemetry, OPERATIONS, "killCursors") > 0
            if is_killed and how_many(telemetry, HEARTBEATS) >= heartbeats + 2:
                break
        await close(client)

    driver.run(main)

    (trace_id,) = {span.context.trace_id for span in telemetry.named("first")}
    own = Counter(span.name for span in telemetry.spans if span.context.trace_id == trace_id)
    others = [span.name for span in telemetry.spans if span.context.trace_id != trace_id]
    assert how_many(telemetry, OPERATIONS, "killCursors") == 1
    assert how_many(telemetry, HEARTBEATS) > 2
    assert own == {"first": 1, "insert users": 1, "find users": 1, SELECT_SERVER: 2, CHECK_OUT: 2}
    assert others == ["mongodb.topology.discovery"]
    assert {
        each.trace_id for data in measured(telemetry, HEARTBEATS) for each in data.exemplars
    } <= {0, None}
