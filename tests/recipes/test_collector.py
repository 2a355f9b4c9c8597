"""Sampling, before and in the Collector: what is kept, and what is lost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import local_mongodb
import pytest
import yaml
from local_mongodb import HOST, free_port
from local_otelcol import collector, otelcol
from mongod import or_skip

FINDS = 60
# Many good commands, a slow one and a failed one, each a trace of its own; then, an outage.
WORKLOAD = f"""
import os
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

with MongoClient(os.environ["MONGODB_URI"], heartbeatFrequencyMS=500) as client:
    orders = client["shop"]["orders"]
    for _ in range({FINDS}):
        orders.find_one()
    slow = {{"failCommands": ["distinct"], "blockConnection": True, "blockTimeMS": 700}}
    client.admin.command("configureFailPoint", "failCommand", mode={{"times": 1}}, data=slow)
    orders.distinct("total")
    orders.insert_one({{"_id": 1}})
    try:
        orders.insert_one({{"_id": 1}})
    except DuplicateKeyError:
        print("ready", flush=True)
    input()  # Meanwhile the server is killed and started again.
    client.admin.command("ping")
"""


@pytest.fixture
def server():
    """One that a test may kill."""
    with or_skip(), local_mongodb.standalone() as mongod:
        yield mongod


def suffer(section, server, *command, **variables):
    """Run the workload; kill and start its server."""
    section.write("workload.py", WORKLOAD)
    section.write("sampled.py", "import telemetry\ntelemetry.set_up(0.0)\nimport workload\n")
    program = subprocess.Popen(
        command,
        cwd=section.directory,
        env={**section.environment, "MONGODB_URI": server.uri, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "ready\n"
    server.kill()
    server.start()
    program.communicate("\n", timeout=60)
    assert program.returncode == 0


def suffer_unsampled(section, server, **variables):
    """Run the workload, with a sampler that drops everything."""
    suffer(
        section,
        server,
        "opentelemetry-instrument",
        sys.executable,
        "workload.py",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
        **variables,
    )


@pytest.mark.parametrize(
    ("page", "heading"), [("collector", "Tail sampling"), ("prometheus", "Through a Collector")]
)
def test_configuration(recipe, page, heading):
    """A pipeline has no part that is not configured, and no part is configured in vain."""
    section = recipe(page, heading)
    file = section.directory / "collector.yaml"
    configured = yaml.safe_load(file.read_text(encoding="utf-8"))
    pipelines = configured["service"]["pipelines"].values()

    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in pipelines for name in pipeline.get(kind, [])}
        assert used == configured.get(kind, {}).keys()


@pytest.mark.parametrize(
    ("page", "heading"), [("collector", "Tail sampling"), ("prometheus", "Through a Collector")]
)
def test_validate(recipe, page, heading):
    """The Collector itself finds nothing wrong."""
    file = recipe(page, heading).directory / "collector.yaml"
    checked = subprocess.run(
        [otelcol(), "validate", "--config", file], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_tail_sampling(recipe, received, server):
    """Errors, slow traces and outages are kept; of all others, a few."""
    section = recipe("collector", "Tail sampling")
    section.replace("collector.yaml", "decision_wait: 10s", "decision_wait: 1s")
    listen = f"{HOST}:{free_port()}"
    with collector(section.directory, LISTEN=listen, BACKEND=received.endpoint):
        suffer(
            section,
            server,
            "opentelemetry-instrument",
            sys.executable,
            "workload.py",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{listen}",
        )
        received.wait_for("mongodb.topology.outage")
        received.wait_for("distinct orders")
        received.wait_for("insert orders")
        received.wait_for_metric("mongodb.client.topology.outage.duration")
    kept = Counter(span.name for span in received.spans)

    assert [span.failed for span in received.named("insert orders")].count(True) == 1
    assert kept["find orders"] < FINDS / 2


def test_head_sampling(recipe, received, server):
    """A ratio drops outages like everything else; metrics still count them."""
    suffer_unsampled(recipe("collector", "Head sampling"), server)

    assert received.wait_for_metric("mongodb.client.topology.outage.duration")
    assert received.spans == []


def test_sampler_that_keeps_outages(recipe, received, server):
    """With the page's sampler outages are kept whatever the ratio."""
    suffer(recipe("collector", "Head sampling"), server, sys.executable, "sampled.py")

    assert received.wait_for("mongodb.topology.outage")
    assert {span.name.rpartition(".")[0] for span in received.spans} == {"mongodb.topology"}
    assert received.wait_for_metric("db.client.operation.duration")


def test_log_events_are_not_sampled(recipe, received, server):
    """With `events=both`, an outage that the sampler drops is in the log events."""
    section = recipe("collector", "Head sampling")
    suffer_unsampled(section, server, OTEL_PYTHON_MONGO_APM_EVENTS="both")
    events = {record["event"] for record in received.logs}

    assert received.spans == []
    assert "mongodb.client.server.heartbeat.failed" in events


def test_tempo(recipe, received):
    """What Tempo is sent are the service's traces, and nothing else."""
    recipe("collector", "Grafana Tempo").run(TEMPO=received.endpoint)
    [find] = received.named("find orders")

    assert find.resource["service.name"] == "shop"
    assert (received.metrics, received.logs) == ([], [])
