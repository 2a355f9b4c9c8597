"""A real Jaeger has the traces of the examples, as its query API tells them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import local_mongodb
import pytest
from in_memory import WAITS
from instrumented import instrumented_environment
from local_jaeger import Jaeger, jaeger
from mongod import need_mongod
from programs import need_jaeger
from versions import RETRY

from otel_mongo_apm import __version__
from otel_mongo_apm._otel import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_mongodb import Mongod

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = Path(sys.executable)

# The first test has to wait for all that happens, and a busy machine takes its time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Span = dict[str, Any]


@pytest.fixture(scope="module")
def backend() -> Iterator[Jaeger]:
    need_mongod()
    need_jaeger()
    with jaeger() as backend:
        yield backend


def exporting(backend: Jaeger) -> dict[str, str]:
    """What a user sets to have traces in Jaeger, which takes no metrics."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "MONGODB_URI"))}
    return {
        **inherited,
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.otlp_endpoint,
        "OTEL_METRICS_EXPORTER": "none",
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Mongod]:
    need_mongod()
    with local_mongodb.replica_set() as servers:
        yield servers.primary()


@pytest.fixture(scope="module")
def quickstart(backend: Jaeger, server: Mongod) -> list[Span]:
    """The spans of the quickstart, by their start."""
    found, errors = run_quickstart("quickstart", backend, server)
    assert errors == ""
    return found


@pytest.fixture(scope="module")
def interrupted(backend: Jaeger, server: Mongod) -> list[Span]:
    """The spans of a quickstart that lost its connection in the middle of its first insert."""
    lost = {"failCommands": ["insert"], "closeConnection": True}
    server.command("configureFailPoint", "failCommand", mode={"times": 1}, data=lost)
    found, errors = run_quickstart("interrupted", backend, server)
    assert errors == ""  # What is logged goes where opentelemetry-instrument sends it.
    return found


def run_quickstart(service, backend, server):
    instrument = PYTHON.with_name("opentelemetry-instrument")
    uri = f"mongodb://{server.host}/?replicaSet={server.replica_set}"
    errors = run(
        [instrument, PYTHON, EXAMPLES / "quickstart.py"],
        instrumented_environment(service, uri, exporting(backend)),
    )
    return spans(backend, service), errors


@pytest.fixture(scope="module")
def failover(backend: Jaeger) -> list[Span]:
    """The spans of the failover, by their start."""
    assert run([PYTHON, EXAMPLES / "failover"], exporting(backend)) == ""
    return spans(backend, "failover")


def run(command, environment):
    """What it writes to standard error."""
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def spans(backend, service):
    """All spans of a service, each with its process."""
    traces = backend.traces(service)
    found = [
        {**span, "process": trace["processes"][span["processID"]]}
        for trace in traces
        for span in trace["spans"]
    ]
    return sorted(found, key=lambda span: span["startTime"])


def tags(tagged):
    """Tags as a dictionary; none may come twice."""
    values = {tag["key"]: tag["value"] for tag in tagged}
    assert len(values) == len(tagged)
    return values


def named(spans, name):
    return [span for span in spans if span["operationName"] == name]


def references(span, kind):
    """The IDs of the spans that a span refers to."""
    return [each["spanID"] for each in span["references"] if each["refType"] == kind]


def events(span):
    """The events of a span, by their time."""
    logs = sorted(span["logs"], key=lambda log: log["timestamp"])
    return [tags(log["fields"]) for log in logs]


def test_services(backend, quickstart, interrupted, failover):
    """Each application is a service."""
    assert backend.services() == ["failover", "interrupted", "quickstart"]


def test_operations(backend, quickstart):
    """Each command is an operation of the kind client; what is no call, is internal."""
    found = {each for each in backend.operations("quickstart") if each[0] not in WAITS}

    assert found == {
        ("quickstart", "internal"),
        ("drop orders", "client"),
        ("insert orders", "client"),
        ("find orders", "client"),
        ("getMore orders", "client"),
        ("aggregate orders", "client"),
        ("update orders", "client"),
        ("endSessions admin", "client"),
        ("mongodb.topology.discovery", "internal"),
    }


def test_failures_are_found(backend, quickstart):
    """A search by `error.type` finds the traces with such a failure, and no others."""
    [found] = backend.traces("quickstart", **{"error.type": "11000"})

    assert {"insert orders"} <= {span["operationName"] for span in found["spans"]}
    assert backend.traces("quickstart", **{"error.type": "11001"}) == []


def test_structure(quickstart):
    """All commands are below the application's own span; the discovery is a trace of its own."""
    [root] = named(quickstart, "quickstart")
    [discovery] = named(quickstart, "mongodb.topology.discovery")
    commands = [span for span in quickstart if span["traceID"] == root["traceID"]]

    assert references(root, "CHILD_OF") == references(discovery, "CHILD_OF") == []
    assert len(commands) == len(quickstart) - 1
    assert {*map(str, references_of(commands, root))} == {root["spanID"]}
    assert [
        span["operationName"].split()[0]
        for span in commands
        if span is not root and span["operationName"] not in WAITS
    ] == [
        "drop",
        "insert",
        "insert",
        "find",
        "getMore",
        "getMore",
        "aggregate",
        "update",
        "insert",
        "endSessions",
    ]


def references_of(spans, root):
    return [parent for span in spans if span is not root for parent in references(span, "CHILD_OF")]


