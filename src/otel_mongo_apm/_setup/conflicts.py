"""What to do if opentelemetry-instrumentation-pymongo is also active."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._driver.clients import topology_of
from otel_mongo_apm._driver.listeners import change_listeners

if TYPE_CHECKING:
    from otel_mongo_apm._settings.telemetry import Telemetry

_logger = logging.getLogger(__name__)

_OTHER_MODULE = "opentelemetry.instrumentation.pymongo"
_ACTIVE = "opentelemetry-instrumentation-pymongo is also active"
_HOW_TO_END_IT = "Uninstall it, or set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo"


def resolve_conflict(telemetry: Telemetry, client: Any = None) -> None:
    """Check whether every command would have two spans, apply `on_conflict`, and log this once.

    Args:
        telemetry: The telemetry of the clients concerned.
        client: One of these clients, if it was just created.
    """
    if not telemetry.settings.command_spans or not (other := _active_other()):
        return
    on_conflict = telemetry.settings.on_conflict
    if on_conflict == "defer":
        telemetry.stop_tracing()
    elif on_conflict != "warn" and client is not None:
        _replace_listener(other, client)
    if not telemetry.has_met_conflict:
        telemetry.has_met_conflict = True
        _tell(on_conflict)


def _tell(on_conflict: str | None) -> None:
    if on_conflict == "replace":
        _logger.info("%s: otel-mongo-apm replaces its listener in each client.", _ACTIVE)
    elif on_conflict == "defer":
        _logger.info("%s: otel-mongo-apm leaves the spans to it.", _ACTIVE)
    elif on_conflict == "warn":
        _warn(
            f"{_ACTIVE}, so every command has two spans. {_HOW_TO_END_IT}, or set on_conflict to"
            " 'replace' or 'defer'."
        )
    else:
        _warn(
            f"{_ACTIVE}. otel-mongo-apm replaces its listener in each client, so every command has"
            f" one span. {_HOW_TO_END_IT}. To choose which one creates the spans, and to silence"
            " this warning, set on_conflict to 'replace' or 'defer'."
        )


def _warn(message: str) -> None:
    _logger.warning(message)
    # If the root logger has a handler, Python's default handler shows nothing. The root logger's
    # handler may show nothing either, as the one of opentelemetry-instrumentation-logging does.
    if _logger.hasHandlers():
        with suppress(
            UserWarning
        ):  # Never raise, even if the application turns warnings into errors.
            warnings.warn_explicit(message, UserWarning, "otel_mongo_apm", 1)


def _replace_listener(other: Any, client: Any) -> None:
    """Remove the other package's listener from a client; other clients keep theirs."""
    tracer = sys.modules[_OTHER_MODULE].CommandTracer
    theirs = [each for each in client.options.event_listeners if isinstance(each, tracer)]
    # PyMongo would add the listener again when it looks up the SRV record.
    will_be_back = topology_of(client) is None
    if theirs and (will_be_back or not change_listeners(client, theirs, [])):
        other.uninstrument()


def _active_other() -> Any:
    # Looked up, not imported: if nobody has imported it, it has instrumented nothing.
    module = sys.modules.get(_OTHER_MODULE)
    if module is None:
        return None
    other = module.PymongoInstrumentor()
    return other if other.is_instrumented_by_opentelemetry else None
