"""What OpenTelemetry and PyMongo's events may raise, one thing at a time, and who notices."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING, Any

import opentelemetry.sdk._logs
import opentelemetry.sdk.metrics
import opentelemetry.sdk.trace
import pymongo
import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from pymongo import CursorType, monitoring
from pymongo.errors import BulkWriteError, OperationFailure, WaitQueueTimeoutError
from scripted_server import ScriptedServer, found, more, refused

from otel_mongo_apm import (
    MongoInstrumentor,
    _cluster_log,
    _cluster_spans,
    _command_spans,
    _commands,
    _observations,
    _shield,
    _waits,
)
from otel_mongo_apm._commands import CommandTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What of each the package has for asking; that this is all, a test holds.
ASKED: dict[Any, str] = {
    opentelemetry.sdk.trace.Tracer: "start_span",
    opentelemetry.sdk.trace.Span: (
        "add_event end get_span_context is_recording set_attribute set_attributes set_status"
    ),
    opentelemetry.sdk.metrics.Counter: "add",
    opentelemetry.sdk.metrics.Histogram: "record",
    opentelemetry.sdk._logs.Logger: "emit",
    trace: "get_current_span",
    trace.SpanContext: "is_valid",
}
