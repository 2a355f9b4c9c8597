"""Attributes for backends that do not know the stable conventions yet, with a real server."""

from __future__ import annotations

import pymongo
import pytest
from opentelemetry.trace import SpanKind
from pymongo.errors import ServerSelectionTimeoutError

from otel_mongo_apm import MongoInstrumentor

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
OLDER = {
    "db.system",
    "db.name",
    "db.operation",
    "db.mongodb.collection",
    "db.statement",
    "net.peer.name",
    "net.peer.port",
}
PAIRS = {
    "db.system": "db.system.name",
    "db.name": "db.namespace",
    "db.operation": "db.operation.name",
    "db.mongodb.collection": "db.collection.name",
    "db.statement": "db.query.text",
    "net.peer.name": "server.address",
    "net.peer.port": "server.port",
}


@pytest.fixture
def attributes(standalone, telemetry):
    """The attributes of the span of a find."""

    def attributes(**settings):
        MongoInstrumentor().instrument(**telemetry.providers, **settings)
        with pymongo.MongoClient(standalone.uri) as client:
            client.shop.users.find_one({"name": "Ada"})
        (span,) = telemetry.named("find users")
        return dict(span.attributes)

    return attributes


@pytest.mark.parametrize("opt_in", ["database/dup", "http, database/dup"])
def test_both(attributes, telemetry, monkeypatch, opt_in):
    """With `database/dup` each stable attribute of a span has its older name beside it."""
    monkeypatch.setenv(OPT_IN, opt_in)
    found = attributes()

    assert found.keys() >= OLDER
    assert {older: found[older] for older in PAIRS} == {
        older: found[stable] for older, stable in PAIRS.items()
    }
    for point in telemetry.points("db.client.operation.duration"):
        assert not OLDER & point.attributes.keys()


@pytest.mark.parametrize("opt_in", ["", "database", "http/dup"])
def test_stable_alone(attributes, monkeypatch, opt_in):
    """Without it there are only the stable ones."""
    monkeypatch.setenv(OPT_IN, opt_in)
    found = attributes()

    assert not OLDER & found.keys()
    assert "peer.service" not in found


def test_a_call_that_fails(telemetry, monkeypatch):
    """A wait that failed, which stands for the call, has them, too."""
    monkeypatch.setenv(OPT_IN, "database/dup")
    MongoInstrumentor().instrument(**telemetry.providers, peer_service="orders-db")
    with (
        pymongo.MongoClient("mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=50) as client,
        pytest.raises(ServerSelectionTimeoutError),
    ):
        client.shop.users.find_one()

    (span,) = telemetry.named("select server")
    assert span.kind is SpanKind.CLIENT
    assert span.attributes["db.system"] == "mongodb"
    assert span.attributes["peer.service"] == "orders-db"


def test_waits_that_end_well(standalone, telemetry, monkeypatch):
    """A wait that ended well is no call of the server, so it has neither."""
    monkeypatch.setenv(OPT_IN, "database/dup")
    MongoInstrumentor().instrument(
        **telemetry.providers, peer_service="orders-db", wait_span_threshold=0
    )
    with pymongo.MongoClient(standalone.uri) as client:
        client.shop.users.find_one()

    for name in ("select server", "check out connection"):
        for span in telemetry.named(name):
            assert not {"db.system", "peer.service"} & span.attributes.keys()


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
def test_peer_service(standalone, telemetry, convention):
    """The spans of commands have the name that the user has given to the database."""
    MongoInstrumentor().instrument(
        **telemetry.providers, span_convention=convention, peer_service=" orders-db "
    )
    with pymongo.MongoClient(standalone.uri) as client:
        client.shop.users.find_one()

    name = "find users" if convention == "semconv" else "find"
    (span,) = telemetry.named(name)
    assert span.attributes["peer.service"] == "orders-db"
    for point in telemetry.points("db.client.operation.duration"):
        assert "peer.service" not in point.attributes


@pytest.mark.parametrize(("value", "error"), [("", ValueError), (" ", ValueError), (5, TypeError)])
def test_no_peer_service(value, error):
    """What is no name is refused, and what is accepted is named."""
    with pytest.raises(error, match=r"Invalid peer_service.*a string that is not empty"):
        MongoInstrumentor().instrument(peer_service=value)
