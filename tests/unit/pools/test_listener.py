"""PoolTelemetry: connections counted, measured, and waited for."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pymongo
import pymongo.errors
import pytest
from events import ADDRESS
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.monitoring import (
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionCreatedEvent,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolClosedEvent,
    PoolCreatedEvent,
    PoolReadyEvent,
)

from otel_mongo_apm import Settings
from otel_mongo_apm._cluster.state import Cluster
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._driver.pools import Held
from otel_mongo_apm._metrics import names as metric_names
from otel_mongo_apm._pools import pool
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._setup.client import ClientTelemetry

POOL = "db.client.connection.pool.name"
NAME = {"db.system.name": "mongodb", POOL: "db.example:27017"}
PEER = {"network.peer.address": "db.example", "network.peer.port": 27017}
SERVER = {"server.address": "db.example", "server.port": 27017}


class Driver:
    """What a pool of PyMongo's would publish."""

    def __init__(self, telemetry, **settings):
        shared = Telemetry(Settings(**telemetry.providers, **settings))
        self.client = ClientTelemetry(shared, ClientReference())
        self.listener = self.client.pool_listener()

    def create(self, **options):
        self.listener.pool_created(PoolCreatedEvent(ADDRESS, options))
        self.listener.pool_ready(PoolReadyEvent(ADDRESS))

    def connect(self, number, seconds=0.002):
        self.listener.connection_created(ConnectionCreatedEvent(ADDRESS, number))
        self.listener.connection_ready(ConnectionReadyEvent(ADDRESS, number, seconds))

    def wait(self):
        self.listener.connection_check_out_started(ConnectionCheckOutStartedEvent(ADDRESS))

    def check_out(self, number, seconds=0.0):
        self.listener.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, number, seconds))

    def check_in(self, number):
        self.listener.connection_checked_in(ConnectionCheckedInEvent(ADDRESS, number))

    def fail(self, reason, seconds=0.5):
        self.listener.connection_check_out_failed(
            ConnectionCheckOutFailedEvent(ADDRESS, reason, seconds)
        )

    def close(self, number, reason="idle"):
        self.listener.connection_closed(ConnectionClosedEvent(ADDRESS, number, reason))


@pytest.fixture
def driver(telemetry):
    driver = Driver(telemetry)
    driver.create(maxPoolSize=7, minPoolSize=2)
    return driver


def values(telemetry, name):
    return {
        (point.attributes[POOL], point.attributes.get("db.client.connection.state")): (
            point.data.value
        )
        for point in telemetry.points(f"db.client.connection.{name}")
    }


def counts(telemetry):
    found = values(telemetry, "count")
    return found["db.example:27017", "idle"], found["db.example:27017", "used"]


def counted(telemetry, name):
    """What has been counted at least once, with its attributes."""
    points = telemetry.points(f"mongodb.client.connection.{name}")
    return [(point.attributes, point.data.value) for point in points if point.data.value]


def test_a_connection_s_life(driver, telemetry):
    """A connection is nobody's until it is ready, then idle, used, idle and gone."""
    seen = [counts(telemetry)]
    for step in (
        lambda: driver.connect(1),
        driver.wait,
        lambda: driver.check_out(1),
        lambda: driver.check_in(1),
        lambda: driver.close(1),
    ):
        step()
        seen.append(counts(telemetry))

    assert seen == [(0, 0), (1, 0), (1, 0), (0, 1), (1, 0), (0, 0)]


def test_limits(driver, telemetry):
    """The pool's limits are told; one without a limit has none."""
    assert values(telemetry, "limit") == {("db.example:27017", None): 7}
    assert values(telemetry, "idle.min") == {("db.example:27017", None): 2}
    driver.create(maxPoolSize=0)
    assert values(telemetry, "limit") == {}


def test_pending(driver, telemetry):
    """Who waits is counted until he has a connection or none."""
    driver.wait()
    waiting = values(telemetry, "pending_requests")
    driver.check_out(1)
    served = values(telemetry, "pending_requests")
    driver.wait()
    driver.fail("timeout")

    assert list(waiting.values()) == [1]
    assert list(served.values()) == [0]
    assert list(values(telemetry, "pending_requests").values()) == [0]


@pytest.fixture
def wait_in_pymongo(driver):
    """A coroutine that waits for a connection, as one of PyMongo's would."""
    names = {"__name__": "pymongo.pool", "asyncio": asyncio, "driver": driver}
    exec("async def wait():\n    driver.wait()\n    await asyncio.Event().wait()", names)
    return names["wait"]


