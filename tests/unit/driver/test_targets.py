"""What a client is configured to connect to, as PyMongo keeps it."""

from __future__ import annotations

from types import SimpleNamespace

import pymongo
import pytest
from in_memory import InMemoryTelemetry

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._driver import targets
from otel_mongo_apm._otel import addresses


@pytest.fixture(autouse=True)
def _nothing_redacted(monkeypatch):
    monkeypatch.setattr(addresses, "_redacted", set())


def test_seeds():
    """A client's target is what it was given, not the servers that it has found."""
    with pymongo.MongoClient("mongodb://b.example,a.example:1", connect=False) as client:
        assert targets.target(client) == {"server.address": "a.example:1,b.example:27017"}


@pytest.mark.skipif(pymongo.version_tuple < (4, 12), reason="Its constructor looks the name up")
def test_an_srv_record_that_was_not_looked_up():
    """The target of a client with an SRV record is known before that is looked up."""
    client = pymongo.MongoClient("mongodb+srv://cluster.test.example", connect=False)

    assert targets.target(client) == {"server.address": "mongodb+srv://cluster.test.example"}
    assert targets.srv_question(client) == "_mongodb._tcp.cluster.test.example"


def test_a_client_in_the_making():
    """Of a client that is not known or not made there is no target, and no warning."""
    assert targets.target(None) == {}
    assert targets.target(pymongo.MongoClient.__new__(pymongo.MongoClient)) == {}


def test_what_pymongo_lacks(caplog):
    """Where PyMongo keeps it in another place, one warning says so."""
    for _ in range(2):
        assert targets.target(SimpleNamespace(_topology=object())) == {}

    (message,) = caplog.messages
    assert message.endswith(
        "client._topology_settings.seeds: the configured server.address is left out."
    )


@pytest.mark.parametrize(
    ("host", "redacted"),
    [
        ("mongodb://alice:12/34@db.example", {"alice"}),
        (["a.example", "mongodb://Alice:12,b:1/34@db.example/shop?w=1"], {"alice", "b"}),
        ("mongodb://alice:1234@db.example/shop", set()),
        ("mongodb://alice:12@34@db.example/a@b", set()),
        ("mongodb://db.example/shop?appName=a@b", set()),
        ("db.example", set()),
        (None, set()),
        ([27017], set()),
    ],
)
def test_credentials_that_are_taken_for_servers(host, redacted):
    """Of a password with a slash that is not escaped, what is before it is never shown."""
    targets.redact_misread_credentials(host)

    assert addresses._redacted == redacted


def test_what_can_be_gone_through_once():
    """The hosts of a generator are PyMongo's."""
    hosts = (host for host in ["mongodb://alice:12/34@localhost"])
    targets.redact_misread_credentials(hosts)

    assert list(hosts)


def test_nothing_tells_a_users_name(caplog):
    """A user's name that PyMongo takes for a server is in no span, metric or log line."""
    telemetry = InMemoryTelemetry()
    MongoInstrumentor().instrument(**telemetry.providers)
    with (
        pymongo.MongoClient("mongodb://alice:12/34@localhost") as client,
        pytest.raises(pymongo.errors.PyMongoError),
        pymongo.timeout(0.2),
    ):
        client.shop.users.find_one()

    told = [span.to_json() for span in telemetry.spans] + caplog.messages
    told += [str(point.attributes) for points in telemetry.metrics().values() for point in points]
    assert telemetry.named("select server")[0].attributes["server.address"] == "REDACTED"
    assert [text for text in told if "alice" in text] == []
