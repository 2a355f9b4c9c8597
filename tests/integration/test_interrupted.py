"""Commands that are interrupted: no span is lost, none ends twice, nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import signal
import threading

import pymongo
import pytest
from opentelemetry.trace import StatusCode
from versions import needs_async

from otel_mongo_apm._commands import CommandTelemetry

pytestmark = pytest.mark.usefixtures("shop")

SLOW = {"$where": "sleep(200) || true"}


def in_flight(client) -> int:
    listeners = client.options.event_listeners
    (commands,) = (each for each in listeners if isinstance(each, CommandTelemetry))
    return len(commands.in_flight)


def connections(telemetry) -> dict[str, int]:
    points = telemetry.points("db.client.connection.count")
    points += telemetry.points("db.client.connection.pending_requests")
    return {
        point.attributes.get("db.client.connection.state", "pending"): point.data.value
        for point in points
    }


@needs_async
async def test_a_cancelled_task(instrumented, mongodb_uri, telemetry):
    """The command of a task that is cancelled is an error at once, with what cancelled it."""
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:
        await client.shop.users.insert_one({})
        telemetry.forget()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.shop.users.find_one(SLOW), 0.05)

        (span,) = telemetry.named("find users")
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
        assert 0.04 < (span.end_time - span.start_time) / 1e9 < 0.2
        assert in_flight(client) == 0
        assert connections(telemetry)["used"] == 0


@needs_async
async def test_many_cancelled_tasks(instrumented, mongodb_uri, telemetry):
    """However and whenever tasks are cancelled, what started ends, once."""
    randomly = random.Random(4711)
    async with pymongo.AsyncMongoClient(mongodb_uri, maxPoolSize=20) as client:
        users = client.shop.users
        await users.insert_many([{"_id": number} for number in range(50)])

        async def work(number: int) -> None:
            with telemetry.tracer.start_as_current_span("request"):
                if number % 3 == 0:
                    await users.insert_one({"x": number})
                elif number % 3 == 1:
                    await users.find_one({"_id": number % 50})
                else:
                    [_ async for _ in users.find({}, batch_size=10)]

        for _ in range(40):
            tasks = [asyncio.create_task(work(number)) for number in range(25)]
            for task in tasks:
                await asyncio.sleep(randomly.random() / 1000)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        assert in_flight(client) == 0
        counted = connections(telemetry)
        assert (counted["used"], counted["pending"]) == (0, 0)
        pools = [server.pool for server in client._topology._servers.values()]
        assert counted["idle"] == sum(len(pool.conns) for pool in pools)
    started, ended = telemetry.started_and_ended
    assert started == ended == len(telemetry.spans)
    cancelled = [
        span
        for span in telemetry.commands
        if span.attributes.get("error.type") == "asyncio.exceptions.CancelledError"
    ]
    assert cancelled


async def test_motor(instrumented, mongodb_uri, telemetry):
    """Motor's threads finish a command whose task is cancelled, and its span then."""
    motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    client = motor.AsyncIOMotorClient(mongodb_uri)
    await client.shop.users.insert_one({})
    telemetry.forget()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(client.shop.users.find_one(SLOW), 0.05)
    while in_flight(client.delegate):  # noqa: ASYNC110  # It ends in a thread of Motor's.
        await asyncio.sleep(0.01)
    client.close()

    (span,) = telemetry.named("find users")
    assert span.status.status_code is StatusCode.UNSET


def test_a_keyboard_interrupt(instrumented, mongodb_uri, telemetry):
    """Ctrl-C in the middle of a command ends it as an error before it reaches the application."""
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.insert_one({})
        telemetry.forget()
        interrupt = threading.Timer(
            0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
        )
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            client.shop.users.find_one(SLOW)

        (span,) = telemetry.named("find users")
        assert span.attributes["error.type"] == "KeyboardInterrupt"
        assert in_flight(client) == 0
