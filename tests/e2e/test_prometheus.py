"""A real Prometheus scrapes the shop while its pool is exhausted and its primary is killed."""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import contextmanager
from itertools import combinations, groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import local_mongodb
import pytest
import yaml
from local_mongodb import HOST, eventually, free_port
from local_prometheus import STEP, Prometheus, program_path, prometheus
from local_shop import customers, shop
from mongod import need_mongod
from programs import need_prometheus
from versions import needs_async

from otel_mongo_apm import __version__
from otel_mongo_apm._otel import semconv
from otel_mongo_apm._view.exports import Period

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_mongodb import Mongod

PATIENCE = 60.0  # Seconds; for what takes one or two.
ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "examples" / "grafana"
ALERTS = GRAFANA / "alerts.yml"
# What Grafana puts in their place, and what stands for it here.
VARIABLES = {
    "$job": ".+",
    "$instance": ".+",
    "$__rate_interval": "10s",
    "$__interval": "10s",
    "$__range": "5m",
}
DOCUMENT = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
NAME = re.compile(r"^\| `(\S+)` \| `(\S+)` \| (\w+) \|$", re.MULTILINE)
NAMES = {metric: (name, kind) for metric, name, kind in NAME.findall(DOCUMENT)}
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [
    rule
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]

# The first test has to wait for all that happens, and a busy machine takes its time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), needs_async]


class Observed(NamedTuple):
    """What Prometheus has seen, and what happened."""

    monitoring: Prometheus
    whole: Period
    killed: Mongod
    outage: Period

    def series(self, expression):
        return self.monitoring.series(expression, self.whole)

    def values(self, expression):
        """The values of the one series that an expression has."""
        [found] = self.series(expression)
        return found.values


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    need_mongod()
    need_prometheus()
    port = free_port()
    exporter = {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": HOST,
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        "OTEL_PYTHON_MONGO_APM_POOL_USE_TIME": "true",
        "OTEL_PYTHON_MONGO_APM_RETURNED_ROWS": "both",
    }
    narrow = "&maxPoolSize=3&minPoolSize=1&waitQueueTimeoutMS=1000&heartbeatFrequencyMS=1000"
    with (
        local_mongodb.replica_set(members=3) as servers,
        prometheus([f"{HOST}:{port}"], [ALERTS]) as monitoring,
        shop(servers.uri + narrow, **exporter) as url,
        customers(url),
    ):
        start = time.time()
        time.sleep(3)  # All is well.
        trouble(servers.primary(), monitoring)
        killed, outage = fail_over(servers, monitoring)
        eventually(lambda: is_secondary(killed, monitoring), f"{killed!r} to be back", PATIENCE)
        time.sleep(2 * STEP)  # The last evaluation is to be in the series.
        yield Observed(monitoring, Period(start, time.time()), killed, outage)


def trouble(primary, monitoring):
    """Have commands that take longer than callers wait for a connection; then, that fail."""
    with fail_point(primary, "aggregate", blockConnection=True, blockTimeMS=3000):
        wait_for_alert("MongoDBPoolExhausted", monitoring)
        wait_for_alert("MongoDBPoolTimeouts", monitoring)
    with fail_point(primary, "insert", errorCode=8000):
        wait_for_alert("MongoDBErrorRatio", monitoring)


@contextmanager
def fail_point(server, command, **effect):
    """Have a server do something to every command of that name."""
    data = {"failCommands": [command], **effect}
    server.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
    yield
    server.command("configureFailPoint", "failCommand", mode="off")


def fail_over(servers, monitoring):
    """Kill the primary; have no other until that is noticed; then start the first one again."""
    killed = time.time()
    primary = servers.kill_primary()
    # The last of three has no majority, and so it is not elected.
    other = next(member for member in servers.members if member.running)
    other.kill()
    wait_for_alert("MongoDBNoWritableServer", monitoring)
    other.start()
    servers.wait_for_primary()
    outage = Period(killed, time.time())
    primary.start()
    servers.wait_for_secondaries()
    wait_for_alert("MongoDBHeartbeatFailures", monitoring)
    return primary, outage


def wait_for_alert(alert, monitoring):
    """Wait until it is pending or firing."""
    eventually(lambda: monitoring.rules()[alert]["alerts"], alert, PATIENCE)


def is_secondary(server, monitoring):
    """Whether the application knows that it is."""
    [status] = monitoring.series(
        f'mongodb_client_server_status{{mongodb_client_server_type="rs_secondary",'
        f'server_port="{server.port}"}} or on() vector(0)',
        Period(time.time(), time.time()),
    )
    return 1 in status.values.values()


def expressions():
    """Every expression of the dashboard and of the document, and whose it is."""
    for number, expression in enumerate(re.findall(r"```promql\n(.*?)```", DOCUMENT, re.DOTALL)):
        yield pytest.param(expression, id=f"document-{number}")
    for panel in PANELS:
        for target in panel["targets"]:
            if "dns_" in target["expr"]:  # The shop has no DNS.
                continue
            name = f"{panel['title']}-{target['refId']}"
            yield pytest.param(target["expr"], id=name.replace(" ", "_"))
    for annotation in DASHBOARD["annotations"]["list"]:
        yield pytest.param(annotation["expr"], id=f"annotation-{annotation['name']}")


