"""What can be said of an installation, and what is wrong with it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._otel.outcome import Outcome
from otel_mongo_apm._otel.semconv import SCOPE_NAME
from otel_mongo_apm._version import __version__

from .exporters import Export, exports, nothing_sets_up_sdk, sdk_problems
from .installed import DRIVER, Distribution, automatic, conflict, distributions
from .others import others
from .secrets import without_credentials
from .sources import Setting, configuration_file, settings, unknown_variables
from .warned import Warnings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .hooks import Hooks
    from .trial import Trial

# The loggers of our modules; the cluster's logger tells of servers, not of us.
_OUR_MODULES = f"{SCOPE_NAME}._"


@dataclass
class Diagnosis:
    """Everything that was found.

    Args:
        automatic: What `opentelemetry-instrument` does with this package.
        instrumented: The clients that are instrumented.
        native_tracing: Whether PyMongo makes spans by itself; none without PyMongo.
        hooks: What of PyMongo is wrapped, and what it lacks; none without PyMongo.
        exports: What `opentelemetry-instrument` has the SDK export.
        lacks_distro: Whether nothing sets up the SDK under `opentelemetry-instrument`.
        conflict: What comes of opentelemetry-instrumentation-pymongo, if it is there.
        others: Who else traces PyMongo, and not for OpenTelemetry.
        trial: How a ping went, if there was a URI to try.
        problems: All that is wrong.
    """

    package: str = __version__
    python: str = field(default_factory=platform.python_version)
    installed: Sequence[Distribution] = field(default_factory=distributions)
    automatic: str = field(default_factory=automatic)
    instrumented: Sequence[str] = ()
    settings: Sequence[Setting] = ()
    native_tracing: str | None = None
    hooks: Hooks | None = None
    exports: Sequence[Export] = ()
    lacks_distro: bool = field(default_factory=nothing_sets_up_sdk)
    conflict: str | None = None
    others: Sequence[str] = field(default_factory=lambda: list(others()))
    trial: Trial | None = None
    problems: list[str] = field(default_factory=list)


def diagnosis(uri: str | None, timeout: float) -> Diagnosis:
    """Look at everything; with a URI, also at what a ping produces.

    Args:
        uri: The server's or the cluster's, or None.
        timeout: How long the ping may take, in seconds.
    """
    found = Diagnosis()
    with Warnings() as warnings:
        file = configuration_file()
        found.settings = list(settings(file.values))
        found.exports = exports()
        other = conflict(_value(found.settings, "on_conflict"))
        found.conflict = other.description if other else None
        failures = list(_use_driver(found, uri, timeout, file.values, warnings))
    problems = [
        found.trial.failure if found.trial else None,
        *(each.problem for each in found.installed),
        *sdk_problems(),
        *(each.problem for each in found.exports),
        file.problem,
        *unknown_variables(),
        other.description if other and other.is_problem else None,
        *warnings.of(_OUR_MODULES),
        *failures,
    ]
    found.problems = list(dict.fromkeys(map(without_credentials, filter(None, problems))))
    return found


def _use_driver(
    found: Diagnosis,
    uri: str | None,
    timeout: float,
    settings: Mapping[str, Any],
    warnings: Warnings,
) -> Iterator[str]:
    """Look at what there is only with PyMongo; yield what has failed."""
    if not any(each.is_supported for each in found.installed if each.name == DRIVER):
        if uri is not None:
            yield "The URI was not tried, for want of a PyMongo that is supported."
        return
    with Outcome() as outcome:
        hooks = import_module(".hooks", __package__)
        found.instrumented = hooks.instrumented_clients()
        found.native_tracing = hooks.native_tracing()
        if uri is not None:
            found.trial = import_module(".trial", __package__).trial(uri, timeout, settings)
        found.hooks = hooks.hooks(settings, warnings)
    yield from found.trial.problems if found.trial else ()
    if outcome.error:
        yield f"PyMongo cannot be instrumented. {type(outcome.error).__name__}: {outcome.error}"


def _value(settings: Iterable[Setting], name: str) -> Any:
    return next(each.value for each in settings if each.name == name)
