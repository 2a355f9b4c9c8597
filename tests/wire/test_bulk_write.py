"""The server's own bulk write, which MongoDB 8.0 has and the integration tests' server has not."""

from __future__ import annotations

import pymongo
import pytest
from opentelemetry.trace import StatusCode
from pymongo import InsertOne, WriteConcern
from scripted_server import ScriptedServer, more, refused

pytestmark = pytest.mark.skipif(
    not hasattr(pymongo.MongoClient, "bulk_write"),
    reason="PyMongo 4.9 has made it known to clients.",
)

NAMESPACE = "admin.$cmd.bulkWrite"
WRITTEN = {"ok": 1, "idx": 0, "n": 1}
DUPLICATE = {"ok": 0, "idx": 1, "n": 0, "code": 11000, "errmsg": "alice is there already"}


@pytest.fixture
def server():
    with ScriptedServer(max_wire_version=25, replica_set="rs0") as server:
        yield server


@pytest.fixture
def attributes(server):
    """What a bulk write of two documents is given from the start."""
    return {
        "db.system.name": "mongodb",
        "db.operation.name": "bulkWrite",
        "db.namespace": "admin",
        "db.operation.batch.size": 2,
        "server.address": server.host,
        "server.port": server.port,
        "network.peer.address": server.host,
        "network.peer.port": server.port,
    }


def written(*results, errors=0, cursor_id=0, **fields):
    counts = dict.fromkeys(("nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"), 0)
    cursor = {"id": cursor_id, "ns": NAMESPACE, "firstBatch": results}
    return {"ok": 1, "nErrors": errors, **counts, "cursor": cursor, **fields}


def bulk_write(client, **options):
    client.bulk_write([InsertOne({"_id": 1}, namespace="shop.users")] * 2, **options)


def test_all_written(client, server, command_spans, attributes, durations):
    """A bulk write is named by its database, as its collections may be many, and has a size."""
    server.on("bulkWrite", written())
    bulk_write(client)

    (span,) = command_spans()
    assert span.name == "bulkWrite admin"
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == attributes
    assert durations() == {("bulkWrite", None): 1}


@pytest.mark.parametrize("results", [[DUPLICATE], [WRITTEN, DUPLICATE]], ids=["errors", "verbose"])
def test_some_written(client, server, command_spans, attributes, durations, results):
    """A bulk write with errors is one with the first error's code, among whatever results."""
    server.on("bulkWrite", written(*results, errors=1))
    with pytest.raises(pymongo.errors.ClientBulkWriteException):
        bulk_write(client, verbose_results=len(results) > 1)

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "DuplicateKeyError"
    assert dict(span.attributes) == {
        **attributes,
        "error.type": "11000",
        "db.response.status_code": "11000",
    }
    assert "alice" not in span.to_json()
    assert durations() == {("bulkWrite", "11000"): 1}


def test_an_error_told_later(client, server, command_spans, durations):
    """A bulk write with errors is one even if the results that tell them are yet to be fetched."""
    server.on("bulkWrite", written(WRITTEN, errors=1, cursor_id=7))
    server.on("getMore", more(DUPLICATE, namespace=NAMESPACE))
    with pytest.raises(pymongo.errors.ClientBulkWriteException):
        bulk_write(client, verbose_results=True)

    span, get_more = command_spans()
    assert get_more.name == "getMore admin"
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "_OTHER"
    assert durations() == {("bulkWrite", "_OTHER"): 1, ("getMore", None): 1}


def test_a_write_concern_error(client, server, command_spans, attributes):
    """A bulk write whose write concern was not met is an error."""
    error = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "timed out"}
    server.on("bulkWrite", written(writeConcernError=error))
    with pytest.raises(pymongo.errors.ClientBulkWriteException):
        bulk_write(client)

    (span,) = command_spans()
    assert span.status.description == "WriteConcernTimeout"
    assert dict(span.attributes) == {
        **attributes,
        "error.type": "64",
        "db.response.status_code": "64",
    }


def test_refused(client, server, command_spans, attributes, durations):
    """A bulk write that the server refuses as a whole is an error with the server's code."""
    server.on("bulkWrite", refused(13, "Unauthorized"))
    with pytest.raises(pymongo.errors.ClientBulkWriteException):
        bulk_write(client)

    (span,) = command_spans()
    assert span.status.description == "Unauthorized"
    assert dict(span.attributes) == {
        **attributes,
        "error.type": "13",
        "db.response.status_code": "13",
    }
    assert durations() == {("bulkWrite", "13"): 1}


def test_dropped(client, server, command_spans, attributes, durations):
    """A bulk write whose connection is dropped is an error; its retry is not."""
    server.on("bulkWrite", written())
    server.drop("bulkWrite")
    bulk_write(client)

    dropped, retried = command_spans()
    assert dropped.status.status_code is StatusCode.ERROR
    assert dict(dropped.attributes) == {**attributes, "error.type": "OSError"}
    assert retried.status.status_code is StatusCode.UNSET
    assert durations() == {("bulkWrite", "OSError"): 1, ("bulkWrite", None): 1}


def test_unacknowledged(client, command_spans, attributes, durations):
    """A bulk write that nobody waits for has a span, too."""
    bulk_write(client, ordered=False, write_concern=WriteConcern(w=0))

    (span,) = command_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == attributes
    assert durations() == {("bulkWrite", None): 1}
