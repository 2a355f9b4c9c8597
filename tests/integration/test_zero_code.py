"""Applications under `opentelemetry-instrument` that have hooks and settings of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("shop")

PROGRAM = """
import os, pymongo
early = pymongo.MongoClient(os.environ["URI"])
from otel_mongo_apm import MongoInstrumentor
MongoInstrumentor().instrument(
    query_text="off", request_hook=lambda span, event: span.set_attribute("hooked", True)
)
late = pymongo.MongoClient(os.environ["URI"])
for client in (early, late):
    client.shop.users.find_one({"name": "alice"})
    client.shop.scratch.find_one()
    client.close()
"""


def spans_of(text):
    """The spans that the console exporter has printed."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        span, end = decoder.raw_decode(text)
        found.append(span)
        text = text[end:]
    return found


def test_hooks_and_settings(mongodb_uri):
    """They take effect for clients made before and after, and variables still count."""
    process = subprocess.run(
        ["opentelemetry-instrument", sys.executable, "-c", PROGRAM],
        env={
            "PATH": f"{sys.prefix}/bin",
            "URI": mongodb_uri,
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo",
            "OTEL_PYTHON_MONGO_APM_EXCLUDE_COLLECTIONS": "scratch",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert process.stderr == ""
    finds = [span for span in spans_of(process.stdout) if span["name"].startswith("find")]
    assert [span["name"] for span in finds] == ["find users", "find users"]
    assert all(span["attributes"]["hooked"] for span in finds)
    assert not any("db.query.text" in span["attributes"] for span in finds)
