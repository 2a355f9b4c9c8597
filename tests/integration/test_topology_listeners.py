"""PyMongo's own server and topology listeners: what they tell, and who goes without them."""

from __future__ import annotations

import asyncio
import time

import pymongo
import pytest
from client_kinds import of_each_kind, settle
from local_mongodb import eventually, free_port
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client
from otel_mongo_apm._cluster.topology_listener import ServerTelemetry, TopologyTelemetry
from otel_mongo_apm._setup.topology_listeners import _warn

DISCOVERY = "mongodb.topology.discovery"


@pytest.fixture(autouse=True)
def _warned_anew():
    _warn.cache_clear()


@pytest.fixture
def listening(telemetry):
    MongoInstrumentor().instrument(topology_listeners=True, events="span", **telemetry.providers)
    return telemetry


def has_them(client):
    kinds = {type(each) for each in client.options.event_listeners}
    return {ServerTelemetry, TopologyTelemetry} <= kinds


def warnings(caplog):
    return [each.getMessage() for each in caplog.records if "topology_listeners" in each.message]


def events_of(span):
    return [event.name.removeprefix("mongodb.client.") for event in span.events]


def discovered(telemetry, uri, **settings):
    """The events of a discovery, and of what came after it up to the client's end."""
    MongoInstrumentor().instrument(**settings, **telemetry.providers)
    with pymongo.MongoClient(uri) as client:
        client.admin.command("ping")
        eventually(lambda: telemetry.named(DISCOVERY), "the discovery")
    MongoInstrumentor().uninstrument()
    (span,) = telemetry.named(DISCOVERY)
    telemetry.forget()
    return events_of(span), dict(span.attributes)


def test_the_same_story(telemetry, mongodb_uri):
    """A discovery is told in the same events, in both ways."""
    looking = discovered(telemetry, mongodb_uri)
    listening = discovered(telemetry, mongodb_uri, topology_listeners=True)

    assert sorted(looking[0]) == sorted(listening[0])
    assert looking[1] == listening[1]


@of_each_kind
def test_each_kind(kind, listening, mongodb_uri):
    """Each kind of client has the listeners, and what they tell is in the metrics."""

    async def work():
        client = kind.make(mongodb_uri)
        await settle(client.admin.command("ping"))
        deadline = time.monotonic() + 10
        while not listening.named(DISCOVERY) and time.monotonic() < deadline:
            await settle(_pause(kind))
        writable = listening.points("mongodb.client.topology.writable")
        await settle(client.close())
        return [point.data.value for point in writable]

    assert kind.run(work()) == [1]
    assert len(listening.named(DISCOVERY)) == 1


def _pause(kind):
    is_sync = type(kind).__name__ == "SyncClients"
    return time.sleep(0.05) if is_sync else asyncio.sleep(0.05)


def test_close(listening, mongodb_uri):
    """The client's end is told once, and its servers are not told of one by one."""
    with pymongo.MongoClient(mongodb_uri) as client:
        client.admin.command("ping")
        eventually(lambda: listening.named(DISCOVERY), "the discovery")

    assert listening.points("mongodb.client.instances")[0].data.value == 0
    assert listening.points("mongodb.client.topology.writable") == []


@of_each_kind
def test_clients_that_are_closed_at_once(kind, listening, mongodb_uri):
    """A client that is closed before PyMongo has published its events still shows its discovery."""

    async def work():
        client = kind.make(mongodb_uri)
        await settle(client.admin.command("ping"))
        await settle(client.close())

    kind.run(work())
    eventually(lambda: listening.named(DISCOVERY), "the discovery")

    (span,) = listening.named(DISCOVERY)
    assert span.status.is_ok


def test_the_price(listening, mongodb_uri):
    """To close a client takes up to half a second. If it takes none, PyMongo has mended it."""
    took = []
    for _ in range(3):
        client = pymongo.MongoClient(mongodb_uri)
        client.admin.command("ping")
        began = time.monotonic()
        client.close()
        took.append(time.monotonic() - began)

    assert has_them(client)
    if pymongo.version_tuple >= (4, 9):
        assert max(took) > 0.1
    assert max(took) < 5


