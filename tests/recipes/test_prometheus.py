"""Prometheus and several worker processes: every command is counted, once."""

from __future__ import annotations

import subprocess
import time
import urllib.request

from local_mongodb import HOST, eventually, free_port
from local_otelcol import collector
from local_prometheus import program_path, prometheus
from programs import need_prometheus

from otel_mongo_apm._view.exports import Period

COUNT = "db_client_operation_duration_seconds_count"
REQUESTS = 20


def page(port):
    """What a process shows to Prometheus."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as reply:
        return reply.read().decode()


def counted(monitoring, labels):
    """How often Prometheus has seen `find orders`, by worker."""
    now = time.time()
    found = monitoring.series(
        f'sum by ({labels}) ({COUNT}{{db_operation_name="find"}})', Period(now, now)
    )
    return {each.labels[labels]: max(each.values.values()) for each in found}


def ask_two_workers(server, monitoring, label):
    """Send requests until both workers have been asked; how many were sent, how many counted."""
    sent = 1  # The one that found the server ready.
    while len(workers := counted(monitoring, label)) < 2 or sent < REQUESTS:
        server.get_at_once("/orders", 8)
        sent += 8
        assert sent < 5000, workers
        time.sleep(0.02)
    eventually(
        lambda: sum(counted(monitoring, label).values()) == sent,
        f"{sent} commands, of which {counted(monitoring, label)} are seen",
    )


def test_one_port(recipe):
    """The warning is true: under gunicorn one port shows no worker's commands."""
    port = free_port()
    exporter = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    with recipe("prometheus", "Through a Collector").served("/orders", **exporter):
        shown = page(port)

    assert "target_info" in shown
    assert COUNT not in shown


def test_through_a_collector(recipe):
    """Every worker is a set of series, and their sum is right."""
    need_prometheus()
    server = recipe("prometheus", "Through a Collector")
    listen, scraped = (f"{HOST}:{free_port()}" for _ in range(2))
    server.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{listen}"
    with (
        collector(server.directory, LISTEN=listen, SCRAPED=scraped),
        prometheus({"shop": [scraped]}) as monitoring,
        server.served("/orders"),
    ):
        ask_two_workers(server, monitoring, "service_instance_id")


def test_a_port_for_each_worker(recipe):
    """Prometheus finds each worker at its own port, and their sum is right."""
    need_prometheus()
    ports = [free_port(), free_port()]
    server = recipe("prometheus", "A port for each worker")
    server.replace("gunicorn.conf.py", "range(9464, 9474)", str(ports))
    with (
        prometheus({"shop": [f"{HOST}:{port}" for port in ports]}) as monitoring,
        server.served("/orders"),
    ):
        ask_two_workers(server, monitoring, "instance")


def test_promtool(recipe):
    """Prometheus's own tool finds nothing wrong in the page's configuration."""
    need_prometheus()
    directory = recipe("prometheus", "A port for each worker").directory
    tool = [program_path("promtool"), "check", "config", "--lint-fatal", "prometheus.yml"]
    checked = subprocess.run(tool, cwd=directory, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")
