"""The dashboard and the alerts are complete, and as Prometheus and Grafana want them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from day import hastened
from local_prometheus import program_path
from programs import need_prometheus

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "examples" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
RUNBOOKS = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
NAMES = re.findall(
    r"^\| `\S+` \| `(\S+)` \| \w+ \|$",
    (ROOT / "docs" / "backends.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
RULES = [
    rule
    for group in yaml.safe_load((GRAFANA / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
# Grafana's schema leaves to each kind of data source what its annotations have.
OF_PROMETHEUS = {"tagKeys", "titleFormat"}


def expressions():
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_dashboard_is_written_anew(tmp_path):
    """What is in the repository is what its description makes."""
    copy = tmp_path / "examples" / "grafana"
    description = copy / "dashboard"
    description.mkdir(parents=True)
    for module in (GRAFANA / "dashboard").glob("*.py"):
        (description / module.name).write_bytes(module.read_bytes())
    subprocess.run([sys.executable, description / "dashboard.py"], check=True)

    written = (copy / "dashboard.json").read_text(encoding="utf-8")
    assert written == (GRAFANA / "dashboard.json").read_text(encoding="utf-8")


def test_dashboard_is_of_grafanas_schema():
    """Grafana's own classes know every field of it: none is lost when they read and write it."""
    pytest.importorskip("grafana_foundation_sdk", reason="needs Python 3.11")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415
    from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: PLC0415
    from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: PLC0415

    register_default_plugins()
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))

    assert {*lost(DASHBOARD, known)} == {f"annotations.list.0.{field}" for field in OF_PROMETHEUS}


def lost(written, known, path=""):
    """Where something written is not known, or is something else."""
    if isinstance(written, dict) and isinstance(known, dict):
        pairs = [(key, value, known.get(key)) for key, value in written.items()]
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        pairs = [(index, *pair) for index, pair in enumerate(zip(written, known, strict=True))]
    else:
        pairs = []
        if written != known:
            yield path.removeprefix(".")
    for key, one, other in pairs:
        yield from lost(one, other, f"{path}.{key}")


def test_dashboard_cannot_be_edited():
    """What one reader changes is not another's dashboard."""
    assert DASHBOARD["editable"] is False


@pytest.mark.parametrize("name", ["service", "instance", "replica_set", "database", "collection"])
def test_dashboard_variable(name):
    """There is a variable to choose by, and some panel uses it."""
    assert name in VARIABLES
    assert any(f'"${name}"' in expression for expression in expressions())


def test_dashboard_has_no_other_variables():
    """No expression has a variable that the dashboard does not have."""
    used = set(re.findall(r"\$(\w+)", " ".join(expressions())))

    assert used - VARIABLES.keys() == {"__rate_interval", "__range"}


def test_dashboard_shows_every_metric():
    """There is no metric that the dashboard has no use for."""
    shown = " ".join(expressions())

    assert [name for name in NAMES if not re.search(rf"\b{name}(_\w+)?\b", shown)] == []


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"].replace(" ", "_"))
def test_panel_is_described(panel):
    """A panel says what it shows, and by words or a legend of the series which line is which."""
    assert panel["description"].endswith(".")
    assert len(panel["targets"]) == 1 or all(each["legendFormat"] for each in panel["targets"])


def test_panels_by_collection_are_bounded():
    """A panel with a line for each collection or command shows the highest only."""
    many = re.compile(r"by \((?:le, )?(?:db_namespace, db_collection_name|db_operation_name\))")
    unbounded = [each for each in expressions() if many.search(each) and "topk($top" not in each]

    assert unbounded == []


def test_durations_of_commands_have_exemplars():
    """Each panel with percentiles of commands by now offers traces: as points and as a link."""
    quantiles = [
        panel
        for panel in PANELS
        if panel["type"] == "timeseries"
        and "histogram_quantile" in (expression := panel["targets"][0]["expr"])
        and "db_client_operation_duration_seconds" in expression
    ]

    assert len(quantiles) >= 4
    for panel in quantiles:
        assert all(target["exemplar"] for target in panel["targets"])
        [link] = panel["fieldConfig"]["defaults"]["links"]
        assert link["url"].startswith("/explore?")
        assert "${traces}" in link["url"]