def test_a_task_that_was_cancelled_waits_no_longer(telemetry, wait_in_pymongo):
    """Of a task that is cancelled while it waits PyMongo says nothing; it is not counted."""

    async def cancel():
        tasks = [asyncio.create_task(wait_in_pymongo()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting = values(telemetry, "pending_requests")
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        cancelled = values(telemetry, "pending_requests")
        for task in tasks:
            task.cancel()
        return waiting, cancelled

    waiting, cancelled = asyncio.run(cancel())
    assert list(waiting.values()) == [3]
    assert list(cancelled.values()) == [2]


def test_a_task_with_better_to_do_waits_no_longer(telemetry, wait_in_pymongo):
    """A task that gave up waiting and went on is not counted."""

    async def give_up():
        waiting = wait_in_pymongo()
        waiting.send(None)
        waiting.close()
        await asyncio.Event().wait()

    async def observe():
        task = asyncio.create_task(give_up())
        await asyncio.sleep(0)
        found = values(telemetry, "pending_requests")
        task.cancel()
        return found

    assert list(asyncio.run(observe()).values()) == [0]


def test_slow_waits_have_exemplars(driver, telemetry):
    """A wait that was long enough for a span is linked to the trace that it was in, as no other."""
    driver.create()
    with telemetry.tracer.start_as_current_span("request") as request:
        driver.check_out(1, seconds=0.001)
        driver.check_out(2, seconds=0.020)

    (point,) = telemetry.points("db.client.connection.wait_time")
    exemplars = {each.value: each.trace_id or None for each in point.data.exemplars}
    assert exemplars == {0.001: None, 0.020: request.get_span_context().trace_id}


def test_cancelled_tasks_do_not_pile_up(driver, monkeypatch):
    """Tasks that were cancelled while they waited are forgotten even if nobody collects."""
    monkeypatch.setattr(pool, "MANY_PENDING", 10)

    async def wait():
        driver.wait()

    async def wait_often():
        for _ in range(100):
            await asyncio.create_task(wait())

    asyncio.run(wait_often())
    assert len(driver.client.pools[ADDRESS].pending) <= 10


def test_many_waiters_are_not_asked_again_and_again(driver, monkeypatch):
    """However many tasks wait, to ask which of them still do costs each of them the same."""
    monkeypatch.setattr(pool, "MANY_PENDING", 10)
    asked = []

    def is_over(waiting):
        asked.append(waiting)
        return False

    monkeypatch.setattr(pool, "is_over", is_over)
    for number in range(1_000):
        driver.client.pools[ADDRESS].wait_for(number)

    assert len(driver.client.pools[ADDRESS].pending) == 1_000
    assert len(asked) <= 2_000


def test_nothing_of_a_cancelled_task_is_kept(driver, wait_in_pymongo):
    """A task that was cancelled while it waited is gone with all that it had."""

    class Payload:
        """What a request has."""

    async def request(payload):
        await wait_in_pymongo()
        return payload

    async def cancel():
        payload = Payload()
        task = asyncio.create_task(request(payload))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return weakref.ref(payload)

    payload = asyncio.run(cancel())
    gc.collect()

    assert len(driver.client.pools[ADDRESS].pending) == 1
    assert payload() is None


@pytest.mark.parametrize(
    ("held", "used"),
    [
        (None, {1, 2, 3}),  # Not to be read.
        (Held(frozenset(), 3), {1, 2, 3}),
        (Held(frozenset({1}), 2), {2, 3}),
        (Held(frozenset({1, 2, 3}), 0), set()),
        (Held(frozenset({3}), 1), {2}),  # One has vanished, and it is not known which.
        (Held(frozenset({1}), 9), {2, 3}),  # Callers that wait are used ones to PyMongo.
    ],
)
def test_used_as_pymongo_has_it(driver, held, used):
    """Connections that PyMongo has back, without having published it, are not counted as used."""
    for number in (1, 2, 3):
        driver.connect(number)
        driver.check_out(number)
    found = driver.client.pools[ADDRESS]
    found.reconcile(lambda: held)

    assert set(found.used) == used


def test_idle_as_pymongo_has_it(driver):
    """A connection that PyMongo has lost is not counted, if it is missing twice in a row."""
    for number in (1, 2, 3):
        driver.connect(number)
    found = driver.client.pools[ADDRESS]
    idle = []
    for missing in ({3}, {2}, {2, 3}, {3}):
        found.reconcile(lambda missing=missing: Held(frozenset({1, 2, 3} - missing), 0))
        idle.append(found.idle)

    assert idle == [3, 3, 2, 1]


def test_used_again_meanwhile(driver):
    """A connection that is checked out again while PyMongo's pool is read stays a used one."""
    driver.connect(1)
    driver.check_out(1)
    found = driver.client.pools[ADDRESS]

    def held():
        driver.check_in(1)
        driver.check_out(1)
        return Held(frozenset({1}), 0)

    found.reconcile(held)
    assert set(found.used) == {1}


def test_a_connection_that_nobody_got(driver, telemetry):
    """A connection whose caller was cancelled before he had it is no longer the pool's."""
    driver.wait()
    driver.connect(1)
    driver.fail("connectionError")

    assert counts(telemetry) == (0, 0)


def test_told_twice(driver, telemetry):
    """A connection that is closed twice, as PyMongo may tell it, was closed once."""
    driver.connect(1)
    driver.wait()
    driver.check_out(1)
    for _ in range(2):
        driver.close(1, "error")
    driver.check_in(1)

    assert counts(telemetry) == (0, 0)
    assert counted(telemetry, "closes") == [
        ({**NAME, "mongodb.client.connection.close.reason": "error"}, 1)
    ]


def test_times(driver, telemetry):
    """To make a connection and to wait for one takes time; to use it is not measured."""
    driver.connect(1, 0.25)
    driver.wait()
    driver.check_out(1, 0.5)
    driver.check_in(1)

    for name, seconds in {"create_time": 0.25, "wait_time": 0.5}.items():
        (point,) = telemetry.points(f"db.client.connection.{name}")
        assert point.attributes == NAME
        assert point.data.sum == seconds
        assert point.data.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert telemetry.points("db.client.connection.use_time") == []


def test_use_time(telemetry):
    """With `pool_use_time` the use of each connection is measured."""
    driver = Driver(telemetry, pool_use_time=True)
    driver.create()
    driver.wait()
    driver.check_out(1)
    driver.check_in(1)
    driver.check_in(1)

    (point,) = telemetry.points("db.client.connection.use_time")
    assert point.data.count == 1
    assert 0 <= point.data.sum < 10


def test_a_long_wait(driver, telemetry):
    """A wait that was long has a span of its own, as long and as old as it was."""
    with telemetry.tracer.start_as_current_span("request") as request:
        driver.wait()
        driver.check_out(1, 0.25)
        driver.check_out(2, 0.009)

    wait = telemetry.spans[0]
    assert wait.name == "check out connection"
    assert wait.kind is SpanKind.INTERNAL
    assert wait.status.status_code is StatusCode.UNSET
    assert wait.parent.span_id == request.get_span_context().span_id
    assert wait.end_time - wait.start_time == 250_000_000
    assert dict(wait.attributes) == {
        **PEER,
        **NAME,
        "mongodb.client.connection.created": False,
    }
    assert len(telemetry.spans) == 2


def test_every_wait(telemetry):
    """A threshold of 0 shows every wait."""
    driver = Driver(telemetry, wait_span_threshold=0)
    driver.check_out(1, 0.0)

    assert telemetry.span.name == "check out connection"


@pytest.mark.parametrize(
    ("reason", "error_type", "timeouts"),
    [
        ("timeout", "pymongo.errors.WaitQueueTimeoutError", 1),
        ("poolClosed", "_OTHER", 0),
        ("connectionError", "pymongo.errors.AutoReconnect", 0),
    ],
)
def test_no_connection(driver, telemetry, reason, error_type, timeouts):
    """A wait in vain is the call's failure, and counted with what PyMongo will raise."""
    driver.wait()
    driver.fail(reason)

    span = telemetry.span
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == error_type.rpartition(".")[2]
    assert dict(span.attributes) == {
        **PEER,
        **NAME,
        "error.type": error_type,
    }
    assert counted(telemetry, "checkout.failures") == [({**NAME, "error.type": error_type}, 1)]
    (point,) = telemetry.points("db.client.connection.timeouts")
    assert point.data.value == timeouts


def test_no_connection_while_handling_an_exception(driver, telemetry):
    """An exception that the application is handling is not why there is no connection."""
    try:
        raise ZeroDivisionError  # noqa: TRY301
    except ZeroDivisionError:
        driver.fail("connectionError")

    assert telemetry.span.attributes["error.type"] == "pymongo.errors.AutoReconnect"


def test_credentials_that_are_refused(driver, telemetry):
    """What the server refused while a connection was made is told by its code."""
    raising = {"__name__": "pymongo.pool", "driver": driver, "errors": pymongo.errors}
    exec(
        "try: raise errors.OperationFailure('alice', 18, {'codeName': 'AuthenticationFailed'})\n"
        "except Exception: driver.fail('connectionError')",
        raising,
    )

    span = telemetry.span
    assert span.status.description == "AuthenticationFailed"
    assert span.attributes["error.type"] == span.attributes["db.response.status_code"] == "18"
    assert "alice" not in span.to_json()


def test_a_cleared_pool(driver, telemetry, caplog):
    """A pool that is cleared is counted, and an event that says so waits to be told."""
    caplog.set_level(logging.DEBUG, "otel_mongo_apm.cluster")
    driver.listener.pool_cleared(PoolClearedEvent(ADDRESS))

    assert counted(telemetry, "pool.clears") == [(NAME, 1)]
    (event,) = driver.client.timeline.after(0)
    assert event.name == "mongodb.client.connection.pool.cleared"
    assert event.attributes == {**SERVER, POOL: "db.example:27017"}
    assert caplog.records == []  # PyMongo may hold its locks.
    driver.client.cluster.tell()
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.DEBUG, "Connection pool db.example:27017 cleared")
    ]


