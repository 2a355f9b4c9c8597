"""A file of declarative configuration, read by opentelemetry-configuration as for any user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_mongo_apm import MongoInstrumentor
from otel_mongo_apm._view.exports import exported, spans

load_config_file = pytest.importorskip("opentelemetry.configuration").load_config_file

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
PYTHON = Path(sys.executable)
FILE = """
file_format: "1.0"
tracer_provider:
  processors:
    - simple:
        exporter:
          console:
instrumentation/development:
  python:
    mongo_apm:
"""
PROGRAM = """
import os, sys
from otel_mongo_apm import event_listeners
from pymongo import MongoClient

own = {"event_listeners": event_listeners(query_text="raw")}
for keywords in [{}, own] if "keyword" in sys.argv else [{}]:
    with MongoClient(os.environ["MONGODB_URI"], **keywords) as client:
        client.admin.command("ping")
        client["shop"]["users"].find_one({"name": "Ada"})
"""


@pytest.fixture
def commands(tmp_path, mongodb_uri):
    """Run a program with a file; return its commands and their texts, and what it complains of."""

    def commands(settings, *arguments, **variables):
        file = tmp_path / "otel.yaml"
        file.write_text(FILE.rstrip() + settings, encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        process = subprocess.run(
            [PYTHON.with_name("opentelemetry-instrument"), PYTHON, "-c", PROGRAM, *arguments],
            env={
                **inherited,
                "MONGODB_URI": mongodb_uri,
                "OTEL_CONFIG_FILE": str(file),
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo",
                **variables,
            },
            capture_output=True,
            encoding="utf-8",
            timeout=110,
            check=True,
        )
        printed = spans(exported(process.stdout.splitlines()))
        told = [
            (span["name"], "Ada" in span["attributes"]["db.query.text"])
            if "db.query.text" in span["attributes"]
            else (span["name"], None)
            for span in printed
            if span["name"].startswith(("ping", "find"))
        ]
        return told, process.stderr

    return commands


def test_settings_in_a_file(commands):
    """A file's settings count; a keyword beats them; they beat a variable."""
    told, complaints = commands(
        """
      query_text: off
      exclude_commands: [ping]
""",
        "keyword",
        OTEL_PYTHON_MONGO_APM_QUERY_TEXT="sanitized",
    )

    assert told == [
        ("find users", None),
        ("ping admin", False),
        ("find users", True),
    ]
    assert "mongo_apm" not in complaints


def test_a_wrong_setting_in_a_file(commands):
    """What is wrong is ignored with a warning, and what is right counts."""
    told, complaints = commands("""
      query_text: some
      queries: 1
      exclude_commands: [ping]
""")

    assert told == [("find users", False)]
    assert "mongo_apm.query_text: 'some' in the configuration file. Accepted: 'off'" in complaints
    assert "unknown setting mongo_apm.queries in the configuration file. Accepted: " in complaints
    assert "Traceback" not in complaints


def test_no_settings(commands):
    """To be named is enough."""
    told, _ = commands(" {}\n")

    assert told == [("ping admin", False), ("find users", False)]


@pytest.mark.parametrize(
    ("enabled", "disabled", "spans"),
    [("false", "pymongo", 2), ("true", "pymongo,mongo_apm", 2), ("false", "pymongo,mongo_apm", 0)],
)
def test_switched_off(commands, enabled, disabled, spans):
    """Who names it in a file must switch it off there and in the variable: each loads it."""
    told, _ = commands(f" {{enabled: {enabled}}}\n", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)

    assert len(told) == spans


def test_documented_file(tmp_path):
    """The file in the documents is one, and all it says of this package is accepted."""
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "otel.yaml").write_text(block, encoding="utf-8")

    options = load_config_file(tmp_path / "otel.yaml").instrumentation_development.python
    accepted = MongoInstrumentor.configuration(**options["mongo_apm"])

    assert len(options["mongo_apm"]) == 3
    assert vars(accepted).keys() == options["mongo_apm"].keys()