def test_attributes(quickstart):
    """A command's attributes are tags with their types; the resource's are the process's."""
    [find] = named(quickstart, "find orders")
    process = tags(find["process"]["tags"])

    assert tags(find["tags"]) == {
        "db.system.name": "mongodb",
        "db.namespace": "quickstart",
        "db.collection.name": "orders",
        "db.operation.name": "find",
        "db.query.text": '{"find":"orders","filter":{"total":{"$gte":"?"}},"batchSize":100}',
        "db.response.returned_rows": 100,
        "server.address": "127.0.0.1",
        "server.port": tags(find["tags"])["server.port"],
        "network.peer.address": "127.0.0.1",
        "network.peer.port": tags(find["tags"])["server.port"],
        "span.kind": "client",
        "otel.scope.name": semconv.SCOPE_NAME,
        "otel.scope.version": __version__,
    }
    assert find["process"]["serviceName"] == "quickstart"
    assert process["telemetry.sdk.language"] == "python"


def test_errors(quickstart):
    """A duplicate key has the tags by which Jaeger shows an error; nothing else has."""
    [refused] = [span for span in quickstart if "error" in tags(span["tags"])]
    described = tags(refused["tags"])

    assert refused["operationName"] == "insert orders"
    assert {key: described[key] for key in described if "error" in key or "status" in key} == {
        "error": True,
        "error.type": "11000",
        "db.response.status_code": "11000",
        "otel.status_code": "ERROR",
        "otel.status_description": "DuplicateKeyError",
    }


def test_links(quickstart):
    """Each getMore follows from the find that opened its cursor."""
    [find] = named(quickstart, "find orders")

    assert [references(more, "FOLLOWS_FROM") for more in named(quickstart, "getMore orders")] == [
        [find["spanID"]]
    ] * 2


def test_discovery(quickstart):
    """What the client saw as it found its server are the logs of the discovery."""
    [discovery] = named(quickstart, "mongodb.topology.discovery")
    opened, server, *changes = events(discovery)
    found = changes[-1]

    assert opened["event"] == "mongodb.client.topology.opened"
    assert server == {
        "cluster.event": f"Server 127.0.0.1:{server['server.port']} of rs0: added",
        "event": "mongodb.client.server.opened",
        "server.address": "127.0.0.1",
        "server.port": server["server.port"],
    }
    assert found.pop("cluster.event").startswith("Topology rs0: ")
    assert found == {
        "event": "mongodb.client.topology.description_changed",
        "mongodb.client.topology.previous_type": found["mongodb.client.topology.previous_type"],
        "mongodb.client.topology.type": "replica_set_with_primary",
        "mongodb.client.topology.readable": True,
        "mongodb.client.topology.writable": True,
        "mongodb.replica_set.name": "rs0",
    }


def test_outage(failover):
    """The outage is an operation, from one primary to the next, and its logs tell the story."""
    [outage] = named(failover, "mongodb.topology.outage")
    told = events(outage)
    described = tags(outage["tags"])
    before = described["mongodb.client.primary.previous_address"]
    after = described["mongodb.client.primary.address"]
    failed = [event for event in told if "failed" in event["event"]]

    assert before != after
    assert described == {
        "mongodb.client.primary.previous_address": before,
        "mongodb.client.primary.address": after,
        "mongodb.replica_set.name": "rs0",
        "span.kind": "internal",
        "error": True,
        "otel.status_code": "ERROR",
        "otel.status_description": "No writable server",
        "otel.scope.name": semconv.SCOPE_NAME,
        "otel.scope.version": __version__,
    }
    assert failed
    assert {f"{event['server.address']}:{event['server.port']}" for event in failed} == {before}
    assert [
        event["mongodb.client.topology.writable"]
        for event in told
        if event["event"] == "mongodb.client.topology.description_changed"
    ] == [False, True]
    assert told[-1] == {
        "cluster.event": f"Topology rs0: primary {before} -> {after}",
        "event": "mongodb.client.topology.primary_changed",
        "mongodb.client.primary.address": after,
        "mongodb.client.primary.previous_address": before,
    }


def test_waits(failover):
    """Who had to wait for the new primary has that in the trace: what happened meanwhile."""
    [outage] = named(failover, "mongodb.topology.outage")
    after = tags(outage["tags"])["mongodb.client.primary.address"]
    waits = named(failover, "select server")
    requests = {span["spanID"] for span in named(failover, "take order")}
    told = [event for wait in waits for event in events(wait)]

    assert {references(wait, "CHILD_OF")[0] for wait in waits} & requests
    assert after in [event.get("mongodb.client.primary.address") for event in told]


@pytest.mark.skipif(not RETRY, reason="PyMongo tells no attempts before 4.18")
def test_retries(interrupted):
    """A retry has its number, and follows from the attempt that failed: an error beside it."""
    failed, retry, *_ = named(interrupted, "insert orders")
    described = tags(failed["tags"])

    assert described["error"]
    assert described["otel.status_description"] == described["error.type"].rpartition(".")[2]
    assert tags(retry["tags"])["mongodb.client.retry.count"] == 1
    assert references(retry, "CHILD_OF") == references(failed, "CHILD_OF")
    assert references(retry, "FOLLOWS_FROM") == [failed["spanID"]]
    assert retry["traceID"] == failed["traceID"]


def test_no_warnings(quickstart, interrupted, failover):
    """Jaeger finds nothing wrong with any span."""
    assert [s for s in quickstart + interrupted + failover if s["warnings"]] == []
