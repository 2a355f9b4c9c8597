"""Look-ups of SRV records, by a real DNS server on this machine."""

from __future__ import annotations

import logging

import pymongo
import pytest
from client_kinds import of_each_kind, settle
from local_mongodb import eventually
from name_server import NameServer
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import ConfigurationError, ServerSelectionTimeoutError

from otel_mongo_apm import MongoInstrumentor, instrument_client
from otel_mongo_apm._driver.classes import srv_client_classes

# Before, the look-up was a part of the constructor, and nobody was there yet to see it.
pytestmark = pytest.mark.skipif(pymongo.version_tuple < (4, 12), reason="PyMongo 4.12")

URI = "mongodb+srv://cluster.test.example/?tls=false"
QUESTION = {"dns.question.name": "_mongodb._tcp.cluster.test.example"}
TARGET = {"db.system.name": "mongodb", "server.address": "mongodb+srv://cluster.test.example"}
# Before 4.16 PyMongo did not say what was the cause.
CAUSE_IS_KEPT = pymongo.version_tuple >= (4, 16)
ERROR = "dns.resolver.NXDOMAIN" if CAUSE_IS_KEPT else "pymongo.errors.ConfigurationError"
NO_SUCH_NAME = {"error.type": ERROR}
NO_SUCH_NAME_ONCE = {ERROR: 1}


@pytest.fixture
def names():
    with NameServer() as names:
        yield names


def counted(telemetry):
    """How many calls have failed, by their errors."""
    points = telemetry.points("db.client.operation.duration")
    return {point.attributes["error.type"]: point.data.count for point in points}


@of_each_kind
def test_no_such_name(kind, names, telemetry, caplog):
    """A look-up in vain is the call's failure: a span, a measurement, a line, counted once."""
    MongoInstrumentor().instrument(**telemetry.providers)
    names.delay = 0.05

    async def find():
        client = kind.make(URI, connect=False)
        with pytest.raises(ConfigurationError):
            await settle(client.shop.users.find_one())
        await settle(client.close())

    kind.run(find())

    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("look up SRV record", SpanKind.CLIENT)
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        ERROR.rpartition(".")[2],
    )
    assert dict(span.attributes) == {**TARGET, **QUESTION, **NO_SUCH_NAME}
    assert span.end_time - span.start_time >= 50_000_000
    (lookup,) = telemetry.points("dns.lookup.duration")
    assert lookup.attributes == {**QUESTION, **NO_SUCH_NAME}
    assert lookup.data.sum >= 0.05
    assert counted(telemetry) == NO_SUCH_NAME_ONCE
    (record,) = eventually(
        lambda: [each for each in caplog.records if each.levelno == logging.WARNING], "the line"
    )
    assert record.message == (
        f"Looking up SRV record _mongodb._tcp.cluster.test.example failed after 0.1 s: {ERROR}"
    )


def test_in_the_constructor(names, telemetry):
    """So it is where the constructor looks the name up, though there is no call yet to count."""
    MongoInstrumentor().instrument(**telemetry.providers)
    with pytest.raises(ConfigurationError):
        pymongo.MongoClient(URI)

    assert [span.name for span in telemetry.spans] == ["look up SRV record"]
    assert telemetry.points("dns.lookup.duration")[0].data.count == 1
    assert counted(telemetry) == {}


def test_a_client_that_was_there_before(names, telemetry):
    """So it is for a client that is instrumented when it has not looked the name up yet."""
    client = pymongo.MongoClient(URI, connect=False)
    instrument_client(client, **telemetry.providers)
    with client, pytest.raises(ConfigurationError):
        client.shop.users.find_one()

    assert [span.name for span in telemetry.spans] == ["look up SRV record"]
    assert counted(telemetry) == NO_SUCH_NAME_ONCE


def test_by_the_convention_of_mongodb(names, telemetry):
    """By MongoDB's convention the look-up is inside of the operation that fails of it."""
    MongoInstrumentor().instrument(**telemetry.providers, span_convention="mongodb")
    with (
        pymongo.MongoClient(URI, connect=False) as client,
        pytest.raises(ConfigurationError),
    ):
        client.shop.users.find_one()

    lookup, operation = telemetry.spans
    assert (lookup.name, operation.name) == ("look up SRV record", "find shop.users")
    assert lookup.parent == operation.context
    assert counted(telemetry) == NO_SUCH_NAME_ONCE


def test_a_slow_answer(names, telemetry, caplog):
    """A slow look-up has a span and a line; what the client then does has its name for a target."""
    caplog.set_level(logging.DEBUG, "otel_mongo_apm.cluster")
    MongoInstrumentor().instrument(**telemetry.providers)
    names.delay, names.servers = 0.05, [("h.test.example", 1)]
    with (
        pymongo.MongoClient(URI, connect=False, serverSelectionTimeoutMS=50) as client,
        pytest.raises(ServerSelectionTimeoutError),
    ):
        client.shop.users.find_one()

    (lookup,), (selection,) = map(telemetry.named, ("look up SRV record", "select server"))
    assert (lookup.kind, lookup.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert dict(lookup.attributes) == {**TARGET, **QUESTION}
    assert selection.attributes["server.address"] == TARGET["server.address"]
    assert telemetry.points("dns.lookup.duration")[0].attributes == QUESTION
    line = "Looked up SRV record _mongodb._tcp.cluster.test.example in 0."
    eventually(lambda: any(each.startswith(line) for each in caplog.messages), "the line")


def test_another_name(monkeypatch, caplog):
    """Where PyMongo looks names up by another function, one warning says what is lost."""
    monkeypatch.delattr(pymongo.AsyncMongoClient, "_resolve_srv")
    found = [list(srv_client_classes()) for _ in range(2)]

    assert found == [[(pymongo.MongoClient, False)]] * 2
    (warning,) = caplog.messages
    assert warning.endswith(
        "AsyncMongoClient._resolve_srv: lookups of SRV records are not reported."
    )
