"""A process that forks, as application servers do, and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROGRAM = """
import json, os, sys, threading, warnings
warnings.simplefilter("ignore")  # PyMongo warns of clients that cross a fork.
sys.path.insert(0, sys.argv[1])
from forks import fork_between_measurements  # Before PyMongo is.
import pymongo
from in_memory import InMemoryTelemetry
from otel_mongo_apm import MongoInstrumentor

telemetry = InMemoryTelemetry()
fork_between_measurements(telemetry)
MongoInstrumentor().instrument(**telemetry.providers)
client = pymongo.MongoClient(sys.argv[2])
client.shop.users.insert_one({})
stop = threading.Event()

def work():
    while not stop.is_set():
        client.shop.users.find_one()

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for _ in range(5):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        telemetry.forget()
        pools = telemetry.points("db.client.connection.count")
        client.shop.users.insert_one({})
        with pymongo.MongoClient(sys.argv[2]) as own:
            own.shop.users.insert_one({})
            counts = [
                (
                    point.attributes["db.client.connection.pool.name"],
                    point.attributes["db.client.connection.state"],
                    point.data.value,
                )
                for point in telemetry.points("db.client.connection.count")
            ]
        client.close()
        told = {
            "before": len(pools),
            "names": [span.name for span in telemetry.commands],
            "idle": [number for _, state, number in counts if state == "idle"],
            "used": sum(number for _, state, number in counts if state == "used"),
        }
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    children.append((child, reading))
told = []
for child, reading in children:
    told.append(json.loads(os.read(reading, 65536)))
    os.waitpid(child, 0)
stop.set()
for thread in threads:
    thread.join()
client.close()
started, ended = telemetry.started_and_ended
print(json.dumps({"children": told, "started": started, "ended": ended}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_fork(mongodb_uri, shop):
    """A child tells of its own, nothing hangs, and the parent goes on."""
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, TESTS, mongodb_uri],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout)
    assert told["started"] == told["ended"]
    assert len(told["children"]) == 5
    for child in told["children"]:
        assert child["before"] == 0
        assert child["names"].count("insert users") == 2
        assert child["idle"] == [2]  # One of each client, in pools of the same name.
        assert child["used"] == 0
