"""The matrix: the oldest and the newest of what we stand on. `nox` runs it all."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"

PYMONGO = ("4.7.0", "4.11", "4.13.2", "4.17.0", "4.18.3", "")
OPENTELEMETRY = {"oldest": ("1.35.0", "0.56b0"), "newest": ("", "")}


@nox.session
@nox.parametrize("opentelemetry", OPENTELEMETRY)
@nox.parametrize("pymongo", PYMONGO)
def tests(session: nox.Session, pymongo: str, opentelemetry: str) -> None:
    """Run unit, wire and integration tests; an empty version is the newest."""
    api, beta = OPENTELEMETRY[opentelemetry]
    session.run("python", "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    session.run(
        *("python", "-m", "pip", "install", "--quiet", "--group", "test", "."),
        _pinned("pymongo", pymongo),
        _pinned("opentelemetry-sdk", api),
        _pinned("opentelemetry-instrumentation", beta),
        _pinned("opentelemetry-distro", beta),
        _pinned("opentelemetry-exporter-otlp", api),
    )
    session.run("pytest", "tests/unit", "tests/wire", "tests/integration", *session.posargs)


def _pinned(distribution: str, version: str) -> str:
    return f"{distribution}=={version}" if version else distribution
