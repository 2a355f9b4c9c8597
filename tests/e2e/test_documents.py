"""Every block of code in the documents, run as a reader would run it.

Those of `docs/recipes` are run by `tests/recipes`, with the frameworks that they need.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import local_mongodb
import pytest
from mongod import or_skip
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pymongo import MongoClient

from otel_mongo_apm import event_listeners

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_mongodb import Mongod

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# What is shown rather than run; what is in a file is read by the tests of what reads it, and what
# is for MongoDB's shell is asked by tests/integration/test_comments.py.
SHOWN = {"text", "json", "yaml", "promql", "javascript"}
SHELL = {"bash", "console"}
# What sets up. These tests run in what it has set up; CI runs it all on a new machine.
SET_UP = re.compile(r"^(pip|make|git|nox|cd|docker|\.ci/run|\S*python3 -m venv)\b.*$", re.MULTILINE)

# An application such as the documents speak of: it makes a client and calls it.
APPLICATION = """
import os
from pymongo import MongoClient

with MongoClient(os.environ["MONGODB_URI"]) as client:
    print(client.admin.command("ping"))
"""
# A server's log, as the documents read it.
SERVER_LOG = """\
{"msg": "Slow query", "attr": {"command": {"comment": {"traceparent": "00-0af7651916cd-b7ad-01"}}}}
"""
# Where documents say `MongoClient()` they mean the reader's own server.
READERS_OWN = """import pymongo
pymongo.MongoClient.HOST, pymongo.MongoClient.PORT = {host!r}, {port}
"""


def blocks() -> Iterator[tuple[str, str, str]]:
    """Where each block is, its language and its text."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for block in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 2
            place = f"{path.relative_to(ROOT)}:{line}"
            yield place, block[2], inspect.cleandoc("\n" + block[3])


def of(*languages: str) -> list[object]:
    return [
        pytest.param(source, id=place)
        for place, language, source in blocks()
        if language in languages
    ]


def reads_server_log(block) -> bool:
    return "mongod.log" in block.values[0]


@pytest.fixture(scope="module")
def server() -> Iterator[Mongod]:
    """A server of which the documents say that it is there."""
    with or_skip(), local_mongodb.standalone() as mongod:
        yield mongod


@pytest.fixture(scope="module")
def address(server: Mongod) -> str:
    return server.uri.removeprefix("mongodb://").partition("/")[0]


@pytest.fixture
def environment(tmp_path: Path, address: str) -> dict[str, str]:
    """A reader's: the package is installed, and nothing is exported to anywhere else."""
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    (tmp_path / "mongod.log").write_text(SERVER_LOG, encoding="utf-8")
    nowhere = {f"OTEL_{kind}_EXPORTER": "console" for kind in ("TRACES", "METRICS", "LOGS")}
    return {
        **os.environ,
        **nowhere,
        "MONGODB_URI": f"mongodb://{address}",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def test_languages():
    """There are no blocks but those that are run here and those that are only shown."""
    found = {language for _, language, _ in blocks()}

    assert {"python", "bash", "console"} <= found
    assert found <= {"python", *SHELL, *SHOWN}


@pytest.mark.parametrize("source", of("python"))
def test_python(source, environment, address, tmp_path):
    """What is written in Python runs, in a process of its own."""
    host, _, port = address.partition(":")
    source = READERS_OWN.format(host=host, port=port) + source.replace("localhost:27017", address)
    ran = run([sys.executable, "-W", "ignore", "-c", source], environment, tmp_path)

    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("source", [each for each in of(*SHELL) if not reads_server_log(each)])
def test_shell(source, environment, tmp_path):
    """What is typed into a shell runs."""
    lines = re.sub(r"^\$ ", "", source, flags=re.MULTILINE)
    ran = run(["bash", "-euo", "pipefail", "-c", SET_UP.sub("true", lines)], environment, tmp_path)

    assert ran.returncode == 0, ran.stderr
    if "app.py" in source:
        assert "'ok': 1.0" in ran.stdout


@pytest.mark.skipif(shutil.which("jq") is None, reason="There is no jq here.")
@pytest.mark.parametrize("source", [*filter(reads_server_log, of(*SHELL))])
def test_server_log(source, server, tmp_path):
    """The traces of slow queries are found in a server's log, beside queries without a trace."""
    caller = SpanContext(0xADA, 0xB0B, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with MongoClient(
        server.uri, event_listeners=event_listeners(comment_propagation="trace")
    ) as client:
        orders = client["shop"]["orders"]
        client["shop"].command("profile", 0, slowms=0)
        orders.find_one()
        orders.find_one(comment="mine")
        with trace.use_span(NonRecordingSpan(caller)):
            orders.find_one()
        client["shop"].command("profile", 0, slowms=100)
    shutil.copy(server.log, tmp_path / "mongod.log")

    ran = run(["bash", "-euo", "pipefail", "-c", source.removeprefix("$ ")], os.environ, tmp_path)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert set(ran.stdout.split()) == {f"{caller.trace_id:032x}"}


ALL_SIGNALS = ("OTEL_TRACES_EXPORTER=", "OTEL_METRICS_EXPORTER=", "OTEL_LOGS_EXPORTER=")


@pytest.mark.parametrize(
    "source", [each for each in of(*SHELL) if all(name in each.values[0] for name in ALL_SIGNALS)]
)
def test_ends_at_once(source, environment, tmp_path):
    """Where there is no collector, what is documented ends as soon as if nothing was exported."""
    environment = {k: v for k, v in environment.items() if not k.startswith("OTEL_")}
    lines = SET_UP.sub("true", re.sub(r"^\$ ", "", source, flags=re.MULTILINE))
    took = []
    nothing = "export OTEL_{TRACES,METRICS,LOGS}_EXPORTER=none"
    for program in (f"{nothing}\nopentelemetry-instrument python app.py", lines):
        began = time.monotonic()
        ran = run(["bash", "-euo", "pipefail", "-c", program], environment, tmp_path)
        took.append(time.monotonic() - began)

        assert ran.returncode == 0, ran.stderr
    # To wait for a collector takes more than ten seconds.
    assert took[1] < took[0] + 8


def run(command, environment, directory):
    return subprocess.run(
        command,
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
