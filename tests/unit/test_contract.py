"""The documents against the code: what they list is what there is, no more and no less."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from contract import plain, section, tables
from opentelemetry.metrics import Meter

import otel_mongo_apm
from otel_mongo_apm import Settings
from otel_mongo_apm._metrics.instruments import Instruments
from otel_mongo_apm._otel import semconv
from otel_mongo_apm._settings import settings

ROOT = Path(__file__).parents[2]
PACKAGE = Path(otel_mongo_apm.__file__).parent
TELEMETRY = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
BACKENDS = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

NAME = re.compile(r"`((?:db|dns|error|exception|mongodb|network|server)\.[a-z0-9_.]*[a-z0-9_])`")


def unique(pairs):
    """As a dictionary; none may come twice."""
    pairs = list(pairs)
    found = dict(pairs)
    assert len(found) == len(pairs)
    return found


def own_names():
    """The names that are the package's own, by what `_semconv` says they are of."""
    kinds = re.split(r"^# (\w+)\.$", inspect.getsource(semconv), flags=re.MULTILINE)[1:]
    return {
        kind: {
            getattr(semconv, name) for name in re.findall(r"^([A-Z_]+): Final", body, re.MULTILINE)
        }
        for kind, body in zip(kinds[::2], kinds[1::2], strict=True)
    }


def imported_names():
    """The names that come from the semantic conventions package."""
    return {
        getattr(import_module(node.module), alias.name)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opentelemetry.sem")
        for alias in node.names
    }


class RecordingMeter:
    """Takes note of the instruments that are made."""

    def __init__(self):
        self.made = []

    def __getattr__(self, method):
        signature = inspect.signature(getattr(Meter, method))

        def create(*args, **kwargs):
            given = signature.bind(self, *args, **kwargs).arguments
            kind = method.removeprefix("create_").title().replace("_", "")
            buckets = tuple(given.get("explicit_bucket_boundaries_advisory") or ())
            self.made.append((given["name"], (kind, given["unit"], buckets)))

        return create


def test_names_of_our_own_are_documented():
    """Every name of `_semconv` is in the contract."""
    documented = set(re.findall(r"`([^`\n]+)`", TELEMETRY))

    kinds = own_names()
    beginnings = kinds.pop("Prefixes")
    assert kinds.keys() == {"Values", "Attributes", "Spans", "Events", "Metrics"}
    assert set().union(*kinds.values()) - documented == set()
    assert all(any(name.startswith(each) for name in documented) for each in beginnings)
    assert {semconv.SCOPE_NAME, semconv.SCHEMA_URL} <= documented


def test_documented_names_are_in_use():
    """The contract has the names that the code has, and no other."""
    used = {name for names in own_names().values() for name in names} | imported_names()

    assert set(NAME.findall(TELEMETRY)) == {name for name in used if NAME.fullmatch(f"`{name}`")}


def test_spans():
    """The contract's tables have every span of a fixed name."""
    waits = tables(section(TELEMETRY, "## Wait spans"), "name", "covers")
    cluster = tables(section(TELEMETRY, "## Cluster spans"), "name", "begins")
    transactions = tables(section(TELEMETRY, "### Transactions"), "name", "begins")

    assert {plain(row[0]) for row in [*waits, *cluster, *transactions]} == own_names()["Spans"]


def test_events():
    """The contract's table has every event, and its attributes are described."""
    text = section(TELEMETRY, "## Cluster events") + section(TELEMETRY, "## Explained queries")
    events = tables(text, "event", "attributes")
    described = {name for row in tables(text, "attribute", "type") for name in NAME.findall(row[0])}

    recorded = tables(section(TELEMETRY, "### Exceptions"), "event", "attributes")
    assert {plain(row[0]) for row in [*events, *recorded]} == own_names()["Events"]
    elsewhere = {"server.address", "server.port", semconv.POOL_NAME, semconv.DNS_QUESTION_NAME}
    elsewhere |= {row for row in described if row.startswith("db.")}
    assert {name for row in events for name in NAME.findall(row[1])} == described | elsewhere


@pytest.mark.parametrize("values", ["SERVER_TYPES", "TOPOLOGY_TYPES"])
def test_types(values):
    """The contract has every type of a server and of a topology."""
    types = getattr(import_module("otel_mongo_apm._cluster.descriptions"), values).values()
    rows = tables(section(TELEMETRY, "## Cluster events"), "attribute", "type", "value")

    assert set(types) in [set(re.findall(r"`([^`]+)`", row[2])) for row in rows]


def test_sensitive_commands():
    """The contract has every command that never has a span."""
    rows = tables(section(TELEMETRY, "### Commands without a span"), "command", "span")
    sensitive = import_module("otel_mongo_apm._driver.documents").SENSITIVE_COMMANDS

    assert set(re.findall(r"`(\w+)`", rows[0][0])) == sensitive


def test_metrics():
    """The contract's tables have every instrument with its kind, unit and buckets, and no other."""
    meter = RecordingMeter()
    Instruments(meter)
    rows = tables(section(TELEMETRY, "## Metrics"), "name", "instrument", "unit", "buckets")

    assert unique(meter.made) == unique(
        (plain(name), (kind, plain(unit), tuple(map(float, buckets.strip("-").split()))))
        for name, kind, unit, buckets, _ in map(list, rows)
    )


def test_metrics_are_explained():
    """The contract says when each metric of pools and of the cluster is recorded."""
    for heading in ("### Connection pools", "### Cluster"):
        text = section(TELEMETRY, heading)
        names = [row[0] for row in tables(text, "name", "instrument")]

        assert names
        assert [row[0] for row in tables(text, "metric")] == names


def test_metrics_in_prometheus():
    """The table of names in Prometheus has every metric."""
    meter = RecordingMeter()
    Instruments(meter)
    rows = tables(section(BACKENDS, "### Names"), "metric", "in Prometheus")

    assert [plain(row[0]) for row in rows] == [name for name, _ in meter.made]


def written(name, default):
    """A default as the table has it."""
    if name.endswith("_provider"):
        return "global"
    return f"`{default!r}`" if default not in {None, frozenset()} else "none"


def test_settings():
    """The table has every setting with its default and what it accepts, and no other."""
    defaults = {setting.name: setting.default for setting in fields(Settings)}
    rows = tables(section(CONFIGURATION, "## Settings"), "keyword", "default", "accepts")

    assert unique((plain(name), (default, accepts)) for name, default, accepts, _ in rows) == {
        name: (written(name, defaults.get(name, False)), kind.accepted)
        for name, kind in settings.KINDS.items()
    }


def test_variables():
    """The table has every variable and its flag, and no other."""
    rows = tables(section(CONFIGURATION, "## Variables and flags"), "keyword", "variable", "flag")

    assert unique(
        (plain(name), (plain(variable), plain(flag))) for name, variable, flag in rows
    ) == {
        name: (variable, "--" + variable.removeprefix("OTEL_PYTHON_").lower())
        for name, variable in settings.VARIABLES.items()
    }


def test_links_between_documents():
    """What a document links to in the repository is there, down to the heading."""
    missing = [
        (path.name, target)
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not exists(path, target)
    ]

    assert missing == []


def exists(path, target):
    file, _, anchor = target.partition("#")
    linked = (path.parent / file) if file else path
    if not linked.exists() or not anchor:
        return linked.exists()
    headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}
