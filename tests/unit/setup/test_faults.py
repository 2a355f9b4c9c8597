"""What our own functions do when something under them raises."""

from __future__ import annotations

import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import opentelemetry.sdk.metrics
import opentelemetry.sdk.trace
import pytest
from events import ADDRESS, failed, started, succeeded
from pymongo.monitoring import (
    CommandFailedEvent,
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
)

from otel_mongo_apm import Settings
from otel_mongo_apm._cluster.listener import HeartbeatTelemetry
from otel_mongo_apm._cluster.topology_listener import ServerTelemetry, TopologyTelemetry
from otel_mongo_apm._commands import listener
from otel_mongo_apm._commands.listener import CommandTelemetry
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._metrics import observations
from otel_mongo_apm._otel import shield
from otel_mongo_apm._otel.shield import quietly_shielded, shielded, shielded_listener
from otel_mongo_apm._pools.listener import PoolTelemetry
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._setup.client import LISTENERS, ClientTelemetry
from otel_mongo_apm._waits import selection

if TYPE_CHECKING:
    from in_memory import InMemoryTelemetry


FIND = {"find": "users", "filter": {"age": 30}, "$db": "shop"}
FOUND = {"cursor": {"id": 0, "ns": "shop.users", "firstBatch": [{"_id": 1}]}, "ok": 1.0}
METHODS = [
    (listener, name)
    for listener in LISTENERS
    for name, attribute in vars(listener).items()
    if callable(attribute) and not name.startswith("_")
]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The shield's; and it has not heard of any failure yet."""
    clock = Clock()
    monkeypatch.setattr(shield, "monotonic", clock)
    monkeypatch.setattr(shield, "_silent_until", {})
    return clock


@pytest.fixture
def client(clock: Clock, telemetry: InMemoryTelemetry) -> ClientTelemetry:
    settings = Settings(**telemetry.providers, wait_span_threshold=0, pool_use_time=True)
    return ClientTelemetry(Telemetry(settings), ClientReference())


@pytest.fixture
def commands(client: ClientTelemetry) -> CommandTelemetry:
    return client.command_listener()


@pytest.fixture
def pools(client: ClientTelemetry) -> PoolTelemetry:
    return client.pool_listener()


def fails(*_: object, **__: object) -> None:
    raise ZeroDivisionError


class Unreadable:
    """An event none of whose attributes can be read."""

    def __getattr__(self, name: str) -> None:
        raise ZeroDivisionError(name)


def heard(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == shield.__name__]


@dataclass(frozen=True)
class FrozenError(Exception):
    """One that can neither be changed nor, for what it holds, be hashed."""

    details: list[str]


def raises(error: Exception) -> None:
    raise error


def fails_in_turn(*_: object) -> None:
    try:
        raises(FrozenError(["a cause of our own"]))
    except FrozenError as error:
        raise ZeroDivisionError from error


@shielded_listener
class Failing:
    """A listener that fails."""

    def failed(self, event: object) -> None:
        fails_in_turn(event)


@pytest.mark.parametrize(
    "call",
    [shielded(fails_in_turn), quietly_shielded(fails_in_turn), partial(Failing().failed, None)],
)
def test_what_is_being_handled(clock, caplog, call):
    """A failure is logged without what others handle meanwhile, which may quote users' values."""
    try:
        raises(LookupError("dup key: { email: 'alice' }"))
    except LookupError:
        call()

    assert "ZeroDivisionError" in caplog.text
    assert "FrozenError" in caplog.text
    assert "LookupError" not in caplog.text
    assert "alice" not in caplog.text


@pytest.mark.parametrize("shield_it", [shielded, quietly_shielded])
def test_the_record_of_a_failure(clock, caplog, shield_it):
    """It has no frame and no message, in which an application's documents are."""

    def hook(span: object, event: object) -> None:
        raises(LookupError(event))

    shield_it(hook)("S3CRET", "S3CRET")

    (record,) = [record for record in caplog.records if record.name == shield.__name__]
    assert record.exc_info is None
    assert record.stack_info is None
    assert all(isinstance(arg, str) for arg in record.args)
    assert "S3CRET" not in caplog.text
    assert f'File "{__file__}", line ' in caplog.text


def test_the_name_of_a_partial_hook(clock, caplog):
    """A hook that was made of a function and its arguments is logged without the arguments."""
    shielded(partial(fails, "S3CRET"))()

    assert "functools.partial failed." in caplog.text
    assert "S3CRET" not in caplog.text


class RaisingFilter(logging.Filter):
    def filter(self, record):
        raise ZeroDivisionError


class RaisingHandler(logging.Handler):
    def handle(self, record):
        raise ZeroDivisionError


