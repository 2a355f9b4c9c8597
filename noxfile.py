"""The matrix: the oldest and the newest of what we stand on. `nox` runs it all."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"

# An empty version is the newest.
PYMONGO = ("4.7.0", "4.11", "4.13.2", "4.17.0", "4.18.3", "")
MOTOR = {"4.7.0": ("3.4.0",), "": ("", "3.6.1")}
OPENTELEMETRY = ("oldest", "newest")


@nox.session
@nox.parametrize("opentelemetry", OPENTELEMETRY)
@nox.parametrize(
    ("pymongo", "motor"), [(each, motor) for each in PYMONGO for motor in MOTOR.get(each, ("",))]
)
def tests(session: nox.Session, pymongo: str, motor: str, opentelemetry: str) -> None:
    """Run unit, wire, integration and conformance tests, but for the slow ones."""
    wanted = [_pinned("pymongo", pymongo), _pinned("motor", motor)]
    if opentelemetry == "oldest":
        wanted += _oldest_opentelemetry()
    session.run("python", "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    session.run("python", "-m", "pip", "install", "--quiet", "--group", "test", ".", *wanted)
    tested = ("unit", "wire", "integration", "conformance")
    tests = [f"tests/{each}" for each in tested]
    side_by_side = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
    arguments = ("pytest", *tests, *session.posargs)
    session.run(*arguments, "-m", "not slow and not alone", *side_by_side)
    session.run(*arguments, "-m", "not slow and alone")


@nox.session
def basic(session: nox.Session) -> None:
    """Run unit and wire tests with as few packages as they need."""
    session.run("python", "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    session.run("python", "-m", "pip", "install", "--quiet", "--group", "basic", ".")
    session.run("pytest", "tests/unit", "tests/wire", *session.posargs)


def _pinned(distribution: str, version: str) -> str:
    return f"{distribution}=={version}" if version else distribution


def _oldest_opentelemetry() -> list[str]:
    lines = Path("tests/oldest.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("opentelemetry")]