@needs_async
def test_outside_of_an_event_loop(listening, mongodb_uri, caplog):
    """An AsyncMongoClient that is made outside of an event loop goes on without, with a warning."""
    clients = [pymongo.AsyncMongoClient(mongodb_uri) for _ in range(2)]

    async def work():
        for client in clients:
            await client.admin.command("ping")
            await client.close()

    asyncio.run(work())

    assert not any(map(has_them, clients))
    (warning,) = warnings(caplog)
    assert warning == (
        "topology_listeners=True has no effect for a client: it is an AsyncMongoClient that is made"
        " outside of a running event loop. Its cluster is observed at each heartbeat instead, as by"
        " default."
    )
    eventually(lambda: len(listening.named(DISCOVERY)) == 2, "both discoveries")


@of_each_kind
def test_many_seeds(kind, listening, caplog):
    """A client with more than 40 seeds goes on without, with a warning, and does not block."""
    uri = "mongodb://" + ",".join(f"127.0.0.1:{port}" for port in range(40_001, 40_061))

    async def work():
        client = kind.make(uri, serverSelectionTimeoutMS=500)
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            await settle(client.admin.command("ping"))
        await settle(client.close())

    began = time.monotonic()
    kind.run(work())

    assert time.monotonic() - began < 30
    assert [line for line in warnings(caplog) if "more than 40 seeds" in line] == warnings(caplog)
    assert len(warnings(caplog)) == 1


@of_each_kind
def test_forty_seeds(kind, listening, caplog):
    """One with forty has them, and its many events do not block it."""
    ports = [free_port() for _ in range(40)]
    uri = "mongodb://" + ",".join(f"127.0.0.1:{port}" for port in ports)

    async def work():
        client = kind.make(uri, serverSelectionTimeoutMS=2500)
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            await settle(client.admin.command("ping"))
        await settle(client.close())

    kind.run(work())

    assert warnings(caplog) == []


def test_listeners_that_are_passed(telemetry, mongodb_uri):
    """`event_listeners()` has them, too."""
    own = event_listeners(topology_listeners=True, **telemetry.providers)
    with pymongo.MongoClient(mongodb_uri, event_listeners=own) as client:
        assert has_them(client)
        client.admin.command("ping")
        eventually(lambda: telemetry.named(DISCOVERY), "the discovery")


@needs_async
def test_listeners_that_are_passed_outside_of_an_event_loop(telemetry, mongodb_uri, caplog):
    """An AsyncMongoClient that is passed them outside of an event loop goes on without."""
    own = event_listeners(topology_listeners=True, **telemetry.providers)
    client = pymongo.AsyncMongoClient(mongodb_uri, event_listeners=own)

    async def work():
        await client.admin.command("ping")
        await client.close()

    asyncio.run(work())

    assert not has_them(client)
    assert len(warnings(caplog)) == 1
    eventually(lambda: telemetry.named(DISCOVERY), "the discovery")


def test_a_client_that_exists(telemetry, mongodb_uri, caplog):
    """A client that was made before goes on without, with a warning."""
    with pymongo.MongoClient(mongodb_uri) as client:
        instrument_client(client, topology_listeners=True, **telemetry.providers)
        client.admin.command("ping")

        assert not has_them(client)
    assert len(warnings(caplog)) == 1


def test_off_by_default(telemetry, mongodb_uri):
    """Nobody who has not asked for them has them."""
    MongoInstrumentor().instrument(**telemetry.providers)
    with pymongo.MongoClient(mongodb_uri) as client:
        assert not has_them(client)


def test_not_where_nobody_looks(telemetry, mongodb_uri):
    """Nor has a client whose cluster is not told of."""
    MongoInstrumentor().instrument(
        topology_listeners=True, events="none", topology_metrics=False, **telemetry.providers
    )
    with pymongo.MongoClient(mongodb_uri) as client:
        assert not has_them(client)
