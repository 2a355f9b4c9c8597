"""What to do when opentelemetry-instrumentation-pymongo is active, too."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_mongo_apm._settings.telemetry import Telemetry

_logger = logging.getLogger(__name__)

_OTHER_MODULE = "opentelemetry.instrumentation.pymongo"


def resolve_conflict(telemetry: Telemetry) -> None:
    """Look whether every command would have two spans and, the first time, do what is set."""
    if telemetry.has_met_conflict or not (other := _active_other()):
        return
    telemetry.has_met_conflict = True
    on_conflict = telemetry.settings.on_conflict
    if on_conflict == "replace":
        other.uninstrument()
        _logger.info("opentelemetry-instrumentation-pymongo was active and is replaced.")
    elif on_conflict == "defer":
        telemetry.stop_tracing()
        _logger.info("opentelemetry-instrumentation-pymongo is active and has the spans to itself.")
    else:
        _logger.warning(
            "opentelemetry-instrumentation-pymongo is active, too, so every command has two spans."
            " Set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo, or on_conflict to 'replace' or"
            " 'defer'."
        )


def _active_other() -> Any:
    # Looked up, not imported: who has not imported it has not instrumented with it.
    module = sys.modules.get(_OTHER_MODULE)
    if module is None:
        return None
    other = module.PymongoInstrumentor()
    return other if other.is_instrumented_by_opentelemetry else None
