"""The book shop with Jaeger: served for real here, and as it would be with Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import local_mongodb
import pytest
import yaml
from local_jaeger import Jaeger, jaeger
from local_shop import DIRECTORY, shop
from mongod import need_mongod
from programs import need_jaeger
from versions import needs_async

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
COMPOSE_FILES = [EXAMPLES / name / "docker-compose.yml" for name in ("jaeger", "grafana")]
COMMANDS = {
    "GET /books": {"find books"},
    "PUT /orders/{number}": {"findAndModify books", "insert orders"},
    "GET /orders": {"find orders"},
    "GET /bestsellers": {"aggregate orders"},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), needs_async]


@pytest.fixture(scope="module")
def backend() -> Iterator[Jaeger]:
    need_mongod()
    need_jaeger()
    with jaeger() as backend:
        yield backend


@pytest.fixture(scope="module")
def replies(backend: Jaeger) -> dict[str, int]:
    """How many requests of the load were answered in which way."""
    exporter = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.otlp_endpoint,
    }
    with local_mongodb.replica_set() as servers, shop(servers.uri, **exporter) as url:
        load = [sys.executable, DIRECTORY / "load.py", "--url", url, "--seconds", "8"]
        said = subprocess.run(load, check=True, capture_output=True, text=True).stdout
    lines = re.findall(r"^ *([\d,]+)  (.+)$", said, re.MULTILINE)
    return {reply: int(number.replace(",", "")) for number, reply in lines}


def test_replies(replies):
    """The shop answers every request well, and refuses orders that it has taken before."""
    assert replies.keys() == {
        "GET books 200",
        "PUT orders 201",
        "PUT orders 409",
        "GET orders 200",
        "GET bestsellers 200",
    }


def test_traces(backend, replies):
    """Each request has a trace, the last one, too: its span, and below it those of its commands."""
    requests: Counter[str] = Counter()
    commands = {request: set() for request in COMMANDS}
    for trace in backend.traces("shop"):
        names = {span["spanID"]: span["operationName"] for span in trace["spans"]}
        for span in trace["spans"]:
            parents = [names[each["spanID"]] for each in span["references"]]
            requests[span["operationName"]] += not parents
            for parent in {*parents} & COMMANDS.keys():
                commands[parent].add(span["operationName"])

    assert requests["PUT /orders/{number}"] == replies["PUT orders 201"] + replies["PUT orders 409"]
    assert requests["GET /bestsellers"] == replies["GET bestsellers 200"]
    assert {name: found & COMMANDS[name] for name, found in commands.items()} == COMMANDS


def test_make_jaeger():
    """`make jaeger` says where to look, kills a primary, and Jaeger then has the whole story."""
    need_mongod()
    need_jaeger()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "MONGODB_URI"))}
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "jaeger" / "local.py", "--seconds", "0"],
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
    )
    counted = dict(re.findall(r"^ *([a-zA-Z.]+(?: \S+)*) {2,}(\d+)", ended.stdout, re.MULTILINE))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(
        r"^Jaeger +http://127\.0\.0\.1:\d+/search\?service=shop$", ended.stdout, re.MULTILINE
    )
    assert int(counted["mongodb.topology.outage"]) == 1
    assert int(counted["insert orders"]) > 0


def test_make_jaeger_without_jaeger(tmp_path):
    """Where there is no Jaeger, one line says so and what to do."""
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "jaeger" / "local.py"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"No Jaeger: .+ `make jaeger-binary`\n", ended.stderr)


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=lambda file: file.parent.name)
def test_compose_file(file):
    """Docker Compose understands the file; its client alone is asked."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], check=False).returncode:
        pytest.skip("Docker Compose is not installed")

    subprocess.run([docker, "compose", "--file", file, "config", "--quiet"], check=True)


def test_compose_file_of_the_shop():
    """What the file gives to the shop is what it reads, and the servers are where it looks."""
    services = yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"]
    variables = services["shop"]["environment"]
    members = re.findall(r'host: "(\w+):27017"', services["mongo1"]["healthcheck"]["test"][-1])
    hosts = re.fullmatch(r"mongodb://(.+)/\?replicaSet=rs0", variables["MONGODB_URI"])[1]

    assert members == hosts.split(",") == [name for name in services if name.startswith("mongo")]
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4317"
    application = (DIRECTORY / "shop.py").read_text(encoding="utf-8")
    assert all(f'"{name}"' in application for name in variables if not name.startswith("OTEL_"))


def test_image_of_the_shop():
    """All that the image copies is in the repository."""
    copied = re.findall(
        r"^COPY (.+) \S+$", (DIRECTORY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert copied
    assert all((EXAMPLES.parent / path).exists() for line in copied for path in line.split())
