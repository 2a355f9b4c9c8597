"""What a server that asks for credentials is told stays between it and the client."""

from __future__ import annotations

import pymongo
import pytest
from pymongo.errors import OperationFailure

from otel_mongo_apm import MongoInstrumentor

SECRETS = ("alice", "wonderland-4711", "looking-glass-4711", "reader-4711")


@pytest.fixture(params=["sanitized", "off"])
def told(request, telemetry, with_auth):
    """Everything that is told of a user's life."""
    MongoInstrumentor().instrument(**telemetry.providers, query_text=request.param)
    with pymongo.MongoClient(with_auth.uri) as client:
        client.shop.command("createRole", "reader-4711", privileges=[], roles=[])
        client.shop.command("createUser", "alice", pwd="wonderland-4711", roles=["reader-4711"])
        client.shop.command("usersInfo", "alice")
        client.shop.command("rolesInfo", "reader-4711")
        client.shop.command("grantRolesToUser", "alice", roles=["read"])
        client.shop.command("updateUser", "alice", pwd="looking-glass-4711")
    _log_in(with_auth, "looking-glass-4711")
    with pytest.raises(OperationFailure):
        _log_in(with_auth, "wonderland-4711")
    with pymongo.MongoClient(with_auth.uri) as client:
        client.shop.command("dropUser", "alice")
        client.shop.command("dropRole", "reader-4711")
    return telemetry


def _log_in(server, password):
    with pymongo.MongoClient(
        *server.address, username="alice", password=password, authSource="shop"
    ) as client:
        client.shop.users.find_one()


def test_no_credentials_anywhere(told):
    """No user, role or password is in any span or metric; only its own commands have spans."""
    everything = [span.to_json() for span in told.spans]
    everything += [str(point.attributes) for points in told.metrics().values() for point in points]

    assert [text for text in everything if any(secret in text for secret in SECRETS)] == []
    assert {span.attributes["db.operation.name"] for span in told.commands} == {
        *("createRole", "usersInfo", "rolesInfo", "grantRolesToUser"),
        *("find", "dropUser", "dropRole"),
    }


def test_no_users_as_collections(told):
    """Only a collection is called one."""
    assert {s.attributes.get("db.collection.name") for s in told.commands} == {None, "users"}
