"""A day of an application with MongoDB: what goes wrong in it, and what a real Prometheus sees.

The day takes some two minutes. So the alerts of `examples/grafana` are hastened: see `hastened`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import local_mongodb
from local_mongodb import HOST, eventually, free_port
from local_program import serving, workspace
from local_prometheus import STEP, Prometheus, prometheus
from local_shop import PYTHON, customers, environment, shop

from otel_mongo_apm._view.exports import Period

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_mongodb import Mongod, ReplicaSet

PATIENCE = 60.0  # Seconds; for what takes less than ten.
ALERTS = Path(__file__).parents[1] / "examples" / "grafana" / "alerts.yml"
CALLING = Path(__file__).with_name("calling.py")
# How much shorter the day is. An election is as long as ever, and no alert's `for` is shorter.
HASTE, LONGEST_ELECTION = 50, 4
# If the machine that runs the tests is busy, commands are slow indeed.
TRUE_IF_BUSY = ("MongoDBSlowCommands",)
SECONDS = {"s": 1, "m": 60}

# Commands are to be quick, so the machine is not to be busy.
UNHURRIED = ("--pause", "0.2")
POOL = "maxPoolSize=10&minPoolSize=1&waitQueueTimeoutMS=1000"
MONITORING = "heartbeatFrequencyMS=1000&serverSelectionTimeoutMS=3000"


@dataclass
class Act:
    """A part of the day: when it was, and which alerts fired and why."""

    job: str
    wanted: set[str]
    tolerated: set[str]
    period: Period
    alerts: dict[str, dict[str, str]] = field(default_factory=dict)
    server: Mongod | None = None


class Day:
    """All acts by their names."""

    def __init__(self, monitoring: Prometheus) -> None:
        self.monitoring = monitoring
        self.acts: dict[str, Act] = {}
        self._start = time.time()

    @property
    def whole(self) -> Period:
        return Period(self._start, time.time())

    @contextmanager
    def act(self, name, *wanted, job="shop", tolerated=(), seconds=0.0) -> Iterator[Act]:
        """Something goes on, and at least so long, until the alerts fire that are wanted.

        Args:
            name: What goes on.
            wanted: The alerts that an operator wants to have.
            job: The application that it goes on in.
            tolerated: Others that are true, and do no harm.
            seconds: How long it goes on at least.
        """
        start = time.time()
        busy = TRUE_IF_BUSY if wanted else ()
        self.acts[name] = act = Act(job, {*wanted}, {*tolerated, *busy}, Period(start, start))
        yield act
        self._wait(act, name)
        time.sleep(max(0.0, start + seconds - time.time()) + 2 * STEP)
        act.period = Period(start, time.time() - STEP)

    def _wait(self, act: Act, name: str) -> None:
        def all_fire() -> bool:
            for rule in self.monitoring.rules().values():
                for alert in rule["alerts"]:
                    if alert["labels"]["job"] == act.job and alert["state"] == "firing":
                        act.alerts[rule["name"]] = alert["annotations"]
            time.sleep(STEP / 4)
            return act.alerts.keys() >= act.wanted

        eventually(all_fire, f"{act.wanted} in {name}", PATIENCE)

    def calm_down(self, *but: str, job: str = "shop") -> None:
        """Wait until no alert is on, and remains off for a while, but those that are named."""
        calm_since = time.time()

        def is_calm() -> bool:
            nonlocal calm_since
            time.sleep(STEP / 4)
            rules = self.monitoring.rules()
            on = [(name, a) for name, rule in rules.items() for a in rule["alerts"]]
            if any(name not in but and alert["labels"]["job"] == job for name, alert in on):
                calm_since = time.time()
            return time.time() - calm_since > 3 * STEP

        eventually(is_calm, f"calm in {job}", PATIENCE)

    def fired(self, act: Act) -> set[str]:
        """The alerts that fired in an act."""
        expression = f'ALERTS{{alertstate="firing",job="{act.job}"}}'
        return {
            found.labels["alertname"] for found in self.monitoring.series(expression, act.period)
        }


def hastened(rules: str) -> str:
    """Alerts for a day that is shorter by `HASTE`, but with `for` no shorter than an election."""

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[2]) * SECONDS[match[3]] // HASTE
        return f"{match[1]}{max(seconds, LONGEST_ELECTION)}s"

    return re.sub(r"(\[|offset |for: )(\d+)([ms])", shorter, rules)


@contextmanager
def played() -> Iterator[Day]:
    """Play the day; Prometheus is there until the block ends."""
    ports = {name: free_port() for name in ("shop", "branch", "accounts", "reports")}
    targets = {name: f"{HOST}:{port}" for name, port in ports.items()}
    jobs = {
        "shop": [targets["shop"], targets["branch"]],
        "accounts": [targets["accounts"]],
        "reports": [targets["reports"]],
    }
    with ExitStack() as stack:
        directory = stack.enter_context(workspace("alerts"))
        rules = directory / "alerts.yml"
        rules.write_text(hastened(ALERTS.read_text(encoding="utf-8")), encoding="utf-8")
        servers = stack.enter_context(local_mongodb.replica_set(members=3))
        vault = stack.enter_context(local_mongodb.standalone(auth=True))
        monitoring = stack.enter_context(prometheus(jobs, [rules]))
        settings = {
            **exporting(ports["shop"]),
            "OTEL_PYTHON_MONGO_APM_EXPLAIN_SLOWER_THAN": "60",
            "OTEL_PYTHON_MONGO_APM_POOL_USE_TIME": "true",
            "OTEL_PYTHON_MONGO_APM_RETURNED_ROWS": "both",
        }
        url = stack.enter_context(shop(f"{servers.uri}&{POOL}&{MONITORING}", **settings))
        stack.enter_context(customers(url, *UNHURRIED))
        day = Day(monitoring)
        morning(day, servers, url)
        noon(day, servers, vault, ports)
        night(day, servers)
        yield day


def exporting(port: int) -> dict[str, str]:
    """Settings for metrics that Prometheus scrapes."""
    return {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": HOST,
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }


def morning(day: Day, servers: ReplicaSet, url: str) -> None:
    """All is well; then commands become slow; then there are too few connections."""
    primary = servers.primary()
    with day.act("healthy", seconds=5):
        pass
    with (
        fail_point(primary, "find", blockConnection=True, blockTimeMS=700),
        day.act("slow", "MongoDBSlowCommands"),
    ):
        pass
    day.calm_down()
    with (
        fail_point(primary, "aggregate", "find", blockConnection=True, blockTimeMS=3000),
        customers(url, *UNHURRIED),
        day.act(
            "pool exhausted",
            "MongoDBPoolExhausted",
            "MongoDBPoolTimeouts",
            tolerated=["MongoDBErrorRatio"],
        ),
    ):
        pass
    day.calm_down()


def noon(day: Day, servers: ReplicaSet, vault: Mongod, ports: dict[str, int]) -> None:
    """Commands fail now and then; meanwhile other applications cannot connect; then a branch."""
    # PyMongo tries no credentials before the next heartbeat.
    wrong = vault.uri.replace(str(vault.password), "wrong") + "&heartbeatFrequencyMS=500"
    unknown = "mongodb+srv://cluster.test.example/?tls=false"
    with (
        fail_point(servers.primary(), "find", often=0.2, errorCode=6),
        day.act("retries", "MongoDBRetries"),
        calling(wrong, ports["accounts"]),
        day.act(
            "wrong password",
            "MongoDBAuthenticationFailures",
            job="accounts",
            tolerated=["MongoDBErrorRatio"],
            seconds=8,
        ),
        calling(unknown, ports["reports"]),
        day.act("DNS gone", "MongoDBDNSLookupFailures", "MongoDBErrorRatio", job="reports"),
    ):
        pass
    nobody = (
        f"mongodb://{HOST}:{free_port()}/?replicaSet={servers.name}&serverSelectionTimeoutMS=500"
    )
    day.calm_down()
    with (
        calling(nobody, ports["branch"]),
        day.act(
            "one instance cut off",
            "MongoDBInstanceCannotWrite",
            "MongoDBServerSelectionFailures",
            "MongoDBHeartbeatFailures",
            tolerated=["MongoDBErrorRatio"],
        ),
    ):
        pass
    day.calm_down()


def night(day: Day, servers: ReplicaSet) -> None:
    """The primary dies, then the others; then all are back."""
    with day.act("primary killed", "MongoDBHeartbeatFailures") as act:
        act.server = servers.kill_primary()
        servers.wait_for_primary()
    day.calm_down("MongoDBHeartbeatFailures")
    with day.act(
        "all servers away",
        "MongoDBNoWritableServer",
        "MongoDBServerSelectionFailures",
        "MongoDBHeartbeatFailures",
        tolerated=["MongoDBErrorRatio"],
        seconds=8,
    ):
        for member in servers.members:
            if member.running:
                member.kill()
    for member in servers.members:
        member.start()
    servers.wait_for_primary()
    servers.wait_for_secondaries()
    day.calm_down()
    with day.act("back again", seconds=4):
        pass


@contextmanager
def fail_point(server: Mongod, *commands: str, often: float = 1, **effect: object):
    """Have a server do something to commands, always or often."""
    data = {"failCommands": list(commands), **effect}
    mode = {"activationProbability": often}
    server.command("configureFailPoint", "failCommand", mode=mode, data=data)
    yield
    server.command("configureFailPoint", "failCommand", mode="off")


@contextmanager
def calling(uri: str, port: int) -> Iterator[None]:
    """Run a process that calls MongoDB, and whose metrics are at a port."""
    command = [PYTHON.with_name("opentelemetry-instrument"), sys.executable, CALLING]
    variables = environment(uri, 0, os.environ, exporting(port))
    with workspace("calling") as directory, serving(command, directory, variables) as program:
        program.wait_for(f"http://{HOST}:{port}/metrics")
        yield
