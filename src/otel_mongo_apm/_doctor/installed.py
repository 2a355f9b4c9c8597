"""What is installed, whether it is supported, and what `opentelemetry-instrument` loads of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVER = "pymongo"

# The distributions that matter, and their versions that are supported, if there is a question.
SUPPORTED: Mapping[str, str] = {
    DRIVER: ">=4.7,<5",
    "motor": ">=3.4",
    "opentelemetry-api": ">=1.35,<2",
    "opentelemetry-instrumentation": ">=0.56b0",
    "opentelemetry-semantic-conventions": ">=0.56b0",
    "opentelemetry-sdk": ">=1.35",
    "opentelemetry-distro": "",
    "opentelemetry-configuration": "",
    "opentelemetry-instrumentation-pymongo": "",
}

_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_OURS, _THEIRS = "mongo_apm", "pymongo"
_TWO_SPANS = (
    "under opentelemetry-instrument every command has two spans. Set"
    f" {_DISABLED}={_THEIRS}, or on_conflict to 'replace' or 'defer'."
)
# What happens for each value of `on_conflict`, and whether it is wrong.
_CONFLICTS = {
    "warn": (_TWO_SPANS, True),
    None: ("its listener will be replaced in each client, with a warning.", False),
    "replace": (
        "its listener will be replaced in each client, as on_conflict is 'replace'.",
        False,
    ),
    "defer": ("it has the spans to itself, as on_conflict is 'defer'.", False),
}


@dataclass(frozen=True)
class Conflict:
    """Somebody else who makes spans of the same commands, and whether that is wrong."""

    description: str
    is_problem: bool


@dataclass(frozen=True)
class Distribution:
    """A package that may be installed, in which version, and whether that one is supported."""

    name: str
    installed: str | None
    supported: str
    is_supported: bool

    @property
    def problem(self) -> str | None:
        """What is wrong; that something is not there is wrong of PyMongo alone."""
        if self.installed and not self.is_supported:
            return f"{self.name} {self.installed} is not supported; {self.supported} is."
        if not self.installed and self.name == DRIVER:
            return "PyMongo is not installed, so there is nothing to instrument."
        return None


def distributions() -> list[Distribution]:
    """What there is of that which matters."""
    return [_distribution(name, supported) for name, supported in SUPPORTED.items()]


def _distribution(name: str, supported: str) -> Distribution:
    installed = installed_version(name)
    specifiers = SpecifierSet(supported)
    is_supported = installed is not None and specifiers.contains(installed, prereleases=True)
    return Distribution(name, installed, supported, is_supported)


def automatic() -> str:
    """Whether `opentelemetry-instrument` loads this package."""
    if not _is_entry_point(_OURS):
        return "does not find it: otel-mongo-apm is not installed, only imported"
    return f"leaves it alone, as {_DISABLED} says" if _is_disabled(_OURS) else "loads it"


def conflict(on_conflict: str | None) -> Conflict | None:
    """Say who else makes spans of the same commands, if somebody does."""
    if not _is_entry_point(_THEIRS) or _is_disabled(_THEIRS):
        return None
    what_happens, is_problem = _CONFLICTS[on_conflict]
    other = "opentelemetry-instrumentation-pymongo is installed and not disabled"
    return Conflict(f"{other}: {what_happens}", is_problem)


def installed_version(name: str) -> str | None:
    """The version of a distribution, if it is installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_entry_point(name: str) -> bool:
    return bool(entry_points(group="opentelemetry_instrumentor", name=name))


def _is_disabled(name: str) -> bool:
    disabled = {each.strip() for each in os.environ.get(_DISABLED, "").split(",")}
    return bool(disabled & {name, "*"})
