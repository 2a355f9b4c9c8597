"""Has a process record its telemetry: an OpenTelemetry SDK, and all instrumentation that is there.

The process of the application imports it when Python starts, before any code of the application.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts

from otel_mongo_apm._otel.outcome import Outcome

from .records import DIRECTORY, Records

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS, _THEIRS = "mongo_apm", "pymongo"
_SDK_DISABLED = "OTEL_SDK_DISABLED"
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_OWN_PROVIDER = (
    "The application sets up a {} of its own. What goes through OpenTelemetry's global one is shown"
    " here and was not sent elsewhere; what the application asks its own one for is shown, too."
)


def start() -> None:
    """Record from now on; whatever fails is noted and does not concern the application."""
    directory = Path(os.environ[DIRECTORY])
    records = Records(directory)
    with suppress(OSError):  # Whoever ran the application may have gone.
        records.begin()
        _record_or_note(records)
    _import_next("sitecustomize", directory)


def _record_or_note(records: Records) -> None:
    with Outcome() as outcome:
        _record(records)
    if outcome.error:
        records.note(f"Nothing is recorded. {_description(outcome.error)}")


def _record(records: Records) -> None:
    with _without(_SDK_DISABLED):
        from .sdk import providers  # noqa: PLC0415  # There may be no SDK.

        tracer_provider, meter_provider = providers(records)
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(meter_provider)
    _refuse_other_providers(records, tracer_provider)
    # It is not the application's doing that there is a thread before its first fork, or that it
    # instruments what already is.
    warnings.filterwarnings("ignore", ".* is multi-threaded, use of ", DeprecationWarning)
    logging.getLogger("opentelemetry.instrumentation.instrumentor").addFilter(_is_not_repeated)
    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if _is_wanted(entry_point.name):
            with Outcome() as outcome:
                _instrument(entry_point)
            if outcome.error and not isinstance(outcome.error, ImportError):
                records.note(f"{entry_point.name} has failed. {_description(outcome.error)}")


def _instrument(entry_point: EntryPoint) -> None:
    if entry_point.dist and get_dist_dependency_conflicts(entry_point.dist):
        return
    entry_point.load()().instrument(skip_dep_check=True)


def _is_wanted(name: str) -> bool:
    """Whether to load an instrumentation; another one of PyMongo would double its spans."""
    disabled = {each.strip() for each in os.environ.get(_DISABLED, "").split(",")}
    return name == _OURS or not (name == _THEIRS or disabled & {name, "*"})


def _is_not_repeated(record: logging.LogRecord) -> bool:
    return "already instrumented" not in record.getMessage()


def _refuse_other_providers(records: Records, ours: Any) -> None:
    """Say rather than log that the application's providers do not become the global ones."""

    def set_tracer_provider(tracer_provider: Any) -> None:
        records.note(_OWN_PROVIDER.format("TracerProvider"))
        if hasattr(tracer_provider, "add_span_processor"):
            tracer_provider.add_span_processor(ours.processor)

    def set_meter_provider(meter_provider: Any) -> None:  # noqa: ARG001  # The API's parameter.
        records.note(_OWN_PROVIDER.format("MeterProvider").partition("; ")[0] + ".")

    trace.set_tracer_provider = set_tracer_provider
    metrics.set_meter_provider = set_meter_provider


@contextmanager
def _without(variable: str) -> Iterator[None]:
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value


def _import_next(name: str, directory: Path) -> None:
    """Import the module of this name that would have been imported without ours."""
    sys.path[:] = [path for path in sys.path if path != str(directory)]
    spec = PathFinder.find_spec(name, sys.path)
    if spec and spec.loader:
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def _description(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