def test_a_cleared_pool_that_nobody_is_told_of(telemetry):
    """Without events and metrics of the cluster a cleared pool is counted, and nothing is kept."""
    driver = Driver(telemetry, events="none", topology_metrics=False)
    for _ in range(3):
        driver.listener.pool_cleared(PoolClearedEvent(ADDRESS))

    assert counted(telemetry, "pool.clears") == [(NAME, 3)]
    assert driver.client.timeline.latest == 0
    assert len(driver.client.cluster.untold) == 0


def test_a_closed_pool_of_a_cluster_that_nobody_is_told_of(telemetry, monkeypatch):
    """Without events and metrics of the cluster a closed pool is no occasion to look at it."""
    driver = Driver(telemetry, events="none", topology_metrics=False)
    looked = []
    monkeypatch.setattr(Cluster, "has_dropped", lambda *_: looked.append(1))
    driver.create()
    driver.listener.pool_closed(PoolClosedEvent(ADDRESS))

    assert looked == []
    assert driver.client.pools[ADDRESS].is_closed


def test_a_closed_pool(driver, telemetry):
    """A closed pool is observed no longer, whatever still comes back to it."""
    driver.connect(1)
    driver.check_out(1)
    driver.listener.pool_closed(PoolClosedEvent(ADDRESS))
    driver.check_in(1)
    driver.close(1, "poolClosed")
    driver.fail("poolClosed")

    assert values(telemetry, "count") == {}
    assert [number for _, number in counted(telemetry, "closes")] == [1]


