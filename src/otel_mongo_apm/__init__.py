"""OpenTelemetry for PyMongo and Motor: commands, waits, connection pools and the cluster's health.

Run your application under ``opentelemetry-instrument``, or call this before you create the first
client:

    from otel_mongo_apm import MongoInstrumentor

    MongoInstrumentor().instrument()

The public names are imported when you first use them. So importing this package is cheap and
requires neither PyMongo nor the OpenTelemetry SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from otel_mongo_apm._settings.hooks import FailedHook, RequestHook, ResponseHook
    from otel_mongo_apm._settings.settings import Settings
    from otel_mongo_apm._setup.existing import instrument_client
    from otel_mongo_apm._setup.instrumentor import MongoInstrumentor
    from otel_mongo_apm._setup.passed import event_listeners

__all__ = [
    "FailedHook",
    "MongoInstrumentor",
    "RequestHook",
    "ResponseHook",
    "Settings",
    "__version__",
    "event_listeners",
    "instrument_client",
]

_MODULES = {
    "FailedHook": "._settings.hooks",
    "MongoInstrumentor": "._setup.instrumentor",
    "RequestHook": "._settings.hooks",
    "ResponseHook": "._settings.hooks",
    "Settings": "._settings.settings",
    "event_listeners": "._setup.passed",
    "instrument_client": "._setup.existing",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
