"""Without OpenTelemetry's SDK: the application runs as if nothing was there."""

from __future__ import annotations

from own_process import output_of

PROGRAM = """
import asyncio, sys
sys.modules["opentelemetry.sdk"] = None  # As if it was not installed.
import pymongo
from otel_mongo_apm import MongoInstrumentor

MongoInstrumentor().instrument(events="both")
with pymongo.MongoClient(sys.argv[1]) as client:
    client.shop.users.insert_one({"_id": 1})
    try:
        client.shop.users.insert_one({"_id": 1})
    except pymongo.errors.DuplicateKeyError:
        print("a duplicate")
    print(len(list(client.shop.users.find())))
MongoInstrumentor().uninstrument()
"""


def test_without_an_sdk(mongodb_uri, shop):
    """The application does what it does, and nobody complains."""
    printed = output_of("-c", PROGRAM, mongodb_uri)

    assert printed.split("\n") == ["a duplicate", "1", ""]
