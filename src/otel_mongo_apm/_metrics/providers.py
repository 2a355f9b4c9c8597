"""The instruments of each meter provider, created once."""

from __future__ import annotations

import os
from threading import RLock
from weakref import WeakValueDictionary

from opentelemetry import metrics

from otel_mongo_apm._otel.semconv import SCHEMA_URL, SCOPE_NAME
from otel_mongo_apm._version import __version__

from .instruments import Instruments

# The key is the provider's `id`, because a provider may support neither hashes nor weak references,
# and two equal providers are still different. The SDK keeps our instruments alive, and these keep
# their provider alive, so no other object can have the same `id` in the meantime.
_of_provider: WeakValueDictionary[int, Instruments] = WeakValueDictionary()
_making = RLock()


def instruments(meter_provider: metrics.MeterProvider | None) -> Instruments:
    """Return the instruments of a provider, or of the global one.

    No instrument is created twice, because some SDKs log a warning, and others call only the first
    instrument's callback.
    """
    current = metrics.get_meter_provider()
    provider = current if meter_provider is None else meter_provider
    with _making:
        made = _of_provider.get(id(provider))
        if made is None:
            made = (_taken_over(provider) if provider is current else None) or _made(provider)
            _of_provider[id(provider)] = made
        return made


def _made(provider: metrics.MeterProvider) -> Instruments:
    meter = metrics.get_meter(SCOPE_NAME, __version__, provider, SCHEMA_URL)
    return Instruments(meter, provider)


def _taken_over(provider: metrics.MeterProvider) -> Instruments | None:
    """Return the instruments that were created before the global provider was set."""
    for made in list(_of_provider.values()):
        stand_in = made.provider
        if _stands_in(stand_in):
            del _of_provider[id(stand_in)]
            made.provider = provider
            return made
    return None


def _stands_in(provider: metrics.MeterProvider | None) -> bool:
    """Whether a provider is the API's stand-in, used until a global provider is set."""
    is_of_api = type(provider).__module__.startswith(metrics.__name__)
    return is_of_api and not isinstance(provider, metrics.NoOpMeterProvider)


def _start_anew() -> None:
    """Replace the lock in a forked child, because a thread of the parent may hold it."""
    global _making  # noqa: PLW0603  # The child has no other thread that could hold it.
    _making = RLock()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)