def test_pools_of_one_name(driver, telemetry):
    """Pools of one name are added up, whichever client was first; a closed one counts no longer."""
    other = Driver(telemetry)
    other.create(maxPoolSize=3, minPoolSize=1)
    for each in (driver, other):
        each.connect(1)
        each.wait()
    together = [values(telemetry, name) for name in ("limit", "idle.min", "pending_requests")]
    connections = counts(telemetry)
    driver.listener.pool_closed(PoolClosedEvent(ADDRESS))

    name = ("db.example:27017", None)
    assert together == [{name: 10}, {name: 3}, {name: 2}]
    assert connections == (2, 0)
    assert values(telemetry, "limit") == {name: 3}


def test_pools_of_one_name_of_which_one_has_no_limit(driver, telemetry):
    """Of pools of one name there is no limit if one of them has none."""
    other = Driver(telemetry)
    other.create(maxPoolSize=0)

    assert values(telemetry, "limit") == {}


def test_a_name_with_the_application(telemetry):
    """A pool's name has its client's application, if that has a name, and says what it is of."""
    with pymongo.MongoClient(
        "mongodb://b,a:1/?appName=billing", connect=False, event_listeners=[]
    ) as client:
        shared = Telemetry(Settings(**telemetry.providers))
        pools = ClientTelemetry(shared, ClientReference(weakref.ref(client))).pools

        assert pools[ADDRESS].name == "db.example:27017/billing"
        assert pools[ADDRESS].attributes == {
            **NAME,
            POOL: "db.example:27017/billing",
            "server.address": "a:1,b:27017",
        }


