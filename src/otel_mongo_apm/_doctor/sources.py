"""Where the value of each setting comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._otel.outcome import Outcome
from otel_mongo_apm._settings.configuration import Configuration
from otel_mongo_apm._settings.environment import (
    DRIVERS_QUERY_TEXT_VARIABLE,
    ENVIRONMENT_PREFIX,
    as_drivers_do,
    from_environment,
)
from otel_mongo_apm._settings.settings import KINDS, VARIABLES, Settings

from .secrets import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT = "default"

_FILE = "OTEL_CONFIG_FILE"
# How much of two names must be the same for one to be a misspelling of the other.
_ALIKE = 0.75


@dataclass(frozen=True)
class Setting:
    """A setting, its value, and where that comes from."""

    name: str
    value: Any
    source: str


@dataclass(frozen=True)
class ConfigurationFile:
    """What a file of declarative configuration says of this package.

    Args:
        values: Those of its values that are accepted.
        problem: Why it cannot be used.
    """

    values: Mapping[str, Any]
    problem: str | None = None


def configuration_file() -> ConfigurationFile:
    """Read the file that `OTEL_CONFIG_FILE` names, as the SDK does."""
    path = os.environ.get(_FILE)
    if not path:
        return ConfigurationFile({})
    with Outcome() as outcome:
        reader = import_module("opentelemetry.configuration")
        configuration = reader.load_config_file(path)
        return ConfigurationFile(vars(Configuration(**_options(configuration))))
    if isinstance(outcome.error, ImportError):
        return ConfigurationFile({}, f"{_FILE} is set: install opentelemetry-configuration.")
    reason = without_credentials(f"{type(outcome.error).__name__}: {outcome.error}")
    return ConfigurationFile({}, f"{_FILE} cannot be used. {reason}")


def _options(configuration: Any) -> dict[str, Any]:
    ours = getattr(configuration.instrumentation_development, "python", None) or {}
    options = dict(ours.get("mongo_apm") or {})
    is_in_force = not configuration.disabled and options.pop("enabled", True)
    return options if is_in_force else {}


def settings(file: Mapping[str, Any]) -> Iterator[Setting]:
    """Yield every setting that can be written down, given what a file says."""
    resolved = Settings.resolve(**file)
    sources = {
        **(_of_drivers() if resolved.span_convention == "mongodb" else {}),
        **{name: VARIABLES[given] for name, given in _given(from_environment(KINDS))},
        **{name: _FILE for name, _ in _given(file)},
    }
    for name in (each.name for each in fields(Settings) if each.name in VARIABLES):
        yield Setting(name, getattr(resolved, name), sources.get(name, DEFAULT))


def _given(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting that is given, and under which name: its own or an alias."""
    for name, value in values.items():
        if name != "capture_statement":
            yield name, name
        elif value and "query_text" not in values:
            yield "query_text", name


def _of_drivers() -> dict[str, str]:
    """What the variable of MongoDB's drivers says; not there it says no more than the default."""
    if DRIVERS_QUERY_TEXT_VARIABLE not in os.environ:
        return {}
    return dict.fromkeys(as_drivers_do(), DRIVERS_QUERY_TEXT_VARIABLE)


def unknown_variables() -> Iterator[str]:
    """Yield what is wrong with each variable that looks like one of ours and is none."""
    known = {variable.removeprefix(ENVIRONMENT_PREFIX) for variable in VARIABLES.values()}
    for variable in sorted(os.environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if variable.startswith(ENVIRONMENT_PREFIX) and name not in known:
            # Without what they all begin with, which would make any two look alike.
            close = get_close_matches(name, known, 1, _ALIKE)
            hint = f" Is it {ENVIRONMENT_PREFIX}{close[0]}?" if close else ""
            yield f"There is no setting {variable}.{hint}"
