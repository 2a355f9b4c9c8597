"""Real MongoDB servers; each kind is started when a test first asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import local_mongodb
import pymongo
import pytest
from mongod import or_skip
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_mongo_apm import MongoInstrumentor, event_listeners

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def standalone() -> Iterator[local_mongodb.Mongod]:
    with or_skip(), local_mongodb.standalone() as mongod:
        yield mongod


@pytest.fixture(scope="session")
def with_auth() -> Iterator[local_mongodb.Mongod]:
    """A server that wants to know who is there."""
    with or_skip(), local_mongodb.standalone(auth=True) as mongod:
        yield mongod


@pytest.fixture
def shop(mongodb_uri: str) -> str:
    """The name of a database that is empty."""
    with suppress_instrumentation(), pymongo.MongoClient(mongodb_uri) as client:
        client.drop_database("shop")
    return "shop"


@pytest.fixture
def instrumented(telemetry):
    """Instrument all clients of the test."""
    MongoInstrumentor().instrument(**telemetry.providers)
    return telemetry


@pytest.fixture
def unseen_control(monkeypatch):
    """Keep the clients that control the servers out of the test's telemetry."""
    nobody = {
        "tracer_provider": NoOpTracerProvider(),
        "meter_provider": NoOpMeterProvider(),
        "events": "none",
    }

    def unseen(*args, **kwargs):
        return pymongo.MongoClient(*args, event_listeners=event_listeners(**nobody), **kwargs)

    monkeypatch.setattr(local_mongodb, "MongoClient", unseen)
