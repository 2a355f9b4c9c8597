"""`make test`, with a pytest that does nothing but fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAILING = """#!/bin/sh
echo "$0 $*" >> pytest.log
exit 1
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="There is no make here.")


@pytest.fixture
def made(tmp_path):
    """A project whose virtual environments are there, with that pytest."""
    (tmp_path / "tests").mkdir()
    for name in ("pyproject.toml", "tests/oldest.txt"):
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    for environment in (".venv", ".venv-oldest", ".venv-recipes"):
        binaries = tmp_path / environment / "bin"
        binaries.mkdir(parents=True)
        (binaries / "pytest").write_text(FAILING)
        (binaries / "pytest").chmod(0o755)
        (tmp_path / environment / "installed").touch()
    return tmp_path


def make(made, target):
    """The exit status of make, and how it has called pytest."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    process = subprocess.run(
        ["make", target], cwd=made, env=inherited, capture_output=True, check=False
    )
    return process.returncode, (made / "pytest.log").read_text("utf-8").splitlines()


def test_a_failure_hides_no_other(made):
    """Whatever fails, `make test` runs all of its steps, and then it fails."""
    status, steps = make(made, "test")

    assert status != 0
    assert [step.split()[0] for step in steps] == [
        *[".venv/bin/pytest"] * 3,
        *[".venv-oldest/bin/pytest"] * 3,
        *[".venv-recipes/bin/pytest"] * 2,
    ]
    side_by_side = [True, False, False]
    assert [" -n " in step for step in steps] == [*side_by_side, *side_by_side, True, False]


def test_what_fails_side_by_side_runs_again(made):
    """What has failed beside others decides when it has run once more by itself."""
    for environment in (".venv", ".venv-oldest", ".venv-recipes"):
        program = made / environment / "bin" / "pytest"
        program.write_text(FAILING.replace("exit 1", 'case "$*" in *" -n "*) exit 1; esac'))
    status, steps = make(made, "test")

    assert status == 0
    again = [False, True, False]
    assert ["--last-failed" in step for step in steps] == [*again, *again, False, True]


def test_what_passes_runs_once(made):
    """Nothing runs again if nothing has failed."""
    (made / ".venv" / "bin" / "pytest").write_text(FAILING.replace("exit 1", ""))
    status, steps = make(made, "test-newest")

    assert status == 0
    assert ["--last-failed" in step for step in steps] == [False, False]


def test_steps_complement_each_other(made):
    """What the first step leaves out is what the last runs, and all count for coverage."""
    _, (first, again, last) = make(made, "test-newest")

    assert ("-m not alone " in first, "-m not alone " in again, "-m alone " in last) == (True,) * 3
    assert ["--cov-append" in step for step in (first, again, last)] == [False, True, True]


def test_release_check(made):
    """`make release-check` builds into an empty folder, and checks what it has built."""
    (made / "dist").mkdir()
    (made / "dist" / "old.whl").touch()
    for name in ("python", "twine", "pytest"):
        program = made / ".venv" / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $* $DIST" >> steps.log\nmkdir -p dist\n')
        program.chmod(0o755)
    subprocess.run(["make", "release-check"], cwd=made, capture_output=True, check=True)

    assert not (made / "dist" / "old.whl").exists()
    assert (made / "steps.log").read_text("utf-8").splitlines() == [
        "python -m build --outdir dist ",
        "twine check --strict dist/* ",
        "pytest tests/e2e/test_packaging.py dist",
    ]
