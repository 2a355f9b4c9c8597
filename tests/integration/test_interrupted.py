"""Commands that are interrupted: no span is lost, none ends twice, nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from pymongo.monitoring import CommandListener
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._commands.listener import CommandTelemetry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from in_memory import InMemoryTelemetry

    Request = Callable[[int], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("shop")

# How many requests are cut short.
CANCELLATIONS = 10_000
TIMEOUTS = 1_000
MOTOR_CANCELLATIONS = 1_000
GREENLETS = 1_000

WORKERS = 20
POOL_SIZE = 15
# The longest, in seconds, that a request is left alone; mostly it is not done by then.
PATIENCE = 0.04
SEED = 4711
CANCELLED = "asyncio.exceptions.CancelledError"
SLOW = {"$where": "sleep(500) || true"}
TESTS = Path(__file__).parents[1]


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


def pymongos_connections(client) -> dict[str, int]:
    """What PyMongo's own pools have when nobody waits."""
    pools = [server.pool for server in client._topology._servers.values()]
    return {
        "idle": sum(len(pool.conns) for pool in pools),
        "used": sum(pool.active_sockets for pool in pools),
        "pending": 0,
    }


async def rest(client) -> None:
    """Wait for what goes on without its caller: Motor's threads, cursors that are killed."""
    gc.collect()
    for _ in range(200):
        await asyncio.sleep(0.05)
        if not in_flight(client) and not pymongos_connections(client)["used"]:
            return


def check_nothing_is_left(client, telemetry: InMemoryTelemetry) -> None:
    """Nothing is in flight, and connections are counted as PyMongo counts them."""
    assert in_flight(client) == 0
    assert connections(telemetry) == pymongos_connections(client)
    assert connections(telemetry)["used"] == 0


def check_each_ended_once(telemetry: InMemoryTelemetry, log: pytest.LogCaptureFixture) -> None:
    """What has started was ended and exported, and was then left alone."""
    started, ended = telemetry.started_and_ended
    exported = {span.context.span_id for span in telemetry.spans}
    assert started == ended == len(telemetry.spans) == len(exported)
    # Of a second end, or an attribute that came too late, the SDK tells in its log alone.
    said = [each.getMessage() for each in log.records if each.name.startswith("opentelemetry")]
    assert said == []


def check_parents(telemetry: InMemoryTelemetry) -> None:
    """Every command is some request's; cut short or not, none is in a trace of its own."""
    requests = {span.context.span_id for span in telemetry.named("request")}
    assert {span.parent and span.parent.span_id for span in telemetry.commands} <= requests


def outcomes(telemetry: InMemoryTelemetry, error: str | None) -> Counter[str]:
    """How many of which commands ended in a certain way."""
    return Counter(
        span.name.split()[0]
        for span in telemetry.commands
        if span.attributes.get("error.type") == error
    )


async def got(thing):
    """What has to be awaited of an AsyncMongoClient does not of Motor's, and vice versa."""
    return await thing if inspect.isawaitable(thing) else thing


class Shop:
    """What requests do, with a client of PyMongo's or Motor's."""

    def __init__(self, client) -> None:
        self._client = client
        self._users = client.shop.users
        self.requests: list[Request] = [
            *[self.insert, self.find, self.read, self.add_up] * 6,
            self.transact,
        ]

    async def open(self) -> None:
        await self._users.insert_many([{"_id": number} for number in range(50)])

    async def insert(self, number: int) -> None:
        await self._users.insert_one({"x": number})

    async def find(self, number: int) -> None:
        await self._users.find_one({"_id": number % 50})

    async def read(self, number: int) -> None:
        [_ async for _ in self._users.find({"_id": {"$lt": 50}}, batch_size=20)]

    async def add_up(self, number: int) -> None:
        cursor = await got(self._users.aggregate([{"$group": {"_id": "$x"}}], batchSize=10))
        await cursor.to_list(25)

    async def transact(self, number: int) -> None:
        async def order(session) -> None:
            await self._users.insert_one({"y": number}, session=session)
            await self._users.find_one({"y": number}, session=session)

        async with await got(self._client.start_session()) as session:
            await session.with_transaction(order)


