"""Processes: their children, and how they end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from own_process import output_of
from versions import needs_async

pytestmark = pytest.mark.usefixtures("shop")

TESTS = Path(__file__).parents[1]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")


def run(directory, program, *arguments):
    """Run a program of its own; it says nothing but what it prints, and ends well."""
    script = directory / "program.py"
    script.write_text(program, encoding="utf-8")
    return json.loads(output_of(script, TESTS, *arguments))


CHILDREN = """
import json, multiprocessing, sys, threading, time, warnings
warnings.simplefilter("ignore")  # PyMongo warns of clients that cross a fork.
sys.path.insert(0, sys.argv[1])
from forks import fork_between_measurements  # Before PyMongo is.
import pymongo
from in_memory import InMemoryTelemetry
from otel_mongo_apm import MongoInstrumentor

uri, method, instrumented = sys.argv[2:]
telemetry = InMemoryTelemetry()
fork_between_measurements(telemetry)
if instrumented == "before":  # So it is in a child that is spawned, too: it imports this anew.
    MongoInstrumentor().instrument(**telemetry.providers)

def told():
    counts = telemetry.points("db.client.connection.count")
    instances = telemetry.points("mongodb.client.instances")
    return {
        "commands": [span.name for span in telemetry.commands],
        "pools": sorted({p.attributes["db.client.connection.pool.name"] for p in counts}),
        "connections": sum(point.data.value for point in counts),
        "instances": sum(point.data.value for point in instances),
        "started and ended": telemetry.started_and_ended,
    }

def child(found):
    telemetry.forget()
    started, ended = telemetry.started_and_ended
    if instrumented == "after":
        MongoInstrumentor().instrument(**telemetry.providers)
    before = told()
    with pymongo.MongoClient(uri) as own:
        own.shop.users.insert_one({})
        during = told()
    after = told()
    for each in (before, during, after):
        each["started and ended"] = [
            number - earlier
            for number, earlier in zip(each["started and ended"], (started, ended))
        ]
    found.send({"before": before, "during": during, "after": after})

def main():
    client = pymongo.MongoClient(uri)
    client.shop.users.insert_one({})
    over = threading.Event()
    def work():
        while not over.is_set():
            client.shop.users.find_one({"$where": "sleep(1000) || true"})
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)  # By then each is in the middle of its command.
    context = multiprocessing.get_context(method)
    children = []
    for _ in range(3):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(sending,))
        process.start()
        children.append((process, receiving))
    found = [receiving.recv() for _, receiving in children]
    for process, _ in children:
        process.join()
    over.set()
    for thread in threads:
        thread.join()
    parent = told()
    client.close()
    statuses = [process.exitcode for process, _ in children]
    parent["started and ended"] = telemetry.started_and_ended
    print(json.dumps({"children": found, "statuses": statuses, "parent": parent}))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("instrumented", ["before", "after"])
@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_multiprocessing(tmp_path, mongodb_uri, method, instrumented):
    """A child tells of its own client alone, however it was started, and its parent goes on."""
    told = run(tmp_path, CHILDREN, mongodb_uri, method, instrumented)

    assert told["statuses"] == [0, 0, 0]
    nothing = {"commands": [], "pools": [], "connections": 0, "instances": 0}
    for child in told["children"]:
        assert child["before"] == {**nothing, "started and ended": [0, 0]}
        during, after = child["during"], child["after"]
        assert during["commands"] == ["insert users"]
        assert len(during["pools"]) == during["connections"] == during["instances"] == 1
        assert (after["pools"], after["connections"], after["instances"]) == ([], 0, 0)
        started, ended = after["started and ended"]
        assert started == ended > 0
    parent = told["parent"]
    started, ended = parent["started and ended"]
    assert started == ended
    assert parent["instances"] == len(parent["pools"]) == (instrumented == "before")


PREFORK = """
import json, os, sys, threading, warnings
warnings.simplefilter("ignore")  # PyMongo warns of clients that cross a fork.
sys.path.insert(0, sys.argv[1])
import pymongo
from in_memory import InMemoryTelemetry
from opentelemetry import metrics, trace
from otel_mongo_apm import MongoInstrumentor

uri, instrumented = sys.argv[2:]
# The application is loaded before the workers are forked, and they share what it has made.
if instrumented == "before":
    MongoInstrumentor().instrument()
    client = pymongo.MongoClient(uri)
    client.shop.users.insert_one({})

def work(number):
    \"""A worker: it sets its own SDK up, which is not to be done before a fork, and serves.\"""
    global client
    telemetry = InMemoryTelemetry()
    trace.set_tracer_provider(telemetry.tracer_provider)
    metrics.set_meter_provider(telemetry.meter_provider)
    if instrumented == "after":
        MongoInstrumentor().instrument()
        client = pymongo.MongoClient(uri)
    def serve():
        for _ in range(5):
            client.shop.users.find_one({"worker": number})
    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    instances = telemetry.points("mongodb.client.instances")
    durations = telemetry.points("db.client.operation.duration")
    client.close()
    started, ended = telemetry.started_and_ended
    return {
        "finds": len(telemetry.named("find users")),
        "others": [span.name for span in telemetry.commands if span.name != "find users"],
        "instances": [point.data.value for point in instances],
        "measured": sum(point.data.count for point in durations),
        "open": started - ended,
    }

workers = []
for number in range(3):
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.write(writing, json.dumps(work(number)).encode())
        os.close(writing)
        sys.exit()  # As a worker does, and not at once.
    os.close(writing)
    workers.append((process, reading))
told = []
for process, reading in workers:
    with open(reading) as pipe:
        told.append(json.loads(pipe.read()))
    told[-1]["status"] = os.waitpid(process, 0)[1]
print(json.dumps(told))
"""


