"""Which clients' calls have spans: those that are instrumented by MongoDB's own convention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from ._commands import CommandTelemetry
from ._compat import is_traced_natively

if TYPE_CHECKING:
    from ._client import ClientTelemetry

# Where one of PyMongo's clients keeps who is told of its commands.
_LISTENER = "_otel_mongo_apm_commands"


def traced(client: Any) -> ClientTelemetry | None:
    """What is known of a client, if its calls have spans at this moment."""
    found = _telemetry(client)
    if found is None or not found.telemetry.traces_operations or not is_instrumentation_enabled():
        return None
    return None if is_traced_natively(client) else found


def _telemetry(client: Any) -> ClientTelemetry | None:
    attributes = vars(client)
    listener = attributes.get(_LISTENER)
    if listener is None or not listener.of.telemetry.is_on:
        # It may have been instrumented, again or for the first time, since somebody asked.
        listeners = (
            each for each in client.options.event_listeners if isinstance(each, CommandTelemetry)
        )
        listener = attributes[_LISTENER] = next(listeners, None)
    return listener.of if listener else None
