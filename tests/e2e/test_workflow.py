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
WORKFLOWS = ROOT / ".github" / "workflows"
JOBS = yaml.safe_load((WORKFLOWS / "ci.yml").read_text("utf-8"))["jobs"]
RELEASE = yaml.safe_load((WORKFLOWS / "release.yml").read_text("utf-8"))["jobs"]


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


@pytest.fixture
def tagged(tmp_path):
    """Run a step of the release's build for a tag, in a copy of what it reads or changes."""
    for name in ("CHANGELOG.md", "pyproject.toml", "src/otel_mongo_apm/_version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def tagged(tag, name):
        (step,) = (step for step in RELEASE["build"]["steps"] if step.get("name") == name)
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "GITHUB_REF_NAME": tag,
                "GITHUB_SERVER_URL": "https://github.example",
                "GITHUB_REPOSITORY": "owner/name",
            },
            capture_output=True,
            check=False,
        ).returncode

    return tagged


TAG = "The tag is the version, and the changelog has its date"


def test_release_of_the_version(tagged, tmp_path):
    """A tag is released if it is the version, and if the changelog says of when that is."""
    version = (tmp_path / "src/otel_mongo_apm/_version.py").read_text("utf-8").split('"')[-2]
    changelog = tmp_path / "CHANGELOG.md"
    heading = f"## [{version}] - "
    text = re.sub(
        rf"^{re.escape(heading)}.*$",
        f"{heading}2026-12-01",
        changelog.read_text("utf-8"),
        flags=re.MULTILINE,
    )

    assert heading in text
    changelog.write_text(text, encoding="utf-8")
    assert tagged(f"v{version}", TAG) == 0
    assert tagged(f"v{version}1", TAG) != 0
    changelog.write_text(text.replace("2026-12-01", "unreleased"), encoding="utf-8")
    assert tagged(f"v{version}", TAG) != 0


def test_release_links(tagged, tmp_path):
    """All addresses that the package shows are then of the repository, and files of the tag."""
    assert tagged("v1.2.3", "Links lead to this repository at this tag") == 0
    text = (tmp_path / "pyproject.toml").read_text("utf-8")

    assert "otel-mongo-apm.example" not in text
    assert 'Source = "https://github.example/owner/name"' in text
    assert 'Changelog = "https://github.example/owner/name/blob/v1.2.3/CHANGELOG.md"' in text
    assert "](https://github.example/owner/name/raw/v1.2.3/\\1)" in text
    assert 'Issues = "https://github.example/owner/name/issues"' in text


def test_release_is_checked_and_trusted():
    """What is published was checked, and PyPI is asked to trust the workflow, not a password."""
    build = [step.get("run") for step in RELEASE["build"]["steps"]]
    publish = RELEASE["publish"]

    assert "make release-check" in build
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets" not in (WORKFLOWS / "release.yml").read_text("utf-8")


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
