"""One minute of what `make soak` does in thirty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import local_mongodb
import pytest

SOAK = Path(__file__).parents[1] / "soak" / "soak.py"


@pytest.fixture
def _mongod() -> None:
    """There is one to start, several times."""
    try:
        local_mongodb.mongod_path()
    except local_mongodb.MongoDBUnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("_mongod")
def test_a_minute():
    """Through kills, elections, cleared pools and cancellations nothing is lost or left behind."""
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
