"""Which clients' calls have operation spans: those with `span_convention="mongodb"`."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import get_current

from otel_mongo_apm._commands.listener import CommandTelemetry
from otel_mongo_apm._driver.native_tracing import is_traced_natively
from otel_mongo_apm._otel.suppression import is_suppressed

from .command_spans import MongodbCommandSpans

# The attribute in which one of PyMongo's clients stores its command listener.
_LISTENER = "_otel_mongo_apm_commands"


def traced(client: Any) -> MongodbCommandSpans | None:
    """Return what creates a client's command spans, if its calls currently have spans."""
    listener = _listener(client)
    spans = listener.spans if listener else None
    if not isinstance(spans, MongodbCommandSpans):
        return None
    context = get_current()
    return None if context and is_suppressed(context) else spans


def _listener(client: Any) -> CommandTelemetry | None:
    attributes = vars(client)
    listener: CommandTelemetry | None = attributes.get(_LISTENER)
    if listener is None or not listener.telemetry.is_on:
        # The client may have been instrumented since the last call.
        listeners = (
            each for each in client.options.event_listeners if isinstance(each, CommandTelemetry)
        )
        listener = None if is_traced_natively(client) else next(listeners, None)
        attributes[_LISTENER] = listener
    return listener
