"""One minute of what `make soak` does in thirty."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mongod import need_mongod

SOAK = Path(__file__).parents[1] / "soak" / "soak.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute():
    """Through kills, elections, cleared pools and cancellations nothing is lost or left behind."""
    need_mongod()
    process = subprocess.run(
        [sys.executable, SOAK, "--minutes", "1", "--workers", "8"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.stdout, process.stderr
    found = json.loads(process.stdout)
    assert found["wrong"] == []
    assert found["commands"] > 500
    assert found["done"]["kill"]
