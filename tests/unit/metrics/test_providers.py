"""Instruments: made once for each meter provider, whatever the provider is."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import ref

import pytest
from in_memory import InMemoryTelemetry
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider

from otel_mongo_apm import MongoInstrumentor, event_listeners
from otel_mongo_apm._metrics.providers import instruments


@dataclass
class ByValue(MeterProvider):
    """A provider that is compared by its value and so has no hash, as Logfire's."""

    inner: MeterProvider

    def get_meter(self, *args, **kwargs):
        return self.inner.get_meter(*args, **kwargs)


class Slotted:
    """A provider that cannot be referred to weakly."""

    __slots__ = ("inner",)

    def __init__(self, inner):
        self.inner = inner

    def get_meter(self, *args, **kwargs):
        return self.inner.get_meter(*args, **kwargs)


class Empty(ByValue):
    """A provider that is taken for false."""

    def __len__(self):
        return 0


@pytest.mark.parametrize("kind", [ByValue, Slotted, Empty])
def test_any_provider(telemetry, kind):
    """A provider needs neither a hash nor a weak reference, nor to be true."""
    provider = kind(telemetry.meter_provider)
    MongoInstrumentor().instrument(meter_provider=provider)
    event_listeners(meter_provider=provider)

    assert instruments(provider) is instruments(provider)
    instruments(provider).pool_clears.add(1)
    assert sum(len(points) for points in telemetry.metrics().values())


def test_equal_providers(telemetry):
    """Providers that are equal but not the same have instruments of their own."""
    one, other = (ByValue(telemetry.meter_provider) for _ in range(2))

    assert one == other
    assert instruments(one) is not instruments(other)


def test_nothing_is_kept():
    """Once nobody has a provider any more, its instruments are gone, too."""
    telemetry = InMemoryTelemetry()
    made = ref(instruments(telemetry.meter_provider))
    gc.collect()
    assert made() is instruments(telemetry.meter_provider)
    telemetry.shutdown()
    del telemetry
    gc.collect()

    assert made() is None


def test_many_threads_at_once():
    """Threads that ask for a provider's instruments at the same moment get the same ones."""
    provider = NoOpMeterProvider()
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda _: instruments(provider), range(64)))

    assert len(set(map(id, made))) == 1