@pytest.mark.parametrize("shield_it", [shielded, quietly_shielded])
def test_logging_that_raises(clock, shield_it):
    """A filter or a handler of the application's that raises makes no call of a client raise."""
    logger = logging.getLogger(shield.__name__)
    raising_filter, raising_handler = RaisingFilter(), RaisingHandler()
    logger.addHandler(raising_handler)
    try:
        assert shield_it(fails)() is None
        logger.addFilter(raising_filter)
        assert shield_it(fails_in_turn)() is None
        Failing().failed(None)
    finally:
        logger.removeFilter(raising_filter)
        logger.removeHandler(raising_handler)


def test_once_a_minute(clock, caplog):
    """A function that keeps failing is logged once a minute, with its name and a stack trace."""
    shielded = quietly_shielded(fails)
    for seconds in range(0, 180, 20):
        clock.now = 1000.0 + seconds
        shielded()

    assert len(heard(caplog)) == 3
    assert all("fails" in line for line in heard(caplog))
    assert caplog.text.count("\nZeroDivisionError\n") == 3


def test_each_function_for_itself(clock, caplog):
    """That one function failed does not hide that another does."""

    def fails_too() -> None:
        raise ZeroDivisionError

    for function in (fails, fails_too) * 3:
        quietly_shielded(function)()

    assert ["fails_too" in line for line in heard(caplog)] == [False, True]


def test_many_threads_at_once(clock, caplog):
    """Of 64 threads that fail at the same moment one is heard."""
    shielded, line = quietly_shielded(fails), threading.Barrier(64)

    def fail(_: int) -> None:
        line.wait()
        for _ in range(100):
            shielded()

    with ThreadPoolExecutor(64) as threads:
        list(threads.map(fail, range(64)))

    assert len(heard(caplog)) == 1


def test_a_lock_that_nobody_releases(clock, caplog):
    """A child that was forked in the middle of a failure says nothing of its own, nor hangs."""
    shielded = quietly_shielded(fails)
    with shield._deciding:
        shielded()
    assert heard(caplog) == []
    shielded()

    assert len(heard(caplog)) == 1


def test_what_is_no_failure(clock):
    """What ends a thread or a task is nothing to be kept: it passes."""

    def is_interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quietly_shielded(is_interrupted)()


class SoftTimeLimitExceeded(Exception):  # noqa: N818  # As Celery calls its own.
    """What a signal handler raises."""


class Worker:
    """One whose handlers are of all kinds."""

    def exceeded(self, *_):
        raise SoftTimeLimitExceeded

    __call__ = exceeded


def exceeded(*_):
    Worker().exceeded()


@pytest.fixture
def alarm():
    """Sends a signal in a moment, to a handler."""

    def handled_by(handler):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    previous = signal.getsignal(signal.SIGALRM)
    yield handled_by
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no such signal.")
@pytest.mark.parametrize(
    "handler", [exceeded, partial(exceeded, 1), Worker().exceeded, Worker()], ids=type
)
@pytest.mark.parametrize("shield_it", [shielded, quietly_shielded, None])
def test_what_a_signal_handler_raises(clock, caplog, alarm, handler, shield_it):
    """A time limit of the application's goes on to it: it is no failure of what it interrupts."""

    @shielded_listener
    class Waiting:
        def waits(self, event: object) -> None:
            time.sleep(10)

    wait = Waiting().waits if shield_it is None else shield_it(time.sleep)
    alarm(handler)

    with pytest.raises(SoftTimeLimitExceeded):
        wait(10)
    assert heard(caplog) == []


COMMANDS_AND_POOLS = ("CommandTelemetry", "PoolTelemetry")
LISTENER_OF = {
    CommandTelemetry: ClientTelemetry.command_listener,
    HeartbeatTelemetry: ClientTelemetry.heartbeat_listener,
    PoolTelemetry: ClientTelemetry.pool_listener,
    ServerTelemetry: lambda client: of_an_open_cluster(client)[0],
    TopologyTelemetry: lambda client: of_an_open_cluster(client)[1],
}


def of_an_open_cluster(client):
    """The listeners to servers and the topology, which ask nothing before there is one."""
    client.cluster.open()
    return [*client.topology_listeners()]


@pytest.mark.parametrize(("listener", "name"), METHODS)
def test_every_method_is_shielded(client, caplog, capfd, listener, name):
    """No method of a listener raises, whatever its event does; none but its log says so."""
    method = getattr(LISTENER_OF[listener](client), name)
    for _ in range(3):
        method(Unreadable())

    asks_nothing = {"take_settings", "connection_created", "checked_in", "closed"}
    asks_nothing = {f"{each}.{method}" for each in COMMANDS_AND_POOLS for method in asks_nothing}
    asks_nothing |= {"HeartbeatTelemetry.started", "TopologyTelemetry.opened"}
    asks_nothing |= {"TopologyTelemetry.closed"}
    said = 0 if f"{listener.__name__}.{name}" in asks_nothing else 1
    assert len(heard(caplog)) == said
    assert capfd.readouterr() == ("", "")


