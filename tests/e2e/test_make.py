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


def test_a_failure_hides_no_other(made):
    """Whatever fails, `make test` runs all of its steps, and then it fails."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    process = subprocess.run(
        ["make", "test"], cwd=made, env=inherited, capture_output=True, check=False
    )
    steps = [line.split() for line in (made / "pytest.log").read_text("utf-8").splitlines()]

    assert process.returncode != 0
    assert [step[0] for step in steps] == [
        *[".venv/bin/pytest"] * 2,
        *[".venv-oldest/bin/pytest"] * 2,
        ".venv-recipes/bin/pytest",
    ]
    assert ["-n" in step for step in steps] == [True, False, True, False, True]


def test_steps_complement_each_other(made):
    """What the first step leaves out is what the second runs, and all count for coverage."""
    subprocess.run(["make", "test-newest"], cwd=made, capture_output=True, check=False)
    first, second = (made / "pytest.log").read_text("utf-8").splitlines()

    assert ("-m not alone " in first, "-m alone " in second) == (True, True)
    assert ("--cov-append" in first, "--cov-append" in second) == (False, True)


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
