"""What dashboard.json shows; run it to write that file anew.

$ python examples/grafana/dashboard/dashboard.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from at_a_glance import at_a_glance
from cluster_panels import outages, servers
from command_panels import commands
from grafana_model import PROMETHEUS, choice, labels, laid_out, source
from pool_panels import pools, waits
from promql import DURATION, PROCESSES, REPLICA_SET, SETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_model import Json

FILE = Path(__file__).parents[1] / "dashboard.json"


def variables() -> Iterator[Json]:
    """What a reader can choose."""
    count = f"{DURATION}_count"
    yield source("datasource", "Prometheus", "prometheus")
    yield source("traces", "Jaeger", "jaeger")
    yield labels("service", "Service", "mongodb_client_instances", "job", ".+")
    yield labels(
        "instance", "Instance", 'mongodb_client_instances{job=~"$service"}', "instance", ".+"
    )
    yield labels(
        "replica_set",
        "Replica set",
        f"mongodb_client_topology_writable{{{PROCESSES}}}",
        "mongodb_replica_set_name",
    )
    yield labels("database", "Database", f"{count}{{{PROCESSES}}}", "db_namespace")
    yield labels(
        "collection",
        "Collection",
        f'{count}{{{PROCESSES}, db_namespace=~"$database"}}',
        "db_collection_name",
    )
    yield choice("top", "Lines in a panel", "10", "20", "50")


def dashboard() -> Json:
    """The whole of it."""
    outage = {
        "name": "Outages",
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "datasource": PROMETHEUS,
        "expr": f"min by ({REPLICA_SET}) (mongodb_client_topology_writable{{{SETS}}}) == 0",
        "titleFormat": "No writable server",
        "tagKeys": REPLICA_SET,
    }
    rows = [
        ("At a glance", [*at_a_glance()]),
        ("Commands", [*commands()]),
        ("Before a command", [*waits()]),
        ("Connection pools", [*pools()]),
        ("Servers", [*servers()]),
        ("Outages", [*outages()]),
    ]
    return {
        "title": "MongoDB, as the application sees it",
        "uid": "otel-mongo-apm",
        "description": "Commands, connection pools, servers and outages, from otel-mongo-apm.",
        "tags": ["mongodb", "opentelemetry"],
        "schemaVersion": 39,
        "version": 2,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "",
        "annotations": {"list": [outage]},
        "templating": {"list": [*variables()]},
        "panels": [*laid_out(rows)],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
