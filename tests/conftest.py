"""What all tests share: an OpenTelemetry SDK in memory, and a clean slate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from in_memory import InMemoryTelemetry

from otel_mongo_apm import MongoInstrumentor, _compat, _inflight, _operations, _pools, _settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def telemetry() -> Iterator[InMemoryTelemetry]:
    telemetry = InMemoryTelemetry()
    yield telemetry
    telemetry.shutdown()


@pytest.fixture(autouse=True)
def _clean_slate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing stays instrumented, no variable inherited, no name taken, no command the last."""
    for variable in (*_settings.VARIABLES.values(), _settings.DRIVERS_QUERY_TEXT_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    _settings._warnings_given.clear()
    _compat.warn_of_loss.cache_clear()
    _pools._pools_by_name.clear()
    _inflight._latest.set(None)
    _operations._latest.set(None)
    yield
    if MongoInstrumentor().is_instrumented_by_opentelemetry:
        MongoInstrumentor().uninstrument()
