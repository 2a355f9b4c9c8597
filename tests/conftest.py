"""What all tests share: an OpenTelemetry SDK in memory, a MongoDB, and a clean slate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import local_mongodb
import pytest
from in_memory import InMemoryTelemetry
from mongod import or_skip

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._commands import in_flight
from otel_mongo_apm._driver import private_names
from otel_mongo_apm._operations import in_progress
from otel_mongo_apm._pools import names
from otel_mongo_apm._settings import environment, settings

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    names._pools_by_name.clear()
    in_flight._latest.set(0)
    in_flight._retries.clear()
    in_progress._in_progress.clear()
    yield
    if MongoInstrumentor().is_instrumented_by_opentelemetry:
        MongoInstrumentor().uninstrument()
