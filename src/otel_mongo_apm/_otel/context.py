"""The context for telemetry that belongs to no caller."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

# PyMongo's monitors run in the context in which they were started. With an AsyncMongoClient, this
# is the context of its first request. So we pass this context explicitly. It is not empty, because
# parts of OpenTelemetry replace an empty context by the current one.
NOBODYS_CONTEXT = set_span_in_context(INVALID_SPAN, Context())
