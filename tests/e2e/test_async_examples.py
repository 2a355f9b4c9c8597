"""The asynchronous examples, run under `opentelemetry-instrument` as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from in_memory import WAITS
from instrumented import instrumented_environment
from versions import needs_async

from otel_mongo_apm._view.exports import by_trace, exported, is_cluster_span, root, spans

if TYPE_CHECKING:
    from otel_mongo_apm._view.exports import Exported

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = Path(sys.executable)
CLUSTER = ("mongodb.topology.discovery",)


def run(name: str, uri: str) -> tuple[list[str], list[Exported]]:
    """What an example says, and its spans."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    process = subprocess.run(
        [PYTHON.with_name("opentelemetry-instrument"), PYTHON, EXAMPLES / f"{name}.py"],
        env=instrumented_environment(name, uri, inherited),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    printed = list(exported(process.stdout.splitlines()))
    return [line for line in printed if isinstance(line, str)], spans(printed)


def told(spans: list[Exported]) -> Counter[tuple[str, ...]]:
    """How many traces there are of each kind: the names of its root and of its commands."""
    return Counter(
        (root(trace)["name"], *(span["name"] for span in trace if is_command(span)))
        for trace in by_trace(spans)
    )


def is_command(span: Exported) -> bool:
    return span["parent_id"] is not None and span["name"] not in WAITS


def strangers(spans: list[Exported]) -> list[str]:
    """What is in no request's trace, or not right below the request."""
    return [
        span["name"]
        for trace in by_trace(spans)
        for span in trace
        if not is_cluster_span(span)
        and span is not root(trace)
        and span["parent_id"] != root(trace)["context"]["span_id"]
    ]


@needs_async
def test_asyncio_client(mongodb_uri):
    """Each of many customers at a time has a trace with what was done for that one."""
    lines, exported_spans = run("asyncio_client", mongodb_uri)

    assert lines == ["15 of 20 customers have their book.", "15 bills are to be sent."]
    assert told(exported_spans) == {
        CLUSTER: 1,
        ("stock", "drop orders", "drop books", "insert books"): 1,
        ("order", "findAndModify books", "insert orders"): 15,
        ("order", "findAndModify books"): 5,
        ("bill", "find orders", "getMore orders"): 1,
    }
    assert strangers(exported_spans) == []


def test_motor_tornado(mongodb_uri):
    """Each of many visitors at a time has a trace, though it is threads that work for them."""
    pytest.importorskip("tornado")
    pytest.importorskip("motor.motor_tornado", exc_type=ImportError)
    lines, exported_spans = run("motor_tornado", mongodb_uri)
    sales = [
        [span["status"].get("description") for span in trace if is_command(span)]
        for trace in by_trace(exported_spans)
        if root(trace)["name"] == "sell"
    ]

    assert lines == ["15 of 20 visitors have a seat.", "15 came."]
    assert {kind: n for kind, n in told(exported_spans).items() if kind[0] != "sell"} == {
        CLUSTER: 1,
        ("open", "drop tickets"): 1,
        ("admit", "find tickets", "getMore tickets", "update tickets"): 1,
    }
    assert len(sales) == 20
    assert sum(sale[-1] is None for sale in sales) == 15
    assert sales.count(["DuplicateKeyError"] * 2) == 5
    assert strangers(exported_spans) == []
