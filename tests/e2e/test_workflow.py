"""The workflow for GitHub, as far as it can be tried elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
pytest.importorskip("nox")

ROOT = Path(__file__).parents[2]
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]


def steps(job):
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


@pytest.fixture(scope="module")
def sessions():
    """The sessions of noxfile.py."""
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "--list", "--json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [each["session"] for each in json.loads(listed.stdout)]


def test_check():
    """What decides here decides there."""
    assert ".ci/run" in steps("check")


@pytest.mark.skipif(shutil.which("jq") is None, reason="the step needs jq")
def test_sessions(sessions, tmp_path):
    """The step that lists the sessions lists all of noxfile.py, as the matrix wants them."""
    output = tmp_path / "output"
    (step,) = (step for step in JOBS["sessions"]["steps"] if step.get("id") == "nox")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "GITHUB_OUTPUT": str(output)}
    subprocess.run(["bash", "-ec", step["run"]], cwd=ROOT, env=environment, check=True)

    name, _, found = output.read_text("utf-8").partition("=")
    assert name == "list"
    assert json.loads(found) == sessions
    assert len(sessions) == len(set(sessions)) > 10


def test_python(sessions):
    """Every Python that is supported is tried, in a session that there is."""
    supported = re.findall(
        r"Programming Language :: Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8")
    )
    named = [
        re.search(r'--session "(.*?)"', step)[1] for step in steps("python") if "--session" in step
    ]

    assert JOBS["python"]["strategy"]["matrix"]["python"] == supported
    assert named
    assert set(named) <= set(sessions)


def test_free_threaded(sessions):
    """A Python without the GIL is tried, too, with the GIL off whatever is imported."""
    (version,) = [
        step["with"]["python-version"]
        for step in JOBS["free-threaded"]["steps"]
        if "python-version" in step.get("with", {})
    ]
    (step,) = [
        step for step in JOBS["free-threaded"]["steps"] if "--session" in step.get("run", "")
    ]

    assert version.endswith("t")
    assert step["run"].rpartition(" ")[2] in sessions
    assert step["env"] == {"PYTHON_GIL": "0"}