class CutShort:
    """Runs requests, some at once, until so many were cut short.

    Args:
        shop: What there is to do.
        telemetry: What each request has a span of.
        number: How many.
    """

    def __init__(self, shop: Shop, telemetry: InMemoryTelemetry, number: int) -> None:
        self._shop = shop
        self._tracer = telemetry.tracer
        self._left = number
        self._randomly = random.Random(SEED)

    async def run(self, work: Callable[[Awaitable[None], float], Awaitable[bool]]) -> None:
        """Let *work* do each request, for as long as it has patience, and tell if it was done."""
        await asyncio.gather(*(self._work(work) for _ in range(WORKERS)))

    async def _work(self, work) -> None:
        while self._left > 0:
            patience = self._randomly.uniform(0, PATIENCE)
            is_done = await work(self._request(), patience)
            self._left -= not is_done

    async def _request(self) -> None:
        request = self._randomly.choice(self._shop.requests)
        with self._tracer.start_as_current_span("request"):
            await request(self._randomly.randrange(1000))


async def cancel(request: Awaitable[None], patience: float) -> bool:
    """Cancel a request's task if it lasts for too long."""
    task = asyncio.ensure_future(request)
    asyncio.get_running_loop().call_later(patience, task.cancel)
    await asyncio.wait({task})
    return not task.cancelled() and task.result() is None


async def time_out(request: Awaitable[None], patience: float) -> bool:
    """Break a request off in the task that goes on."""
    try:
        if sys.version_info >= (3, 11):
            async with asyncio.timeout(patience):
                await request
        else:
            await asyncio.wait_for(request, patience)
    except asyncio.TimeoutError:  # Not yet the builtin one in Python 3.10.
        return False
    return True


@pytest.fixture
def no_transactions(mongodb_uri) -> Iterator[None]:
    """Leave no transaction behind; it would keep the next test from dropping its collection."""
    yield
    with suppress_instrumentation(), pymongo.MongoClient(mongodb_uri) as client:
        client.admin.command("killAllSessions", [])


@needs_async
async def test_a_cancelled_task(instrumented, mongodb_uri, telemetry):
    """The command of a task that is cancelled is an error at once, with what cancelled it."""
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:
        await client.shop.users.insert_one({})
        telemetry.forget()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.shop.users.find_one(SLOW), 0.3)
        cancelled = time.time_ns()

        (span,) = telemetry.named("find users")
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
        assert span.start_time < span.end_time <= cancelled
        assert in_flight(client) == 0
        assert connections(telemetry)["used"] == 0


@needs_async
async def test_the_failed_hook_of_a_cancelled_task(telemetry, mongodb_uri):
    """From 4.20.1 on, PyMongo reports interrupted commands as failed, so the hook is called."""
    failures = []
    MongoInstrumentor().instrument(
        **telemetry.providers, failed_hook=lambda _, event: failures.append(event.failure)
    )
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:
        await client.shop.users.insert_one({})
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.shop.users.find_one(SLOW), 0.3)

    reported = ["CancelledError"] if pymongo.version_tuple >= (4, 20, 1) else []
    assert [each["errtype"] for each in failures] == reported


