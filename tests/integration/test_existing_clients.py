"""Clients that were made before anybody instrumented."""

from __future__ import annotations

import pymongo
import pytest
from local_mongodb import eventually
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, instrument_client

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture
def client(mongodb_uri):
    """A client that has been at work for a while."""
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.insert_one({})
        yield client


def test_sync(client, telemetry):
    """From now on its commands are seen, and measured."""
    instrument_client(client, **telemetry.providers, query_text="off")
    client.shop.users.find_one()

    assert telemetry.command.name == "find users"
    assert "db.query.text" not in telemetry.command.attributes
    assert telemetry.points("db.client.operation.duration")[0].data.count == 1


@needs_async
async def test_async(mongodb_uri, telemetry):
    """So are those of an AsyncMongoClient."""
    async with pymongo.AsyncMongoClient(mongodb_uri) as client:
        await client.shop.users.insert_one({})
        instrument_client(client, **telemetry.providers)
        await client.shop.users.find_one()

        assert telemetry.command.name == "find users"


async def test_motor(mongodb_uri, telemetry):
    """And those of a client of Motor's."""
    motor = pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    client = motor.AsyncIOMotorClient(mongodb_uri)
    await client.shop.users.insert_one({})
    instrument_client(client, **telemetry.providers)
    await client.shop.users.find_one()
    client.close()

    assert telemetry.commands[0].name == "find users"


def test_what_comes_too_late(client, telemetry, caplog):
    """That its pools are not measured any more is said once."""
    instrument_client(client, **telemetry.providers)
    instrument_client(client, **telemetry.providers)

    (record,) = caplog.records
    assert "the pools that it has are not measured" in record.message


def test_in_time(mongodb_uri, telemetry, caplog):
    """A client that has not connected yet is seen as a whole, without a word."""
    client = pymongo.MongoClient(mongodb_uri, connect=False)
    instrument_client(client, **telemetry.providers)
    with client:
        client.shop.users.find_one()

        assert caplog.records == []
        eventually(lambda: telemetry.named("mongodb.topology.discovery"), "the discovery")
        assert telemetry.points("db.client.connection.count")


def test_twice_is_once(client, telemetry):
    """To instrument a client again changes nothing, whoever did it first."""
    instrument_client(client, **telemetry.providers)
    instrument_client(client, **telemetry.providers)
    client.shop.users.find_one()

    assert len(telemetry.commands) == 1


def test_undone(client, telemetry):
    """`uninstrument()` quiets it, and it can be instrumented anew."""
    instrument_client(client, **telemetry.providers)
    MongoInstrumentor().uninstrument()
    client.shop.users.find_one()
    assert telemetry.commands == []

    instrument_client(client, **telemetry.providers)
    client.shop.users.find_one()

    assert len(telemetry.commands) == 1


def test_its_waits(client, telemetry):
    """Its waits for a server have spans, even if earlier ones were nobody's or another's."""
    client.shop.users.find_one()
    for _ in range(2):
        instrument_client(client, **telemetry.providers, wait_span_threshold=0)
        client.shop.users.find_one()

        assert telemetry.named("select server")
        MongoInstrumentor().uninstrument()
        telemetry.forget()


def test_the_listeners_of_others_stay(mongodb_uri, telemetry):
    """Listeners that it had are still told."""
    told = []

    class Listener(pymongo.monitoring.CommandListener):
        def started(self, event):
            told.append(event.command_name)

        def succeeded(self, event):
            pass

        failed = succeeded

    with pymongo.MongoClient(mongodb_uri, event_listeners=[Listener()]) as client:
        instrument_client(client, **telemetry.providers)
        client.shop.users.find_one()

    assert told[0] == "find"
    assert telemetry.commands[0].name == "find users"


def test_what_is_no_client(telemetry):
    """What is no client is refused, as are wrong settings."""
    with pytest.raises(TypeError, match="Not a client of PyMongo or Motor: str"):
        instrument_client("mongodb://localhost")
    with pytest.raises(ValueError, match="'off', 'sanitized', 'raw'"):
        instrument_client(None, query_text="some")
