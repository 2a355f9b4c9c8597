"""The table of the conventions' facts, and the complaints about what is not as it has it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest
from complaints import wrong_command, wrong_metric
from conventions import COMMAND_SPAN, METRICS, TYPES
from opentelemetry.semconv import attributes
from opentelemetry.semconv._incubating import attributes as incubating_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics
from opentelemetry.semconv.metrics import db_metrics as stable_db_metrics
from opentelemetry.trace import SpanKind, StatusCode

CONSTANT = re.compile(
    r'^\w+: Final = \(?\s*"([^"]+)"\s*\)?\n"""\n(.*?)"""', re.MULTILINE | re.DOTALL
)
ERROR = StatusCode.ERROR
POOL_NAME = {"db.client.connection.pool.name": "localhost:27018"}
OF_NO_STATE = {**POOL_NAME, "db.client.connection.state": "broken"}


def documented_constants(module):
    """The constants of a module of the conventions' package, and what is said below them."""
    return dict(CONSTANT.findall(inspect.getsource(module)))


def constants_below(package):
    found = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        found |= documented_constants(importlib.import_module(module.name))
    return found


def test_names_of_the_conventions():
    """The attributes of the table of facts are in the conventions' package, none as deprecated."""
    incubating = {
        name
        for name, text in constants_below(incubating_attributes).items()
        if not text.startswith("Deprecated")
    }

    assert TYPES.keys() - constants_below(attributes).keys() - incubating == set()
    assert {name for metric in METRICS.values() for name in metric.attributes} <= TYPES.keys()
    assert COMMAND_SPAN.keys() <= TYPES.keys()


def test_metrics_of_the_conventions():
    """The metrics of the table of facts are the package's, with their kinds and their units."""
    texts = documented_constants(db_metrics) | documented_constants(stable_db_metrics)
    known = METRICS.keys() - {"db.client.connection.limit", "dns.lookup.duration"}
    kinds = {
        name: tuple(re.search(r"Instrument: (\w+)\nUnit: (\S+)", texts[name]).groups())
        for name in known
    }

    # The limit is new in 1.45, which the package does not have yet; DNS is not about databases.
    assert kinds == {name: (METRICS[name].kind.lower(), METRICS[name].unit) for name in known}


FIND = {
    "db.system.name": "mongodb",
    "db.operation.name": "find",
    "db.namespace": "shop",
    "db.collection.name": "users",
    "server.address": "localhost",
    "server.port": 27018,
}


@pytest.fixture
def find(telemetry):
    """Makes the span of a find, right but for what is said; `None` takes an attribute away."""

    def make(name="find users", kind=SpanKind.CLIENT, status=StatusCode.UNSET, **changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        given = {key: value for key, value in {**FIND, **changes}.items() if value is not None}
        span = telemetry.tracer.start_span(name, kind=kind, attributes=given)
        span.set_status(status)
        span.end()
        return telemetry.span

    return make


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"name": "ping shop", "db__collection__name": None, "db__operation__name": "ping"},
        {"server__address": "/tmp/mongodb.sock", "server__port": None},
        {"status": ERROR, "error__type": "2", "db__response__status_code": "2"},
        {"status": ERROR, "error__type": "TimeoutError"},
        {"db__operation__batch__size": 2},
    ],
)
def test_a_right_span(find, right):
    """What is as it is to be is no complaint."""
    span = find(**right)

    assert {*wrong_command(span, span.attributes)} == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "find"},
        {"name": "find shop"},
        {"name": "shop.users find"},
        {"kind": SpanKind.INTERNAL},
        {"status": StatusCode.OK},
        {"status": ERROR},
        {"status": ERROR, "error__type": "2"},
        {"error__type": "2"},
        {"db__response__status_code": "2"},
        {"db__system__name": None},
        {"db__system__name": "mongo"},
        {"db__operation__name": None},
        {"db__namespace": None},
        {"db__namespace": ""},
        {"name": "find shop", "db__collection__name": None},
        {"server__port": None},
        {"server__port": "27018"},
        {"db__operation__batch__size": 1},
        {"db__system": "mongodb"},
        {"db__mongodb__collection": "users"},
        {"mongodb__nonsense": 1},
        {"network__transport": "tcp"},
        {"mongodb__client__retry__count": "1"},
    ],
)
def test_a_wrong_span(find, wrong):
    """Each mistake in a name, a kind, a status or an attribute is a complaint."""
    span = find(**wrong)

    assert {*wrong_command(span, span.attributes)} != set()


def test_an_attribute_that_comes_late(find):
    """What samplers are to see is a complaint if they do not."""
    complaints = wrong_command(find(), {"db.system.name": "mongodb"})

    assert ["come after creation" in each for each in complaints] == [True]


@pytest.mark.parametrize(
    ("name", "kind", "unit", "attributes"),
    [
        ("db.client.nonsense", "counter", "1", {}),
        ("mongodb.client.nonsense", "counter", "1", {}),
        ("db.client.connection.timeouts", "up_down_counter", "{timeout}", POOL_NAME),
        ("db.client.connection.timeouts", "counter", "1", POOL_NAME),
        ("db.client.connection.timeouts", "counter", "{timeout}", {}),
        ("db.client.connection.timeouts", "counter", "{timeout}", {**POOL_NAME, "x": "y"}),
        ("db.client.connection.timeouts", "counter", "{timeout}", {"pool.name": "y"}),
        ("db.client.connection.count", "up_down_counter", "{connection}", POOL_NAME),
        ("db.client.connection.count", "up_down_counter", "{connection}", OF_NO_STATE),
        ("mongodb.client.connection.pool.clears", "counter", "{clear}", {}),
    ],
)
def test_a_wrong_metric(telemetry, name, kind, unit, attributes):
    """Each mistake in a metric's name, kind, unit or attributes is a complaint."""
    meter = telemetry.meter_provider.get_meter("test")
    getattr(meter, f"create_{kind}")(name, unit).add(1, attributes)

    (metric,) = telemetry.collected()
    assert {*wrong_metric(metric)} != set()


def test_a_right_metric(telemetry):
    """A metric that is as it is to be is no complaint, unless its buckets are others."""
    meter = telemetry.meter_provider.get_meter("test")
    meter.create_counter("db.client.connection.timeouts", "{timeout}").add(1, POOL_NAME)
    meter.create_histogram("db.client.operation.duration", "s").record(1, FIND)

    duration, timeouts = sorted(telemetry.collected(), key=lambda each: each.unit)
    complaints = {*wrong_metric(duration)} | {*wrong_metric(timeouts)}
    assert {each.partition(" are")[0] for each in complaints} == {"its buckets"}