@needs_async
@pytest.mark.usefixtures("no_transactions")
@pytest.mark.parametrize(
    ("work", "number"),
    [
        # PyMongo may lose a lock to a cancellation. Nobody can end those that wait for it, so a
        # timeout has to end the process.
        pytest.param(
            cancel,
            CANCELLATIONS,
            id="cancellations",
            marks=[pytest.mark.timeout(300, method="thread"), pytest.mark.alone],
        ),
        pytest.param(time_out, TIMEOUTS, id="timeouts", marks=pytest.mark.alone),
    ],
)
async def test_at_any_time(instrumented, mongodb_uri, telemetry, caplog, work, number):
    """However and whenever requests are cut short, what started ends, once."""
    async with pymongo.AsyncMongoClient(
        mongodb_uri, maxPoolSize=POOL_SIZE, maxConnecting=POOL_SIZE
    ) as client:
        shop = Shop(client)
        with telemetry.tracer.start_as_current_span("request"):
            await shop.open()
        await CutShort(shop, telemetry, number).run(work)
        await rest(client)

        check_nothing_is_left(client, telemetry)
    check_each_ended_once(telemetry, caplog)
    check_parents(telemetry)
    assert outcomes(telemetry, CANCELLED).keys() >= {"insert", "find", "getMore", "aggregate"}


@needs_async
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 has the first asyncio.timeout.")
async def test_a_wait_that_times_out(instrumented, mongodb_uri, telemetry):
    """Who gave up waiting for a connection, and has better to do, waits no longer."""
    async with pymongo.AsyncMongoClient(mongodb_uri, maxPoolSize=1) as client:
        users = client.shop.users
        await users.insert_one({})
        holding = asyncio.create_task(users.find_one(SLOW))
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await users.find_one()
        await holding

        assert connections(telemetry) == {"idle": 1, "used": 0, "pending": 0}


@needs_async
async def test_a_wait_in_a_generator(instrumented, mongodb_uri, telemetry):
    """Who waits for a connection through an asynchronous generator waits, too."""
    async with pymongo.AsyncMongoClient(mongodb_uri, maxPoolSize=1) as client:
        users = client.shop.users
        await users.insert_one({})

        async def found():
            yield await users.find_one()

        async def read() -> list[object]:
            return [each async for each in found()]

        holding = asyncio.create_task(users.find_one(SLOW))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        pending = connections(telemetry)["pending"]
        await asyncio.gather(holding, waiting)

        assert (pending, connections(telemetry)["pending"]) == (1, 0)


async def test_motor(instrumented, mongodb_uri, telemetry):
    """Motor's threads finish a command whose task is cancelled, and its span then."""
    motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    client = motor.AsyncIOMotorClient(mongodb_uri)
    await client.shop.users.insert_one({})
    telemetry.forget()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(client.shop.users.find_one(SLOW), 0.05)
    await rest(client.delegate)
    client.close()

    (span,) = telemetry.named("find users")
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.usefixtures("no_transactions")
async def test_motor_at_any_time(instrumented, mongodb_uri, telemetry, caplog):
    """Whenever the tasks are cancelled, the commands in Motor's threads end, each by itself."""
    motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    client = motor.AsyncIOMotorClient(mongodb_uri, maxPoolSize=POOL_SIZE)
    shop = Shop(client)
    with telemetry.tracer.start_as_current_span("request"):
        await shop.open()
    await CutShort(shop, telemetry, MOTOR_CANCELLATIONS).run(cancel)
    await rest(client.delegate)
    check_nothing_is_left(client.delegate, telemetry)
    client.close()
    check_each_ended_once(telemetry, caplog)
    check_parents(telemetry)
    assert not outcomes(telemetry, CANCELLED)


class CtrlC(CommandListener):
    """Interrupts the main thread a while after a command was sent."""

    def __init__(self, command_name: str, number: int) -> None:
        self._command_name = command_name
        self._number = number

    def started(self, event):
        self._number -= event.command_name == self._command_name
        if not self._number:
            self._number = -1
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()

    def succeeded(self, event):
        pass

    failed = succeeded


@contextlib.contextmanager
def held(server, command_name: str, number: int) -> Iterator[None]:
    """Let the server be slow with a command of a kind, after the first few."""
    behaviour = {
        "failCommands": [command_name],
        "appName": "interrupted",
        "blockConnection": True,
        "blockTimeMS": 1000,
    }
    with suppress_instrumentation():
        server.command(
            "configureFailPoint", "failCommand", mode={"skip": number - 1}, data=behaviour
        )
    yield
    with suppress_instrumentation():
        server.command("configureFailPoint", "failCommand", mode="off")


