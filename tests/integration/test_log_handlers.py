"""What is told of a cluster runs other people's code, and that must not be in PyMongo's way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import local_mongodb
import pymongo
import pytest
from local_mongodb import eventually
from mongod import or_skip
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from pymongo.errors import PyMongoError
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_mongodb import Mongod

LOGGER = logging.getLogger("otel_mongo_apm.cluster")
SLOW = 2.0  # As long as a handler that sends mail may take, in seconds.
# In seconds. An outage that nobody asked about is told within this.
SOON = 2.0
FREQUENT = {"heartbeatFrequencyMS": 500}
LOST = ": Single, no usable server"
BACK = "without a writable server"


@pytest.fixture
def server() -> Iterator[Mongod]:
    with or_skip(), local_mongodb.standalone() as server:
        yield server


class Handler(logging.Handler):
    """Keeps each line, and who brought it in which trace."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []
        self.callers: set[str] = set()
        self.traces: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        note_caller(self.callers)
        self.traces.add(trace.get_current_span().get_span_context().trace_id)
        self.lines.append((time.monotonic(), record.getMessage()))

    def has(self, text: str) -> bool:
        return bool(self.moments(text))

    def moments(self, *texts: str) -> list[float]:
        return [moment for moment, line in self.lines if all(text in line for text in texts)]


def note_caller(callers: set[str]) -> None:
    callers.add(threading.current_thread().name)
    with contextlib.suppress(RuntimeError):
        if task := asyncio.current_task():
            callers.add(task.get_name())


class Watcher(Sampler, SpanProcessor, LogRecordProcessor):
    """Samples and processes whatever is told of a cluster, and keeps who calls."""

    def __init__(self) -> None:
        self.callers: set[str] = set()
        self.ended: list[str] = []

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **kw: Any):
        self._note(name)
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, *args, **kw)

    def get_description(self) -> str:
        return "Watcher"

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._note(span.name)

    def on_end(self, span: Any) -> None:
        self._note(span.name)
        self.ended.append(span.name)

    def on_emit(self, log_record: Any) -> None:
        note_caller(self.callers)

    emit = on_emit  # Its name in SDKs before 1.35.

    def _note(self, name: str) -> None:
        if name.startswith("mongodb."):
            note_caller(self.callers)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


@pytest.fixture
def handler(caplog) -> Iterator[Handler]:
    handler = Handler()
    LOGGER.addHandler(handler)
    caplog.set_level(logging.DEBUG, LOGGER.name)
    yield handler
    LOGGER.removeHandler(handler)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """Instrument all clients of the test, with providers that tell who calls."""
    watcher = Watcher()
    tracer_provider = TracerProvider(sampler=watcher, shutdown_on_exit=False)
    tracer_provider.add_span_processor(watcher)
    logger_provider = LoggerProvider(shutdown_on_exit=False)
    logger_provider.add_log_record_processor(watcher)
    MongoInstrumentor().instrument(
        tracer_provider=tracer_provider, logger_provider=logger_provider, events="both"
    )
    yield watcher
    tracer_provider.shutdown()
    logger_provider.shutdown()


def go_and_return(server: Mongod, handler: Handler) -> None:
    server.kill()
    eventually(lambda: handler.has(LOST), "the outage")
    server.start()
    eventually(lambda: handler.has(BACK), "the outage's end")


def test_nobody_elses_code_on_a_monitor(server, handler, watcher):
    """Monitors call no log handler, sampler or processor; a thread of ours does, and it ends."""
    with pymongo.MongoClient(server.uri, **FREQUENT) as client:
        client.admin.command("ping")
        go_and_return(server, handler)
        eventually(lambda: "mongodb.topology.outage" in watcher.ended, "the outage's span")
        called = handler.callers | watcher.callers

    assert called == {"otel_mongo_apm_teller"}
    eventually(
        lambda: "otel_mongo_apm_teller" not in {each.name for each in threading.enumerate()},
        "the end of our thread",
    )


@needs_async
async def test_nobody_elses_code_on_an_event_loop(server, handler, watcher):
    """Tasks of PyMongo's call none either, nor has what they notice a stranger's trace."""
    async with pymongo.AsyncMongoClient(server.uri, **FREQUENT) as client:
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("application")
        with tracer.start_as_current_span("first request"):
            await client.admin.command("ping")
        await asyncio.to_thread(go_and_return, server, handler)
        called = handler.callers | watcher.callers

    assert called == {"otel_mongo_apm_teller"}
    assert handler.traces == {0}


def test_no_strangers_trace(server, handler, watcher):
    """What is told by whoever closes the client or collects metrics has no trace of theirs."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("application")
    with tracer.start_as_current_span("last request"):
        client = pymongo.MongoClient(server.uri)
        client.admin.command("ping")
        client.close()

    assert handler.has("closed")
    assert handler.traces == {0}


def test_a_slow_handler(server, handler, watcher, monkeypatch):
    """A log handler that takes its time makes no outage longer, and no call fails for it."""

    def emit(record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            time.sleep(SLOW)

    monkeypatch.setattr(handler, "emit", emit)
    with pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=6000, **FREQUENT) as client:
        client.shop.users.insert_one({})
        server.kill()
        time.sleep(0.2)
        server.start()
        began, failures = time.monotonic(), 0
        while True:
            try:
                client.shop.users.insert_one({})
                break
            except PyMongoError:
                failures += 1
        seconds = time.monotonic() - began

    assert failures <= 1  # The server was away.
    assert seconds < SLOW


def test_a_handler_that_writes_to_mongodb(server, watcher, caplog):
    """A log handler whose own client is instrumented, and that nobody passes meanwhile, works."""
    client = pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=6000, connect=False)
    failures = []

    class MongoHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("pymongo"):
                return
            try:
                client.logs.records.insert_one({"message": record.getMessage()})
            except PyMongoError as error:
                failures.append(error)

    handler, application = MongoHandler(), logging.getLogger("application")
    caplog.set_level(logging.DEBUG, LOGGER.name)
    for logger in (LOGGER, application):
        logger.addHandler(handler)
    began = time.monotonic()
    application.warning("hello")
    seconds = time.monotonic() - began
    for logger in (LOGGER, application):
        logger.removeHandler(handler)
    client.close()

    assert failures == []
    assert seconds < 3


def is_writable(client: pymongo.MongoClient) -> bool:
    return client.topology_description.has_writable_server()


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_an_outage_without_traffic(server, handler, watcher, mode):
    """An outage that nobody asks about is told as soon as PyMongo knows, its end as well."""
    with pymongo.MongoClient(server.uri, serverMonitoringMode=mode) as client:
        client.admin.command("ping")
        server.kill()
        # Polling PyMongo notices only at the next heartbeat, so it is asked for one.
        client._topology.request_check_all(0.1)
        eventually(lambda: not is_writable(client), "the outage")
        lost = time.monotonic()
        eventually(lambda: handler.moments(LOST, server.host), "its line")
        server.start()
        client._topology.request_check_all(0.1)
        eventually(lambda: is_writable(client), "its end")
        back = time.monotonic()
        eventually(lambda: handler.moments(BACK, server.host), "its line")

    (lost_line,) = handler.moments(LOST, server.host)
    (back_line,) = handler.moments(BACK, server.host)
    assert lost_line - lost < SOON
    assert back_line - back < SOON