def test_so_many_names(telemetry, monkeypatch, caplog):
    """Beyond the bound all pools have one name for them all, which is said once."""
    monkeypatch.setattr(metric_names, "_pools", metric_names._Names("connection pools", 2, "more"))
    pools = ClientTelemetry(Telemetry(Settings(**telemetry.providers)), ClientReference()).pools
    names = [pools.create(("db.example", port)).name for port in (1, 2, 3, 4, 1)]

    assert names == ["db.example:1", "db.example:2", "_OTHER", "_OTHER", "db.example:1"]
    assert pools["db.example", 3].attributes == {"db.system.name": "mongodb", POOL: "_OTHER"}
    assert caplog.messages == ["Metrics name only the first 2 connection pools; more."]


def test_closed_pools_are_forgotten(telemetry):
    """Where servers come and go, only the last closed pools are kept."""
    driver = Driver(telemetry)
    for port in range(100):
        driver.listener.pool_created(PoolCreatedEvent(("db.example", port), {}))
        if port:
            driver.listener.pool_closed(PoolClosedEvent(("db.example", port)))

    assert len(driver.client.pools) == 17
    assert not driver.client.pools["db.example", 0].is_closed


def test_counters_begin_with_0(driver, telemetry):
    """What may happen to a pool is counted from 0, so that its first time is an increase."""
    names = ("pool.clears", "closes", "checkout.failures")
    points = [telemetry.points(f"mongodb.client.connection.{name}") for name in names]

    assert [{point.data.value for point in each} for each in points] == [{0}, {0}, {0}]
    reasons = {each.attributes["mongodb.client.connection.close.reason"] for each in points[1]}
    assert reasons == {"stale", "idle", "error", "poolClosed"}
    assert [point.data.value for point in telemetry.points("db.client.connection.timeouts")] == [0]


def test_off(telemetry):
    """Without pool metrics nothing is measured or observed; waits are told all the same."""
    driver = Driver(telemetry, pool_metrics=False, pool_use_time=True)
    driver.create()
    driver.connect(1)
    driver.check_out(1, 1.0)
    driver.check_in(1)
    driver.fail("timeout")
    driver.close(1)
    driver.listener.pool_cleared(PoolClearedEvent(ADDRESS))

    assert not [name for name in telemetry.metrics() if "connection" in name]
    assert len(telemetry.spans) == 2


def test_without_spans(telemetry):
    """Without command spans there are no wait spans either."""
    driver = Driver(telemetry, command_spans=False)
    driver.check_out(1, 1.0)
    driver.fail("timeout")

    assert telemetry.spans == ()


def test_switched_off(driver, telemetry):
    """Once it is undone, a client is observed no longer and its waits have no spans."""
    driver.client.telemetry.turn_off()
    driver.connect(1)
    driver.check_out(1, 1.0)
    driver.check_in(1)
    driver.fail("timeout")
    driver.close(1)
    driver.listener.pool_cleared(PoolClearedEvent(ADDRESS))

    assert telemetry.spans == ()
    assert values(telemetry, "count") == {}
    measured = [name for name in telemetry.metrics() if name.startswith("db.client.connection")]
    assert measured == ["db.client.connection.timeouts"]  # From before.
    assert counted(telemetry, "closes") == counted(telemetry, "checkout.failures") == []
    assert driver.client.timeline.after(0) == []


def test_require_parent(telemetry):
    """With `require_parent` a wait outside of a trace has no span."""
    driver = Driver(telemetry, require_parent=True)
    driver.check_out(1, 1.0)
    with trace.use_span(telemetry.tracer.start_span("request"), end_on_exit=True):
        driver.check_out(2, 1.0)

    assert [span.name for span in telemetry.spans] == ["check out connection", "request"]


def test_events_of_a_wait(driver, telemetry):
    """A wait's span takes along what happened in the cluster meanwhile."""
    driver.listener.pool_cleared(PoolClearedEvent(ADDRESS))
    driver.check_out(1, 1.0)

    (event,) = telemetry.span.events
    assert event.name == "mongodb.client.connection.pool.cleared"