def interleaved(users) -> Iterator[object]:
    """An exhaust cursor, which keeps its connection while others are used."""
    for document in users.find(batch_size=2, cursor_type=pymongo.CursorType.EXHAUST):
        users.estimated_document_count()
        yield document


BULK = [pymongo.InsertOne({}), pymongo.DeleteOne({}), pymongo.InsertOne({})]


@pytest.mark.parametrize(
    ("command_name", "number", "operate"),
    [
        ("find", 1, lambda users: users.find_one()),
        ("insert", 2, lambda users: users.bulk_write(BULK)),
        ("getMore", 2, lambda users: list(users.find(batch_size=2))),
        pytest.param(
            "getMore",
            2,
            lambda users: list(interleaved(users)),
            marks=pytest.mark.skipif(
                pymongo.version_tuple < (4, 13),
                reason="PyMongo gave such a connection back when it killed the cursor, later",
            ),
        ),
    ],
)
def test_a_keyboard_interrupt(
    instrumented, standalone, telemetry, caplog, command_name, number, operate
):
    """Ctrl-C in the middle of a command ends it as an error before it reaches the application."""
    listeners = [CtrlC(command_name, number)]
    with pymongo.MongoClient(
        standalone.uri, appname="interrupted", event_listeners=listeners
    ) as client:
        with suppress_instrumentation():
            client.shop.users.insert_many([{} for _ in range(10)])
        with held(standalone, command_name, number), pytest.raises(KeyboardInterrupt):
            operate(client.shop.users)

        *before, last = telemetry.named(f"{command_name} users")
        assert [span.attributes.get("error.type") for span in before] == [None] * (number - 1)
        assert last.attributes["error.type"] == "KeyboardInterrupt"
        assert last.status.status_code is StatusCode.ERROR
        check_nothing_is_left(client, telemetry)
    check_each_ended_once(telemetry, caplog)


GEVENT = """
from gevent import monkey; monkey.patch_all()
import json, random, sys
sys.path.insert(0, sys.argv[1])
import gevent, pymongo
from in_memory import InMemoryTelemetry
from otel_mongo_apm import MongoInstrumentor

telemetry = InMemoryTelemetry()
MongoInstrumentor().instrument(**telemetry.providers)

def pending():
    (point,) = telemetry.points("db.client.connection.pending_requests")
    return point.data.value
"""

MANY_GREENLETS = """
# Even now PyMongo's locks do not survive every greenlet that dies while it waits for a connection.
# So there are enough for all.
client = pymongo.MongoClient(sys.argv[2], maxPoolSize=50, maxConnecting=50)
how, number = sys.argv[3], int(sys.argv[4])
users = client.shop.users
with telemetry.tracer.start_as_current_span("request"):
    users.insert_many([{"_id": number} for number in range(50)])
randomly = random.Random(4711)
requests = [
    lambda: users.insert_one({}),
    lambda: users.find_one({"_id": 7}),
    lambda: list(users.find({"_id": {"$lt": 50}}, batch_size=20)),
]
cut_short = 0

def request():
    with telemetry.tracer.start_as_current_span("request"):
        randomly.choice(requests)()

def is_killed(patience):
    greenlet = gevent.spawn(request)
    greenlet.join(patience)
    is_late = not greenlet.dead
    greenlet.kill()
    return is_late

def times_out(patience):
    try:
        with gevent.Timeout(patience):
            request()
    except gevent.Timeout:
        return True
    return False

def work():
    global cut_short
    while cut_short < number:
        is_it = {"killed": is_killed, "timed out": times_out}[how](randomly.uniform(0, 0.04))
        cut_short += is_it

gevent.joinall([gevent.spawn(work) for _ in range(15)], raise_error=True)
(pool,) = [server.pool for server in client._topology._servers.values()]
(commands,) = [each for each in client.options.event_listeners if hasattr(each, "in_flight")]
for _ in range(200):
    gevent.sleep(0.05)
    if not len(commands.in_flight) and not pool.active_sockets:
        break
started, ended = telemetry.started_and_ended
requests = {span.context.span_id for span in telemetry.named("request")}
print(json.dumps({
    "in flight": len(commands.in_flight),
    # A connection whose greenlet is killed while it is given back is not told to be idle again.
    "connections": sum(p.data.value for p in telemetry.points("db.client.connection.count")),
    "PyMongo's": len(pool.conns) + pool.active_sockets,
    "started": started,
    "ended": ended,
    "exported": len({span.context.span_id for span in telemetry.spans}),
    "strangers": sum(
        not span.parent or span.parent.span_id not in requests for span in telemetry.commands
    ),
    "errors": sorted({span.attributes.get("error.type", "") for span in telemetry.commands}),
}))
client.close()
"""

