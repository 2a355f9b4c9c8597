"""The demonstrations, run as a user runs them: `make demo` in three parts."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from mongod import need_mongod

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICKSTART = EXAMPLES / "demo.py"
FAILOVER = EXAMPLES / "failover"
# What would change what is exported or how it looks.
SETTINGS = ("OTEL_", "COLUMNS", "FORCE_COLOR", "TTY_")


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    if FAILOVER in arguments:
        inherited.pop("MONGODB_URI", None)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**inherited, **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def quickstart() -> subprocess.CompletedProcess[str]:
    if not os.environ.get("MONGODB_URI"):
        need_mongod()
    return run(QUICKSTART)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("failover") / "picture.svg"


@pytest.fixture(scope="module")
def failover(picture) -> subprocess.CompletedProcess[str]:
    need_mongod()
    return run(FAILOVER, "--svg", str(picture))


@pytest.fixture
def without_mongod(tmp_path: Path) -> Iterator[str]:
    """Our package and those that are installed, but for the one with mongod, as a PYTHONPATH."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("fiftyone"):
            (tmp_path / entry.name).symlink_to(entry)
    return os.pathsep.join([str(EXAMPLES.with_name("src")), str(tmp_path)])


def section(output: str, title: str) -> str:
    """What stands below a heading, up to the next."""
    headings = "Traces|Cluster|Cluster spans|Timeline|Requests|Slow requests|Metrics"
    parts = re.split(rf"^({headings})(?:  .*)?$", output, flags=re.MULTILINE)
    return parts[parts.index(title) + 1]


def are_in_order(patterns: list[str], text: str) -> bool:
    """Whether each is found after the one before."""
    return bool(re.search(".*?".join(f"(?m:{each})" for each in patterns), text, re.DOTALL))


def test_quickstart_ends_well(quickstart):
    """The quickstart's demonstration succeeds, and complains of nothing."""
    assert (quickstart.returncode, quickstart.stderr) == (0, "")


def test_quickstart_traces(quickstart):
    """A find is told in its three batches, and a duplicate key as an error."""
    traces = section(quickstart.stdout, "Traces")

    assert re.findall(r"(\w+) orders  OK.*\n.*returned_rows=(\d+)", traces) == [
        ("find", "100"),
        ("getMore", "100"),
        ("getMore", "42"),
        ("aggregate", "1"),
    ]
    assert re.findall(r"(\w+ \w+)  ERROR (\w+)", traces) == [("insert orders", "DuplicateKeyError")]


def test_quickstart_order(quickstart):
    """The application's trace comes first, then the cluster, then metrics by their subject."""
    landmarks = [
        r"── quickstart  OK",
        r"── mongodb\.topology\.discovery  OK",
        r"^ Commands",
        r"db\.client\.operation\.duration  s",
        r"^ Connection pools",
        r"^ Cluster ",
    ]

    assert are_in_order(landmarks, quickstart.stdout)


def test_slow_query():
    """The slow query's demonstration shows what the server did without an index, and with one."""
    if not os.environ.get("MONGODB_URI"):
        need_mongod()
    demonstration = run(QUICKSTART, "slow_query", COLUMNS="160")
    without, with_index = re.split("--with-index", demonstration.stdout)

    assert (demonstration.returncode, demonstration.stderr) == (0, "")
    for part, title, summary in (
        (without, "without an index", "COLLSCAN"),
        (with_index, "with an index", "IXSCAN { customer: 1, total: -1 }"),
    ):
        landmarks = [f"── {title}  OK", "── find orders  OK", "── explain orders  OK"]
        assert are_in_order([*landmarks, re.escape(f"plan.summary={summary} ")], part)
    assert "has_sort_stage=True" in without
    assert "has_sort_stage=False" in with_index


def test_failover_ends_well(failover):
    """The failover's demonstration succeeds, and complains of nothing."""
    assert (failover.returncode, failover.stderr) == (0, "")


