"""The instruments of each meter provider, made once."""

from __future__ import annotations

import os
from threading import RLock
from weakref import WeakValueDictionary

from opentelemetry import metrics

from otel_mongo_apm._otel.semconv import SCHEMA_URL, SCOPE_NAME
from otel_mongo_apm._version import __version__

from .instruments import Instruments

# By the provider's identity: a provider may have neither a hash nor a weak reference, and two that
# are equal are still two. The SDK keeps our instruments for as long as it lives, and each of them
# keeps its provider, so nobody else can have that identity meanwhile.
_of_provider: WeakValueDictionary[int, Instruments] = WeakValueDictionary()
_making = RLock()


def instruments(meter_provider: metrics.MeterProvider | None) -> Instruments:
    """The instruments of a provider, or of the global one.

    None is made twice: some SDKs warn of it, others ask only the first one what it observes.
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
    """What was made before there was a global provider: it is that one's as soon as it is set."""
    for made in list(_of_provider.values()):
        stand_in = made.provider
        if _stands_in(stand_in):
            del _of_provider[id(stand_in)]
            made.provider = provider
            return made
    return None


def _stands_in(provider: metrics.MeterProvider | None) -> bool:
    """Whether it is the API's own, for as long as nobody has set a global one."""
    is_of_api = type(provider).__module__.startswith(metrics.__name__)
    return is_of_api and not isinstance(provider, metrics.NoOpMeterProvider)


def _start_anew() -> None:
    """Let the child of a fork not wait for a thread that only its parent has."""
    global _making  # noqa: PLW0603  # There is nobody else who could hold it.
    _making = RLock()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)