@pytest.mark.parametrize(
    ("alert", "title"),
    [
        ("MongoDBSlowCommands", "Latency of all commands"),
        ("MongoDBErrorRatio", "Error ratio by collection"),
    ],
)
def test_line_is_where_the_alert_begins(alert, title):
    """The line in a panel is the threshold of its alert."""
    [panel] = [panel for panel in PANELS if panel["title"] == title]
    [rule] = [rule for rule in RULES if rule["alert"] == alert]
    limit = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]

    assert f" > {limit}" in " ".join(rule["expr"].split())


def test_expected_errors_are_the_same():
    """The panels leave out the errors that the alert leaves out."""
    listed = re.compile(r'mongodb_client_error_name!~"([^"]+)"')
    [rule] = [rule for rule in RULES if rule["alert"] == "MongoDBErrorRatio"]
    shown = [
        each for each in expressions() if "mongodb_client_retries_total" in each and "/" in each
    ]

    assert len(shown) == 2
    assert {match for each in shown for match in listed.findall(each)} == {
        *listed.findall(rule["expr"])
    }


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel["type"] == "stat"])
def test_numbers_have_thresholds(panel):
    """A number at a glance has a colour that says whether it is good."""
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


def test_panels_have_places():
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


def test_hastened():
    """For the tests of a day all times of the alerts become shorter, and nothing else."""
    rules = (GRAFANA / "alerts.yml").read_text(encoding="utf-8")

    assert hastened("for: 10m") == "for: 12s"
    assert hastened("for: 30s") == "for: 4s"
    assert hastened("x[60m] offset 5m") == "x[72s] offset 6s"
    assert re.sub(r"\d+[ms]\b", "", hastened(rules)) == re.sub(r"\d+[ms]\b", "", rules)


def test_compose_files_fit():
    """Files that Docker Compose is to mount exist, and what is sent or scraped finds its port."""
    services, shop = (
        yaml.safe_load((GRAFANA / file).read_text(encoding="utf-8"))["services"]
        for file in ("docker-compose.yml", "shop.yml")
    )
    mounted = [volume.split(":")[0] for each in services.values() for volume in each["volumes"]]
    scraping = yaml.safe_load((GRAFANA / "prometheus.yml").read_text(encoding="utf-8"))
    collector = services["collector"]["environment"]
    sent_to = shop["shop"]["environment"]["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"]

    assert all((GRAFANA / path).exists() for path in mounted)
    assert f"http://{collector['LISTEN'].replace('0.0.0.0', 'collector')}/v1/metrics" == sent_to
    assert scraping["scrape_configs"][0]["static_configs"] == [
        {"targets": [collector["SCRAPED"].replace("0.0.0.0", "collector")]}
    ]
    assert {f"./{name}" for name in scraping["rule_files"]} <= {*mounted}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_runbook(rule):
    """An alert has the URL of a section of our documentation that is there."""
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", RUNBOOKS, re.MULTILINE)

    assert page == "https://docs.example/otel-mongo-apm/alerts/"
    assert anchor in [heading.lower() for heading in headings]


def test_runbooks_are_complete():
    """The page has each alert, with its severity and its time, in the order of the rules."""
    table = re.findall(
        r"^\| \[`(\w+)`\]\(#\w+\) \| (\w+) \| .+ \| (.+) \|$", RUNBOOKS, re.MULTILINE
    )
    words = {"s": " s", "m": " min"}

    assert table == [
        (
            rule["alert"],
            rule["labels"]["severity"],
            re.sub(r"\D$", lambda unit: words[unit[0]], rule.get("for", "at once"))
            if "for" in rule
            else "at once",
        )
        for rule in RULES
    ]


def test_runbooks_name_panels():
    """Each panel that a runbook sends its reader to is on the dashboard."""
    titles = [panel["title"] for panel in PANELS]
    named = set(re.findall(r'"([A-Z][a-z][^"]+)"', " ".join(RUNBOOKS.split()))) - {
        "After",
        "Instance",
    }

    assert [name for name in named if not any(title.startswith(name) for title in titles)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_has_both_tests(rule):
    """Each alert has a test in which it fires and one in which it does not."""
    written = yaml.safe_load((GRAFANA / "alerts_test.yml").read_text(encoding="utf-8"))
    tests = [test for each in written["tests"] for test in each["alert_rule_test"]]
    fires = {bool(test["exp_alerts"]) for test in tests if test["alertname"] == rule["alert"]}

    assert fires == {True, False}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "--lint-fatal", "alerts.yml", "otlp_names.yml"),
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