ONE_IS_SLOW = """
client = pymongo.MongoClient(sys.argv[2])
users = client.shop.users
users.insert_one({})
telemetry.forget()

def request():
    with gevent.Timeout(0.1 if sys.argv[3] == "timed out" else None, False):
        users.find_one({"$where": "sleep(500) || true"})

greenlet = gevent.spawn(request)
greenlet.join(0.1 if sys.argv[3] == "killed" else None)
greenlet.kill()
(command,) = telemetry.commands
print(json.dumps([command.name, command.attributes["error.type"]]))
client.close()
"""

ONE_WAITS = """
client = pymongo.MongoClient(sys.argv[2], maxPoolSize=1)
users = client.shop.users
users.insert_one({})
holding = gevent.spawn(users.find_one, {"$where": "sleep(500) || true"})
gevent.sleep(0.05)
waiting = gevent.spawn(users.find_one)
gevent.sleep(0.05)
told = [pending()]
waiting.kill()
holding.join()
print(json.dumps([*told, pending()]))
client.close()
"""

needs_gevent = pytest.mark.skipif(not find_spec("gevent"), reason="gevent is not installed.")


def said_with_gevent(program: str, *arguments: object):
    """What a program says that runs in a process where gevent has patched everything."""
    process = subprocess.run(
        [sys.executable, "-c", GEVENT + program, TESTS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    # The SDK would complain here of a span that is ended twice, PyMongo of a listener that raised.
    assert (process.returncode, process.stderr) == (0, "")
    return json.loads(process.stdout)


interruptions = pytest.mark.parametrize(
    ("how", "error"),
    [("killed", "greenlet.GreenletExit"), ("timed out", "gevent.timeout.Timeout")],
)


@needs_gevent
@interruptions
def test_a_greenlet(mongodb_uri, how, error):
    """The command of a greenlet that is interrupted is an error at once, with what did it."""
    assert said_with_gevent(ONE_IS_SLOW, mongodb_uri, how) == ["find users", error]


@needs_gevent
@pytest.mark.skipif(
    pymongo.version_tuple < (4, 19), reason="PyMongo's locks did not survive greenlets that die."
)
@interruptions
def test_greenlets_at_any_time(mongodb_uri, how, error):
    """However and whenever greenlets are interrupted, what started ends, once."""
    said = said_with_gevent(MANY_GREENLETS, mongodb_uri, how, GREENLETS)

    assert said["in flight"] == 0
    assert said["connections"] == said["PyMongo's"]
    assert said["started"] == said["ended"] == said["exported"]
    assert said["strangers"] == 0
    # On a quick machine it may be that waits were interrupted, and no command.
    assert set(said["errors"]) <= {"", error}


@needs_gevent
def test_a_greenlet_that_is_killed_while_it_waits(mongodb_uri):
    """A greenlet that is dead waits for no connection any more."""
    assert said_with_gevent(ONE_WAITS, mongodb_uri) == [1, 0]
