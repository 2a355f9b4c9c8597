"""What all tests share: an OpenTelemetry SDK in memory, a MongoDB, and a clean slate."""

from __future__ import annotations

import os
import signal
import sys
from math import inf
from typing import TYPE_CHECKING

import local_mongodb
import pytest
from in_memory import InMemoryTelemetry
from installed_mongod import MongoDBUnavailableError, mongod_path
from mongod import or_skip

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._commands import in_flight
from otel_mongo_apm._driver import private_names
from otel_mongo_apm._metrics import names
from otel_mongo_apm._operations import in_progress
from otel_mongo_apm._otel import told_failures
from otel_mongo_apm._settings import environment, settings

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_WORKERS = 8  # Each has MongoDB servers of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

# Else one worker's server could be given a port on which another's test needs nobody to listen.
local_mongodb.PORTS = local_mongodb.PORTS[WORKER % MAX_WORKERS :: MAX_WORKERS]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run tests side by side, unless they would share the user's MongoDB."""
    return 0 if os.environ.get("MONGODB_URI") else min(2 * (os.cpu_count() or 1), MAX_WORKERS)


def pytest_configure() -> None:
    """Have Ctrl-C interrupt what tests run, even where this process was started to ignore it.

    That is how a shell starts `make test &`; programs that tests start would inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say which MongoDB there is, and if there is none how to get one."""
    if os.environ.get("MONGODB_URI"):  # It may have a password.
        return "MongoDB: that of $MONGODB_URI"
    try:
        return f"MongoDB: {mongod_path()}"
    except MongoDBUnavailableError as unavailable:
        return f"MongoDB: none, so most tests are skipped. {unavailable}"


@pytest.fixture
def telemetry() -> Iterator[InMemoryTelemetry]:
    telemetry = InMemoryTelemetry()
    yield telemetry
    telemetry.shutdown()


@pytest.fixture(scope="session")
def mongodb_uri() -> Iterator[str]:
    """A replica set of one, or the user's own."""
    if uri := os.environ.get("MONGODB_URI"):
        yield uri
        return
    with or_skip(), local_mongodb.replica_set() as servers:
        yield servers.uri


@pytest.fixture(autouse=True)
def _clean_slate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing stays instrumented, no variable inherited, no name taken, no command the last."""
    for variable in (*settings.VARIABLES.values(), environment.DRIVERS_QUERY_TEXT_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    environment._warnings_given.clear()
    private_names.warn_of_loss.cache_clear()
    names._pools._admitted.clear()
    told_failures._measured_at.set(-inf)
    told_failures._shown_at.set(-inf)
    in_flight._latest.set(0)
    in_flight.retries.clear()
    in_progress._in_progress.clear()
    yield
    if MongoInstrumentor().is_instrumented_by_opentelemetry:
        MongoInstrumentor().uninstrument()


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
