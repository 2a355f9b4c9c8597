"""A real Prometheus, started and stopped on this machine for tests and examples.

with prometheus({"shop": ["127.0.0.1:9464"]}, rules=[ALERTS]) as monitoring:
    print(monitoring.series("mongodb_client_topology_writable", period))
"""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from local_mongodb import HOST, free_port
from local_program import ANSWER, serving, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otel_mongo_apm._view.exports import Period

STEP = 1.0  # Seconds between two scrapes, and between two points of a series.


class PrometheusUnavailableError(RuntimeError):
    """There is no Prometheus to start here."""


class QueryError(ValueError):
    """Prometheus cannot make sense of an expression."""


class Series(NamedTuple):
    """The values that one set of labels had, by their time in seconds since the epoch."""

    labels: dict[str, str]
    values: dict[float, float]


class Prometheus:
    """A Prometheus that runs, and the answers of its API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"

    def series(self, expression: str, period: Period) -> list[Series]:
        """Evaluate an expression for every moment of a period.

        Raises:
            QueryError: The expression is wrong, or its operands do not match.
        """
        start, end = map(str, period)
        answer = self._ask("query_range", query=expression, start=start, end=end, step=str(STEP))
        return [
            Series(found["metric"], {time: float(value) for time, value in found["values"]})
            for found in answer["result"]
        ]

    def exemplars(self, expression: str, period: Period) -> list[dict[str, str]]:
        """Return the labels of each exemplar of an expression's series."""
        start, end = map(str, period)
        found = self._ask("query_exemplars", query=expression, start=start, end=end)
        return [exemplar["labels"] for each in found for exemplar in each["exemplars"]]

    def kind(self, name: str) -> str:
        """Tell a metric's type; a counter has no `_total` in this name."""
        [metadata] = self._ask("metadata", metric=name)[name]
        return str(metadata["type"])

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return what has become of each rule, by its name."""
        groups = self._ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER) as reply:  # noqa: S310
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            reason = json.load(error)["error"]
            message = f"{reason}: {parameters}"
            raise QueryError(message) from error


def program_path(name: str) -> Path:
    """Find `prometheus` or `promtool`."""
    if found := shutil.which(name):
        return Path(found)
    message = f"No {name}: on Debian, install the package prometheus"
    raise PrometheusUnavailableError(message)


@contextlib.contextmanager
def prometheus(
    jobs: Mapping[str, Sequence[str]], rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes the targets of each job every second."""
    port = free_port()
    with workspace("prometheus") as directory:
        configuration = directory / "prometheus.json"  # Its YAML may be JSON.
        configuration.write_text(json.dumps(_configuration(jobs, rules)), encoding="utf-8")
        command = [
            program_path("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={HOST}:{port}",
            "--enable-feature=exemplar-storage",
        ]
        with serving(command, directory) as program:
            program.wait_for(f"http://{HOST}:{port}/-/ready")
            yield Prometheus(port)


def _configuration(jobs: Mapping[str, Sequence[str]], rules: Sequence[Path]) -> Mapping[str, Any]:
    every = f"{STEP:g}s"
    return {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": every,
            "evaluation_interval": every,
        },
        "rule_files": [str(path.resolve()) for path in rules],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": True,  # A Collector's have those of the applications.
                "static_configs": [{"targets": list(targets)}],
            }
            for job, targets in jobs.items()
        ],
    }
