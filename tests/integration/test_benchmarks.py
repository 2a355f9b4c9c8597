"""The applications that `make bench` compares do their work, whoever instruments them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pymongo
import pytest
from versions import needs_async

ROOT = Path(__file__).parents[2]
KINDS = ("find_one", "insert_one", "cursor", "tasks", "threads", "failure", "interrupted")


@needs_async
def test_an_application(mongodb_uri):
    """Each contender finds, inserts and reads, and says how long it took."""
    pytest.importorskip("opentelemetry.instrumentation.pymongo")
    # Not where there is no AsyncMongoClient.
    from database import fill  # noqa: PLC0415
    from worker import CONTENDERS  # noqa: PLC0415

    with pymongo.MongoClient(mongodb_uri) as client:
        fill(client)
        for contender in CONTENDERS:
            finished = subprocess.run(
                [sys.executable, ROOT / "benchmarks" / "worker.py", contender, mongodb_uri],
                input="".join(f"{kind} 1\n" for kind in KINDS),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )
            lines = finished.stdout.splitlines()
            are_times = [all(float(each) >= 0 for each in line.split()) for line in lines]

            assert finished.returncode == 0, finished.stderr
            assert are_times == [True] * len(KINDS)
        assert client.benchmark.written.count_documents({}) == len(CONTENDERS)
        client.drop_database("benchmark")
