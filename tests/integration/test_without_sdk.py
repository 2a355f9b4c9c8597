"""Without OpenTelemetry's SDK: the application runs as if nothing was there."""

from __future__ import annotations

import subprocess
import sys

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
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, mongodb_uri],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.split("\n") == ["a duplicate", "1", ""]