def test_failover_picture(failover, picture):
    """It draws the outage, and fetches nothing from elsewhere."""
    drawn = ET.parse(picture)

    text = " ".join("".join(drawn.getroot().itertext()).split())
    assert "mongodb.topology.outage" in text
    assert "take" in text
    assert "url(http" not in picture.read_text(encoding="utf-8")


def test_failover_timeline(failover):
    """The kill, the loss, the new primary and the old one's return are told in their order."""
    told = section(failover.stdout, "Timeline")
    killed = re.search(r"Kills the primary, (\S+)", told)[1]
    primary = re.search(rf"Topology rs0: primary {killed} -> (\S+)", told)[1]
    order = [
        f"Server {killed} of rs0: Unknown -> RSPrimary",
        f"Kills the primary, {killed}",
        r"no\s+writable\s+server",
        f"Server {primary} of rs0: RSSecondary -> RSPrimary",
        "mongodb.topology.outage ends",
        f"Starts {killed} again",
        rf"Server {killed} of rs0: \w+ -> RSSecondary",
        "Ends the application",
    ]

    assert are_in_order(order, told)


def test_failover_outage_span(failover):
    """One outage span tells which primary was lost and which came."""
    killed = re.search(r"Killing the primary, (\S+)\.", failover.stdout)[1]
    cluster = section(failover.stdout, "Cluster spans")

    assert re.findall(r"── (mongodb\.topology\.\w+)  (\w+)", cluster) == [
        ("mongodb.topology.discovery", "OK"),
        ("mongodb.topology.outage", "ERROR"),
    ]
    assert f"mongodb.client.primary.previous_address={killed}" in cluster
    assert f"primary.address={killed} → " in cluster


def test_failover_requests(failover):
    """No request failed; those that were slow have waited for a server, and say why."""
    requests = section(failover.stdout, "Requests")
    slow = section(failover.stdout, "Slow requests")

    assert re.findall(r"take order +(\w+) +\d+ .* (\d+) *\n", requests) == [
        ("before", "0"),
        ("during", "0"),
        ("after", "0"),
    ]
    assert "── select server  OK" in slow
    assert "topology.primary_changed  primary.address=" in slow


def test_failover_metrics(failover):
    """The gauge of a writable topology is 1 before, 0 during and 1 after the outage."""
    metrics = section(failover.stdout, "Metrics")
    writable, readable = re.findall(
        r"mongodb\.client\.topology\.\w+able +\n +mongodb\.replica_set\.name=rs0 +(.+)\n", metrics
    )
    strip = metrics.rstrip().splitlines()[-1].strip()

    assert writable.split() == ["1", "0", "1"]
    assert readable.split() == ["1", "1", "1"]
    assert re.fullmatch("▁?█+▁+█+", strip)  # The first may be of when nothing was known yet.


@pytest.mark.parametrize("demo", [QUICKSTART, FAILOVER], ids=["quickstart", "failover"])
def test_no_mongodb_at_all(demo, without_mongod):
    """Where there is no MongoDB to be had, it says so and what to do, without a traceback."""
    # Without its site-packages Python has those of PYTHONPATH alone.
    demonstration = run("-S", demo, PYTHONPATH=without_mongod, MONGODB_URI="")

    assert demonstration.returncode == 1
    assert demonstration.stdout == ""
    assert re.fullmatch(
        r"(.+ cannot\. )?No mongod is installed\. (To install one, run: .+==[\d.]+|No .+)\n"
        r"(Or set \$MONGODB_URI .+\n)?",
        demonstration.stderr,
    )


def test_failover_spares_others():
    """With a MongoDB of the user's own there is nothing to kill, and one line says so."""
    demonstration = run(FAILOVER, MONGODB_URI="mongodb://db.example")

    assert demonstration.returncode == 1
    assert demonstration.stdout == ""
    assert re.fullmatch(r"The failover demo kills .+ unset \$MONGODB_URI\.\n", demonstration.stderr)


@pytest.mark.parametrize("module", ["instrumented"])
def test_doctests(module):
    """What the examples' docstrings show is so."""
    failed, attempted = doctest.testmod(importlib.import_module(module))

    assert (failed, attempted > 0) == (0, True)
