"""Clients that were made before anybody instrumented."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pymongo
import pytest
from local_dns import srv_of
from local_mongodb import eventually
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client

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
    assert "Its existing pools are not measured" in record.message


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


@pytest.fixture
def srv_uri(mongodb_uri):
    """One whose name is looked up at the first operation."""
    seed = pymongo.uri_parser.parse_uri(mongodb_uri)["nodelist"][0]
    if pymongo.version_tuple < (4, 12):
        pytest.skip("PyMongo looks the name up when it makes the client")
    with srv_of(seed[1]) as uri:
        yield uri


def test_before_the_name_is_looked_up(srv_uri, telemetry):
    """A client whose SRV record was not looked up yet is seen as a whole, and only once."""
    client = pymongo.MongoClient(srv_uri, connect=False)
    for _ in range(2):
        instrument_client(client, **telemetry.providers)
    before = repr(pymongo.MongoClient(srv_uri, connect=False))
    assert repr(client) == before
    with client:
        client.shop.users.find_one()

        assert [span.name for span in telemetry.commands] == ["find users"]
        eventually(lambda: telemetry.named("mongodb.topology.discovery"), "the discovery")
        assert telemetry.points("db.client.connection.count")
        assert "event_listeners" not in repr(client)


@needs_async
async def test_async_before_the_name_is_looked_up(srv_uri, telemetry):
    """So is an AsyncMongoClient, of which none is looked up before its first operation."""
    async with pymongo.AsyncMongoClient(srv_uri) as client:
        instrument_client(client, **telemetry.providers)
        await client.shop.users.find_one()

        assert [span.name for span in telemetry.commands] == ["find users"]
        assert "event_listeners" not in repr(client)


@pytest.mark.parametrize("instrument", ["instrument", "event_listeners"])
def test_made_with_listeners_and_looked_up_later(srv_uri, telemetry, instrument):
    """A client that is made with listeners keeps them when its name is looked up."""
    given = {}
    if instrument == "instrument":
        MongoInstrumentor().instrument(**telemetry.providers)
    else:
        given = {"event_listeners": event_listeners(**telemetry.providers)}
    with pymongo.MongoClient(srv_uri, connect=False, **given) as client:
        client.shop.users.find_one()

        assert [span.name for span in telemetry.commands] == ["find users"]
        assert ("event_listeners" in repr(client)) is bool(given)


def test_undone_before_the_name_is_looked_up(srv_uri, telemetry):
    """A client that was quieted before its name was looked up can be instrumented anew."""
    client = pymongo.MongoClient(srv_uri, connect=False)
    instrument_client(client, **telemetry.providers)
    MongoInstrumentor().uninstrument()
    instrument_client(client, **telemetry.providers)
    with client:
        client.shop.users.find_one()

    assert len(telemetry.named("find users")) == 1


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
def test_in_the_middle_of_a_command(client, telemetry, convention):
    """A command that is on its way when its client is quieted and instrumented anew still ends."""
    settings = {**telemetry.providers, "span_convention": convention}
    slow = {"$where": "sleep(1000) || true"}
    instrument_client(client, **settings)
    with ThreadPoolExecutor(1) as other:
        on_its_way = other.submit(client.shop.users.find_one, slow)
        while len(set(telemetry.started_and_ended)) == 1:
            time.sleep(0.01)
        MongoInstrumentor().uninstrument()
        instrument_client(client, **settings)
        client.shop.users.find_one()
        on_its_way.result()

    begun, ended = telemetry.started_and_ended
    assert begun == ended
    names = [span.name for span in telemetry.commands]
    assert names.count("find users" if convention == "semconv" else "find shop.users") == 2
    measured = telemetry.points("db.client.operation.duration")
    assert sum(p.data.count for p in measured if p.attributes["db.operation.name"] == "find") == 2


def test_listeners_do_not_pile_up(client, telemetry):
    """However often a client is quieted and instrumented anew, it has one set of listeners."""
    instrument_client(client, **telemetry.providers)
    once = len(client.options.event_listeners)
    for _ in range(3):
        MongoInstrumentor().uninstrument()
        instrument_client(client, **telemetry.providers)

    assert len(client.options.event_listeners) == once
