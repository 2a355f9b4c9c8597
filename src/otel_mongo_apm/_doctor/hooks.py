"""What of PyMongo is wrapped when it is instrumented, and what it lacks: found by doing so."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pymongo
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_mongo_apm._driver import private_names
from otel_mongo_apm._driver.classes import client_classes
from otel_mongo_apm._driver.native_tracing import (
    VARIABLE,
    has_native_tracing,
    is_enabled_by_variable,
)
from otel_mongo_apm._driver.wrapping import replaced_methods
from otel_mongo_apm._setup.existing import instrument_client
from otel_mongo_apm._setup.instrumentor import MongoInstrumentor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .warned import Warnings


@dataclass(frozen=True)
class Hooks:
    """The methods of PyMongo that are wrapped, and what is lost for want of private names."""

    found: Sequence[str]
    missing: Sequence[str]


def instrumented_clients() -> list[str]:
    """The clients that are instrumented."""
    clients = [f"pymongo.{cls.__name__}" for cls in client_classes()]
    return [
        *clients,
        *(["Motor's clients, by the MongoClient inside"] if find_spec("motor") else []),
    ]


def native_tracing() -> str:
    """Whether this PyMongo makes spans by itself."""
    if not has_native_tracing():
        return "this PyMongo has none"
    if is_enabled_by_variable():
        return f"on, as {VARIABLE} says: it makes the spans of commands, otel-mongo-apm all else"
    return "off, but for clients with the option `tracing`"


def hooks(settings: Mapping[str, Any], warnings: Warnings) -> Hooks:
    """Instrument, and make clients that never connect, so that all is looked for.

    Args:
        settings: The keywords of `Settings`.
        warnings: Where what is lost is warned of.
    """
    settings = {
        **settings,
        "tracer_provider": NoOpTracerProvider(),
        "meter_provider": NoOpMeterProvider(),
    }
    with _client() as existing:
        is_ours = not MongoInstrumentor().is_instrumented_by_opentelemetry
        if is_ours:  # Else it would take these settings, too.
            MongoInstrumentor().instrument(**settings)
        instrument_client(existing, **settings)
        with _client():
            found = replaced_methods()
        if is_ours:
            MongoInstrumentor().uninstrument()
    return Hooks(found, warnings.of(private_names.LOGGER))


def _client() -> pymongo.MongoClient[dict[str, Any]]:
    return pymongo.MongoClient(connect=False)
