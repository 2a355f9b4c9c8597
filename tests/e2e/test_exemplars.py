"""Exemplars reach a real Prometheus through a real Collector, as in examples/grafana."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

import local_mongodb
import pytest
from day import CALLING
from local_mongodb import HOST, eventually, free_port
from local_otelcol import collector, otelcol
from local_program import serving, workspace
from local_prometheus import prometheus
from local_shop import PYTHON, environment
from mongod import or_skip
from programs import need_prometheus

from otel_mongo_apm._view.exports import Period

GRAFANA = Path(__file__).parents[2] / "examples" / "grafana"

pytestmark = pytest.mark.slow


@pytest.fixture
def monitoring(tmp_path):
    """A Prometheus that scrapes a Collector to which an application sends its metrics."""
    need_prometheus()
    otelcol()
    shutil.copy(GRAFANA / "collector.yaml", tmp_path)
    listen, scraped = (f"{HOST}:{free_port()}" for _ in range(2))
    settings = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{listen}",
    }
    command = [PYTHON.with_name("opentelemetry-instrument"), sys.executable, CALLING]
    with (
        or_skip(),
        local_mongodb.standalone() as mongod,
        collector(tmp_path, LISTEN=listen, SCRAPED=scraped),
        prometheus({"collector": [scraped]}, [GRAFANA / "otlp_names.yml"]) as monitoring,
        workspace("calling") as directory,
        serving(command, directory, environment(mongod.uri, 0, os.environ, settings)),
    ):
        yield monitoring


def test_exemplars(monitoring):
    """A measurement of a command has its trace, and gauges have the dashboard's names."""
    start = time.time()
    buckets = 'db_client_operation_duration_seconds_bucket{job="shop"}'
    exemplars = eventually(
        lambda: monitoring.exemplars(buckets, Period(start, time.time())), "an exemplar", 60
    )
    writable = eventually(
        lambda: monitoring.series(
            'mongodb_client_topology_writable{job="shop", instance!=""}',
            Period(start, time.time()),
        ),
        "the gauge",
        60,
    )

    assert all(re.fullmatch(r"[0-9a-f]{32}", each["trace_id"]) for each in exemplars)
    assert 1 in writable[0].values.values()
