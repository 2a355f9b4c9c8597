"""The example that instruments single clients, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from in_memory import WAITS
from instrumented import DISABLED, instrumented_environment

from otel_mongo_apm._view.exports import exported, is_cluster_span, log_records, spans

EXAMPLE = Path(__file__).parents[2] / "examples" / "per_client.py"
PYTHON = Path(sys.executable)


def test_per_client(mongodb_uri):
    """Two of three clients are seen, as their settings have it; what came too late is said."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    inherited[DISABLED] = "mongo_apm"
    inherited["OTEL_LOGS_EXPORTER"] = "console"  # Where opentelemetry-instrument sends warnings.
    process = subprocess.run(
        [PYTHON.with_name("opentelemetry-instrument"), PYTHON, EXAMPLE],
        env=instrumented_environment("per_client", mongodb_uri, inherited),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    printed = list(exported(process.stdout.splitlines()))
    told = [span for span in spans(printed) if not is_cluster_span(span)]
    texts = {
        span["name"]: span["attributes"].get("db.query.text")
        for span in told
        if span["parent_id"] and span["name"] not in WAITS
    }

    assert process.returncode == 0
    (warning,) = [log for log in log_records(printed) if log["severity_text"] == "WARN"]
    assert warning["body"].startswith("This client was already connected when it was instrumented.")
    assert "1 order was taken, and nobody saw who deleted it." in printed
    assert texts == {
        "insert orders": (
            '{"insert":"orders","ordered":true,"documents":[{"_id":"?","customer":"?"}]}'
        ),
        "aggregate orders": None,
    }