def test_a_method_still_looks_the_same():
    """A shielded method has the name and the documentation that it was written with."""
    assert CommandTelemetry.started.__qualname__ == "CommandTelemetry.started"
    assert CommandTelemetry.started.__doc__


@pytest.mark.parametrize(
    "name", ["is_recording", "set_attribute", "set_attributes", "set_status", "get_span_context"]
)
def test_a_span_that_fails_still_ends(commands, telemetry, caplog, monkeypatch, name):
    """Whatever a span refuses to take, it ends, once."""
    monkeypatch.setattr(opentelemetry.sdk.trace.Span, name, fails)
    for end in (succeeded("find", FOUND), failed("find", {"code": 2})):
        commands.started(started(FIND))
        (commands.failed if isinstance(end, CommandFailedEvent) else commands.succeeded)(end)

    assert telemetry.started_and_ended == (2, 2)
    assert len(commands.in_flight) == 0
    assert len(heard(caplog)) == len(set(heard(caplog)))


def test_a_success_that_cannot_be_read(commands, telemetry, caplog, monkeypatch):
    """A command whose success cannot be read ends all the same."""
    monkeypatch.setattr(listener, "_what_succeeded", fails)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.started_and_ended == (1, 1)
    assert len(commands.in_flight) == 0
    assert len(heard(caplog)) == 1


@pytest.mark.parametrize("name", ["duration_micros", "failure", "operation_id"])
def test_a_failure_that_cannot_be_read(commands, telemetry, caplog, monkeypatch, name):
    """So does one whose failure cannot be read."""
    monkeypatch.setattr(CommandFailedEvent, name, property(fails))
    commands.started(started(FIND))
    commands.failed(failed("find", {"code": 2}))

    assert telemetry.started_and_ended == (1, 1)
    assert len(commands.in_flight) == 0
    assert len(heard(caplog)) == 1


def test_an_instrument_that_fails(commands, telemetry, caplog, monkeypatch):
    """A measurement that cannot be made costs no span."""
    histogram = type(commands._instruments.operation_duration)
    monkeypatch.setattr(histogram, "record", fails)
    commands.started(started(FIND))
    commands.succeeded(succeeded("find", FOUND))

    assert telemetry.started_and_ended == (1, 1)
    assert telemetry.span.attributes["db.response.returned_rows"] == 1
    assert len(heard(caplog)) == 1


def test_a_wait_that_cannot_be_measured(pools, client, monkeypatch):
    """A connection counts as used, and its caller as served, before anything is measured."""
    monkeypatch.setattr(PoolTelemetry, "_record_wait_time", fails)
    pools.connection_check_out_started(ConnectionCheckOutStartedEvent(ADDRESS))
    pools.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, 1, 0.0))

    pool = client.pools[ADDRESS]
    assert (list(pool.used), list(pool.pending)) == ([1], [])


def test_a_reason_that_cannot_be_read(pools, client, monkeypatch):
    """Who gets no connection waits no longer, whatever the reason."""
    monkeypatch.setattr(ConnectionCheckOutFailedEvent, "reason", property(fails))
    pools.connection_check_out_started(ConnectionCheckOutStartedEvent(ADDRESS))
    pools.connection_check_out_failed(ConnectionCheckOutFailedEvent(ADDRESS, "timeout", 0.5))

    assert client.pools[ADDRESS].pending == {}


def test_a_command_that_cannot_be_ended(clock, telemetry, client, monkeypatch):
    """A connection is given back even if the command on it cannot be ended."""
    commands = client.command_listener()
    monkeypatch.setattr(client.in_flight, "pop_checked_in", fails)
    pools = client.pool_listener(commands)
    pools.connection_checked_out(ConnectionCheckedOutEvent(ADDRESS, 1, 0.0))
    pools.connection_checked_in(ConnectionCheckedInEvent(ADDRESS, 1))

    assert client.pools[ADDRESS].used == {}


def test_an_observation_that_fails(client, telemetry, caplog, monkeypatch):
    """What cannot be observed takes nothing else along, and is not logged at each collection."""
    client.pools.create(ADDRESS)
    monkeypatch.setattr(observations, "CONNECTION_STATE", [])  # No key.
    for _ in range(3):
        collected = telemetry.metrics()

    assert "db.client.connection.limit" in collected
    assert "db.client.connection.count" not in collected
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "connection_counts" in line.getMessage()


def test_an_observer_of_selections_that_fails(client, caplog, monkeypatch):
    """Server selection goes on if its observer cannot be made, or cannot say what it saw."""
    observer = selection._SelectionObserver(client.pool_listener())
    for _ in range(3):
        observer.ended(Unreadable(), "find", 0.1)
        assert selection._find_observer(object()) is None

    assert ["ended" in line for line in heard(caplog)] == [True, False]
