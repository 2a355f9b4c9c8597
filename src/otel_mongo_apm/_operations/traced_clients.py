"""Which clients' calls have spans: those that are instrumented by MongoDB's own convention."""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_mongo_apm._commands.listener import CommandTelemetry
from otel_mongo_apm._driver.clients import is_traced_natively

from .command_spans import MongodbCommandSpans

# Where one of PyMongo's clients keeps who is told of its commands.
_LISTENER = "_otel_mongo_apm_commands"


def traced(client: Any) -> MongodbCommandSpans | None:
    """What makes the spans of a client's commands, if its calls have spans at this moment."""
    listener = _listener(client)
    spans = listener.spans if listener else None
    if not isinstance(spans, MongodbCommandSpans) or not is_instrumentation_enabled():
        return None
    return None if is_traced_natively(client) else spans


def _listener(client: Any) -> CommandTelemetry | None:
    attributes = vars(client)
    listener: CommandTelemetry | None = attributes.get(_LISTENER)
    if listener is None or not listener.telemetry.is_on:
        # It may have been instrumented, again or for the first time, since somebody asked.
        listeners = (
            each for each in client.options.event_listeners if isinstance(each, CommandTelemetry)
        )
        listener = attributes[_LISTENER] = next(listeners, None)
    return listener
