"""Server selection, wrapped: what its slow and its failed ends show."""

from __future__ import annotations

import asyncio
import inspect

import pymongo
import pymongo.errors
import pytest
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.read_preferences import ReadPreference
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners
from otel_mongo_apm._driver import classes
from otel_mongo_apm._setup.client import client_telemetry

URI = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=40"


def select(client):
    return client._topology.select_server(ReadPreference.PRIMARY, "find")


@pytest.fixture
def instrumented(telemetry):
    MongoInstrumentor().instrument(**telemetry.providers)
    return telemetry


def test_no_server(instrumented):
    """A selection in vain is the call's failure, as long as it took."""
    with (
        pymongo.MongoClient(URI) as client,
        pytest.raises(pymongo.errors.ServerSelectionTimeoutError),
    ):
        select(client)

    (span,) = instrumented.named("select server")
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ServerSelectionTimeoutError"
    assert dict(span.attributes) == {
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "server.address": "127.0.0.1",
        "server.port": 1,
        "error.type": "pymongo.errors.ServerSelectionTimeoutError",
    }
    assert span.end_time - span.start_time >= 40_000_000


@needs_async
async def test_no_server_async(instrumented):
    """So it is for an AsyncMongoClient, and for one that was given up on."""
    async with pymongo.AsyncMongoClient(URI) as client:
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            await client.admin.command("ping")
    async with pymongo.AsyncMongoClient("mongodb://127.0.0.1:1") as client:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.admin.command("ping"), 0.04)

    waits = instrumented.named("select server")
    assert [span.attributes["error.type"] for span in waits] == [
        "pymongo.errors.ServerSelectionTimeoutError",
        "asyncio.exceptions.CancelledError",
    ]


def test_passed_listeners(telemetry):
    """Passed listeners are enough to see it."""
    with (
        pymongo.MongoClient(URI, event_listeners=event_listeners(**telemetry.providers)) as client,
        pytest.raises(pymongo.errors.ServerSelectionTimeoutError),
    ):
        select(client)

    assert len(telemetry.named("select server")) == 1


def test_a_client_without_listeners(instrumented):
    """A client that is not instrumented is left alone."""
    MongoInstrumentor().uninstrument()
    client = pymongo.MongoClient(URI)
    MongoInstrumentor().instrument(**instrumented.providers)
    with client, pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
        select(client)

    assert instrumented.spans == ()


@pytest.mark.parametrize("command_spans", [True, False])
def test_a_cluster_that_nobody_wants_to_see(telemetry, command_spans):
    """Without events and metrics of the cluster a selection does not look at it."""
    settings = {"events": "none", "topology_metrics": False, "command_spans": command_spans}
    listeners = event_listeners(**telemetry.providers, **settings)
    with (
        pymongo.MongoClient(URI, event_listeners=listeners) as client,
        pytest.raises(pymongo.errors.ServerSelectionTimeoutError),
    ):
        select(client)

    cluster = client_telemetry(listeners[0]).cluster
    assert not cluster.is_open
    assert cluster.description is None
    assert len(telemetry.named("select server")) == command_spans


@needs_async
async def test_a_client_without_listeners_async(instrumented):
    """So is an AsyncMongoClient."""
    MongoInstrumentor().uninstrument()
    client = pymongo.AsyncMongoClient(URI)
    MongoInstrumentor().instrument(**instrumented.providers)
    async with client:
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            await client.admin.command("ping")

    assert instrumented.spans == ()


def test_undone(instrumented):
    """Once undone, PyMongo's own methods are back and what exists is quiet."""
    with pymongo.MongoClient(URI) as client:
        MongoInstrumentor().uninstrument()
        instrumented.forget()
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            select(client)

    # The thread that tells of clusters may just have been ending the discovery.
    assert {span.name for span in instrumented.spans} <= {"mongodb.topology.discovery"}


def test_it_looks_the_same(telemetry):
    """Its signature is PyMongo's own; who calls by keyword still can."""
    MongoInstrumentor().instrument(**telemetry.providers)

    for cls, _ in classes.topology_classes():
        wrapped = cls.select_server
        assert inspect.signature(wrapped) == inspect.signature(wrapped.__wrapped__)
        assert wrapped.__doc__ == wrapped.__wrapped__.__doc__