@needs_fork
@pytest.mark.parametrize("instrumented", ["before", "after"])
def test_prefork(tmp_path, mongodb_uri, instrumented):
    """Workers that are forked, as Gunicorn's are, tell of what they do, each to its own SDK."""
    for worker in run(tmp_path, PREFORK, mongodb_uri, instrumented):
        assert worker == {
            "finds": 20,
            "others": [],
            "instances": [1],
            "measured": 20,
            "open": 0,
            "status": 0,
        }


ENDING = """
import asyncio, atexit, json, sys, threading
sys.path.insert(0, sys.argv[1])
uri = sys.argv[2]

def tell():  # The last of all, since it was registered first.
    started, ended = counts.started, len(exporter.get_finished_spans())
    names = {span.name for span in exporter.get_finished_spans()}
    print(json.dumps({"open": started - ended, "names": sorted(names)}))

atexit.register(tell)

import pymongo
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_mongo_apm import MongoInstrumentor

class Counts(SpanProcessor):
    started = 0
    def on_start(self, span, parent_context=None):
        self.started += 1

exporter, counts = InMemorySpanExporter(), Counts()
tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(exporter))
tracers.add_span_processor(counts)
console = ConsoleMetricExporter(formatter=lambda metrics: "", out=open("/dev/null", "w"))
meters = MeterProvider([PeriodicExportingMetricReader(console)])
MongoInstrumentor().instrument(tracer_provider=tracers, meter_provider=meters)
SLOW = {"$where": "sleep(2000) || true"}

def began(client):
    \"""Wait until a command is in flight.\"""
    ours = next(each for each in client.options.event_listeners if hasattr(each, "in_flight"))
    while not len(ours.in_flight):
        yield

def shut_down():
    tracers.shutdown()
    meters.shutdown()
"""

SYNC = """
client = pymongo.MongoClient(uri)
users = client.shop.users
users.insert_one({})
users.find_one()
"""

SYNC_ENDINGS = {
    "left open": "",
    "closed at exit": "atexit.register(client.close)",
    "closed by its owner's finalizer": """
class Owner:
    def __init__(self):
        self.client = client
    def __del__(self):
        self.client.close()
owner = Owner()
del client, users
""",
    "closed after the providers": "shut_down(); client.close()",
    "used after the providers": "shut_down(); users.find_one(); client.close()",
    "threads at work": """
def work():
    while threading.main_thread().is_alive():
        users.find_one()
    users.find_one()
for _ in range(4):
    threading.Thread(target=work).start()
""",
    "in flight": """
threading.Thread(target=users.find_one, args=(SLOW,), daemon=True).start()
for _ in began(client):
    pass
""",
}

ASYNC = """
async def main():
    global client
    client = pymongo.AsyncMongoClient(uri)
    users = client.shop.users
    await users.insert_one({})
    await users.find_one()
    await end(client, users)
"""

ASYNC_ENDINGS = {
    "left open": "async def end(client, users): pass",
    "closed after the providers": """
async def end(client, users):
    shut_down()
    await client.close()
""",
    "in flight": """
async def end(client, users):
    global task
    task = asyncio.ensure_future(users.find_one(SLOW))
    for _ in began(client):
        await asyncio.sleep(0)
""",
}

MOTOR = """
from motor.motor_asyncio import AsyncIOMotorClient

async def main():
    global client
    client = AsyncIOMotorClient(uri)
    users = client.shop.users
    await users.insert_one({})
    await users.find_one()
    await end(client.delegate, users)
"""

MOTOR_ENDINGS = {
    **ASYNC_ENDINGS,
    "closed after the providers": """
async def end(client, users):
    shut_down()
    client.close()
""",
    "closed at exit": """
async def end(client, users):
    atexit.register(client.close)
""",
}

RUN = "asyncio.run(main())"


def check_the_end(told, ending):
    """All that could be told was; what is in flight when a process ends is not."""
    assert {"find users", "insert users", "mongodb.topology.discovery"} <= {*told["names"]}
    assert told["open"] == 0 or ending in {"in flight", "used after the providers"}


@pytest.mark.parametrize("ending", SYNC_ENDINGS)
def test_the_end(tmp_path, mongodb_uri, ending):
    """However a process ends, it does, without a word."""
    told = run(tmp_path, ENDING + SYNC + SYNC_ENDINGS[ending], mongodb_uri)

    check_the_end(told, ending)


@needs_async
@pytest.mark.parametrize("ending", ASYNC_ENDINGS)
def test_the_end_async(tmp_path, mongodb_uri, ending):
    """So it does with an AsyncMongoClient."""
    told = run(tmp_path, "\n".join([ENDING, ASYNC, ASYNC_ENDINGS[ending], RUN]), mongodb_uri)

    check_the_end(told, ending)


@pytest.mark.parametrize("ending", MOTOR_ENDINGS)
def test_the_end_motor(tmp_path, mongodb_uri, ending):
    """And with Motor's."""
    pytest.importorskip("motor.motor_asyncio", exc_type=ImportError)
    told = run(tmp_path, "\n".join([ENDING, MOTOR, MOTOR_ENDINGS[ending], RUN]), mongodb_uri)

    check_the_end(told, ending)