def filled_in(expression):
    """An expression as Grafana sends it."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def course(values):
    """What was, one after the other, however long."""
    return [value for value, _ in groupby(values[time] for time in sorted(values))]


# The shop looks up nothing in DNS. Sorted, since each process that runs tests has to list the same.
@pytest.mark.parametrize("metric", sorted(NAMES.keys() - {"dns.lookup.duration"}))
def test_metric(observed, metric):
    """A metric has the name and the type in Prometheus that the document says, and values."""
    name, kind = NAMES[metric]
    parts = ["_bucket", "_count", "_sum"] if kind == "histogram" else [""]

    assert all(observed.series(name + part) for part in parts)
    assert observed.monitoring.kind(name.removesuffix("_total")) == kind


def test_labels(observed):
    """Attributes are labels; scope and target are there, too."""
    [books] = observed.series(
        'db_client_response_returned_rows_count{db_operation_name="find",db_collection_name="books"'
        f',network_peer_port!="{observed.killed.port}"}}'
    )
    [target] = observed.series("target_info")

    assert books.labels == {
        "__name__": "db_client_response_returned_rows_count",
        "db_collection_name": "books",
        "db_namespace": "shop",
        "db_operation_name": "find",
        "db_system_name": "mongodb",
        "instance": target.labels["instance"],
        "job": "shop",
        "otel_scope_name": "otel_mongo_apm",
        "otel_scope_schema_url": semconv.SCHEMA_URL,
        "otel_scope_version": __version__,
        "network_peer_address": HOST,
        "network_peer_port": books.labels["network_peer_port"],
        "server_address": books.labels["server_address"],
    }
    assert len(books.labels["server_address"].split(",")) == 3
    assert target.labels["service_name"] == "shop"


def test_failover_writable(observed):
    """There is a writable server, then for the length of the outage none, then one again."""
    writable = observed.values("mongodb_client_topology_writable")
    lost = [time for time, value in writable.items() if not value]

    assert course(writable) == [1, 0, 1]
    # It may be some heartbeats until the client knows.
    assert observed.outage.overlaps(Period(min(lost), max(lost) + STEP))


def test_failover_server(observed):
    """The server that is killed is a primary, then unknown, then a secondary."""
    killed = f'server_port="{observed.killed.port}"'
    status = {
        found.labels["mongodb_client_server_type"]: course(found.values)
        for found in observed.series(f"mongodb_client_server_status{{{killed}}}")
    }

    assert status["rs_primary"] == [1, 0]
    assert status["unknown"] == [0, 1, 0]
    assert status["rs_secondary"][-1] == 1


def test_failover_counts(observed):
    """One outage of a believable length has been counted, a new primary, and failed heartbeats."""
    outage = "mongodb_client_topology_outage_duration_seconds"
    killed = f'server_port="{observed.killed.port}"'
    failures = observed.series(
        f'mongodb_client_server_heartbeat_duration_seconds_count{{error_type!="",{killed}}}'
    )

    assert course(observed.values(f"{outage}_count"))[-1] == 1
    assert 0 < course(observed.values(f"{outage}_sum"))[-1] < observed.outage.length + 5
    assert course(observed.values("mongodb_client_topology_primary_changes_total"))[-1] == 1
    assert failures


@pytest.mark.parametrize("expression", [*expressions()])
def test_expression(observed, expression):
    """Every expression that we offer is right, and there are numbers that it finds."""
    found = observed.series(filled_in(expression))

    assert not all(isnan(value) for each in found for value in each.values.values())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_rises(observed, rule):
    """Every alert is pending, or firing if it does not wait, because of what happened."""
    state = "pending" if "for" in rule else "firing"
    evaluated = observed.monitoring.rules()[rule["alert"]]

    assert observed.series(f'ALERTS{{alertname="{rule["alert"]}",alertstate="{state}"}}')
    assert (evaluated["health"], evaluated.get("lastError")) == ("ok", None)


def test_alerts_are_documented():
    """The document has every alert."""
    documented = re.findall(r"^\| `(MongoDB\w+)` \|", DOCUMENT, re.MULTILINE)

    assert documented == [rule["alert"] for rule in RULES]


def test_dashboard_shows_every_metric():
    """There is no metric that the dashboard has no use for."""
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])

    assert [name for name, _ in NAMES.values() if not re.search(rf"\b{name}(_\w+)?\b", shown)] == []


def test_dashboard_panels_have_places():
    """No panel covers another, and each has an ID of its own."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]

    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not any(cover(one, other) for one, other in combinations(places, 2))


def cover(one, other):
    return all(
        one[start] < other[start] + other[length] and other[start] < one[start] + one[length]
        for start, length in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "--lint-fatal", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "--lint-fatal", "prometheus.yml"),
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_promtool(arguments):
    """Prometheus's own tool finds nothing wrong; its tests of the alerts pass."""
    need_prometheus()
    tool = [program_path("promtool"), *arguments]
    checked = subprocess.run(tool, cwd=GRAFANA, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")
