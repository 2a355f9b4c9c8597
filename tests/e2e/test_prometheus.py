"""A real Prometheus watches a day of an application; what goes wrong is what operators are told."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import day
import pytest
import yaml
from local_mongodb import HOST
from local_prometheus import STEP
from mongod import need_mongod
from programs import need_prometheus
from versions import needs_async

from otel_mongo_apm import __version__
from otel_mongo_apm._otel import semconv
from otel_mongo_apm._view.exports import Period

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from day import Act, Day

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "examples" / "grafana"
# What Grafana puts in their place, and what stands for it here.
VARIABLES = {
    "$service": ".+",
    "$instance": ".+",
    "$replica_set": ".*",
    "$database": ".*",
    "$collection": ".*",
    "$top": "10",
    "$__rate_interval": "6s",
    "$__range": "5m",
}
DOCUMENT = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
NAME = re.compile(r"^\| `(\S+)` \| `(\S+)` \| (\w+) \|$", re.MULTILINE)
NAMES = {metric: (name, kind) for metric, name, kind in NAME.findall(DOCUMENT)}
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
RULES = [
    rule
    for group in yaml.safe_load(day.ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]

# The first test has to wait for the whole day, in which everything depends on time.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    needs_async,
]


@pytest.fixture(scope="module")
def observed() -> Iterator[Day]:
    need_mongod()
    need_prometheus()
    with day.played() as observed:
        yield observed


def series(observed, expression, period=None):
    return observed.monitoring.series(expression, period or observed.whole)


def killed_port(observed):
    server = observed.acts["primary killed"].server
    return f'server_port="{server.port}"'


class Wanted(NamedTuple):
    """What an operator wants a panel to show in an act."""

    act: str
    panel: str
    shown: Callable[[dict[str, list[float]]], bool]
    query: str = "A"


def highest(values):
    """The highest value of all series."""
    return max(max(each) for each in values.values())


def lowest(values):
    return min(min(each) for each in values.values())


def of(word, values):
    """The values of the series that have a word in their labels."""
    return {labels: each for labels, each in values.items() if word in labels}


WANTED = [
    Wanted("healthy", "Writable", lambda shown: lowest(shown) == 1),
    Wanted("healthy", "Instances that cannot write", lambda shown: highest(shown) == 0),
    Wanted("healthy", "Error ratio", lambda shown: highest(shown) < 0.05),
    Wanted("healthy", "Latency of all commands", lambda shown: highest(shown) < 0.5, "B"),
    Wanted("healthy", "Calls that found no server", lambda shown: highest(shown) == 0),
    Wanted("healthy", "Servers that cannot be reached", lambda shown: highest(shown) == 0),
    Wanted("slow", "Latency of all commands", lambda shown: highest(shown) > 0.5, "B"),
    Wanted(
        "slow",
        "Latency by command, 95th percentile",
        lambda shown: highest(of("'find'", shown)) > 0.5 > lowest(of("'insert'", shown)),
    ),
    Wanted("slow", "Error ratio", lambda shown: highest(shown) < 0.05),
    Wanted("pool exhausted", "Callers that wait for a connection", lambda s: highest(s) > 0),
    Wanted("pool exhausted", "Connections", lambda shown: highest(of("'used'", shown)) == 10),
    Wanted("pool exhausted", "Callers without a connection, per second", lambda s: highest(s) > 0),
    Wanted("retries", "Retries per second, by collection", lambda shown: highest(shown) > 0),
    Wanted(
        "retries", "Errors per second, by collection", lambda shown: highest(of("'6'", shown)) > 0
    ),
    Wanted("wrong password", "Error ratio", lambda shown: highest(shown) == 1),
    Wanted(
        "wrong password",
        "Callers without a connection, per second",
        lambda shown: highest(shown) > 0,
        "B",
    ),
    Wanted("DNS gone", "Error ratio", lambda shown: highest(shown) == 1),
    Wanted(
        "DNS gone",
        "Look-ups of SRV records, 95th percentile",
        lambda shown: bool(of("NXDOMAIN", shown)),
    ),
    Wanted("one instance cut off", "Writable", lambda shown: lowest(shown) == 0),
    Wanted("one instance cut off", "Instances that cannot write", lambda s: highest(s) == 1),
    Wanted(
        "one instance cut off",
        "Instances that cannot write or read",
        lambda shown: highest(shown) == 2,
        "C",
    ),
    Wanted("primary killed", "Servers that cannot be reached", lambda shown: highest(shown) == 1),
    Wanted("primary killed", "Types of servers", lambda shown: bool(of("'unknown'", shown))),
    Wanted("primary killed", "Pools cleared, per second", lambda shown: highest(shown) > 0),
    Wanted("primary killed", "New primaries and other changes", lambda shown: highest(shown) >= 1),
    Wanted("all servers away", "Waits for a server", lambda shown: highest(shown) > 1, "B"),
    Wanted("all servers away", "Writable", lambda shown: lowest(shown) == 0),
    Wanted("all servers away", "Readable", lambda shown: lowest(shown) == 0),
    Wanted("all servers away", "Calls that found no server", lambda shown: highest(shown) > 0),
    Wanted("all servers away", "Error ratio", lambda shown: highest(shown) == 1),
    Wanted("all servers away", "Servers that cannot be reached", lambda s: highest(s) == 3),
    # The first outage is over, and counts though its series begins with it.
    Wanted("all servers away", "Outages", lambda shown: highest(shown) >= 1),
    Wanted("back again", "Writable", lambda shown: lowest(shown) == 1),
    Wanted("back again", "Error ratio", lambda shown: highest(shown) < 0.05),
    Wanted("back again", "Outages", lambda shown: highest(shown) >= 1),
]


@pytest.mark.parametrize("wanted", WANTED, ids=lambda w: f"{w.act}-{w.panel}".replace(" ", "_"))
def test_panel(observed, wanted):
    """A panel shows what goes on, and there is something in it to be seen."""
    act = observed.acts[wanted.act]
    [query] = [q for q in PANELS[wanted.panel]["targets"] if q["refId"] == wanted.query]
    shown = {
        str(found.labels): [value for value in found.values.values() if not isnan(value)]
        for found in series(observed, filled_in(query["expr"], act.job), act.period)
    }
    shown = {labels: values for labels, values in shown.items() if values}

    assert shown
    assert wanted.shown(shown), shown


ACTS = [
    "healthy",
    "slow",
    "pool exhausted",
    "retries",
    "wrong password",
    "DNS gone",
    "one instance cut off",
    "primary killed",
    "all servers away",
    "back again",
]


@pytest.mark.parametrize("name", ACTS)
def test_alerts(observed, name):
    """The alerts fire that an operator wants, and no others; none when all is well."""
    act: Act = observed.acts[name]
    fired = observed.fired(act)

    assert act.wanted <= fired
    assert fired <= act.wanted | act.tolerated


def test_no_act_is_forgotten(observed):
    """All acts are tested, and every alert is wanted in one of them."""
    assert set(observed.acts) == set(ACTS)
    assert set.union(*(act.wanted for act in observed.acts.values())) == {
        rule["alert"] for rule in RULES
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_is_evaluated(observed, rule):
    """Prometheus has no difficulty with a rule, nor with the texts of its alerts."""
    evaluated = observed.monitoring.rules()[rule["alert"]]
    texts = " ".join(
        " ".join(act.alerts[rule["alert"]].values())
        for act in observed.acts.values()
        if rule["alert"] in act.alerts
    )

    assert (evaluated["health"], evaluated.get("lastError")) == ("ok", None)
    assert texts
    assert "error expanding" not in texts
    assert "<no value>" not in texts


def test_alert_says_how_many(observed):
    """Without a primary the alert says which replica set, and how many instances see it."""
    alert = observed.acts["all servers away"].alerts["MongoDBNoWritableServer"]

    assert alert["summary"] == (
        "shop cannot write to MongoDB (rs0): 1 of 1 instances see no writable server"
    )


def expressions():
    """Every expression of the dashboard and of the document, and whose it is."""
    for number, expression in enumerate(re.findall(r"```promql\n(.*?)```", DOCUMENT, re.DOTALL)):
        yield pytest.param(expression, id=f"document-{number}")
    for panel in PANELS.values():
        for target in panel["targets"]:
            name = f"{panel['title']}-{target['refId']}"
            yield pytest.param(target["expr"], id=name.replace(" ", "_"))
    for annotation in DASHBOARD["annotations"]["list"]:
        yield pytest.param(annotation["expr"], id=f"annotation-{annotation['name']}")


def filled_in(expression, service=".+"):
    """An expression as Grafana sends it."""
    expression = expression.replace("$service", service)
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def course(values):
    """What was, one after the other, however long."""
    return [value for value, _ in groupby(values[time] for time in sorted(values))]


# Sorted, since each process that runs tests has to list the same.
@pytest.mark.parametrize("metric", sorted(NAMES))
def test_metric(observed, metric):
    """A metric has the name and the type in Prometheus that the document says, and values."""
    name, kind = NAMES[metric]
    parts = ["_bucket", "_count", "_sum"] if kind == "histogram" else [""]

    assert all(series(observed, name + part) for part in parts)
    assert observed.monitoring.kind(name.removesuffix("_total")) == kind


def test_labels(observed):
    """Attributes are labels; scope and target are there, too."""
    [books] = series(
        observed,
        'db_client_response_returned_rows_count{db_operation_name="find",db_collection_name="books"'
        f",network_{killed_port(observed).replace('server', 'peer')}}}",
    )
    [target] = series(observed, f'target_info{{instance="{books.labels["instance"]}"}}')

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


def test_outage(observed):
    """There is a writable server, then for the time without servers none, then one again."""
    away = observed.acts["all servers away"].period
    evening = Period(away.start - STEP, observed.acts["back again"].period.end)
    [writable] = series(observed, 'mongodb_client_topology_writable{job="shop"}', evening)
    lost = [time for time, value in writable.values.items() if not value]

    assert course(writable.values) == [1, 0, 1]
    # It may be some heartbeats until the client knows.
    assert away.overlaps(Period(min(lost), max(lost) + STEP))


def test_failover_server(observed):
    """The server that is killed is a primary, then unknown, then again a member."""
    status = defaultdict(list)
    for found in series(observed, f"mongodb_client_server_status{{{killed_port(observed)}}}"):
        status[found.labels["mongodb_client_server_type"]] = course(found.values)

    assert status["rs_primary"][:2] == [1, 0]
    assert 1 in status["unknown"]
    assert status["unknown"][-1] == 0


def test_failover_counts(observed):
    """Each outage is counted, each with a believable length; so are heartbeats that failed."""
    outage = 'mongodb_client_topology_outage_duration_seconds_{}{{job="shop"}}'
    [count] = series(observed, outage.format("count"))
    [total] = series(observed, outage.format("sum"))
    failures = series(
        observed,
        'mongodb_client_server_heartbeat_duration_seconds_count{error_type!="",'
        f"{killed_port(observed)}}}",
    )

    assert course(count.values)[-1] >= 2
    assert (
        0
        < course(total.values)[-1]
        < observed.whole.end - observed.acts["primary killed"].period.start
    )
    assert failures


@pytest.mark.parametrize("expression", [*expressions()])
def test_expression(observed, expression):
    """Every expression that we offer is right, and there are numbers that it finds."""
    found = series(observed, filled_in(expression))

    assert not all(isnan(value) for each in found for value in each.values.values())
