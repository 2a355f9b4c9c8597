"""The context of what happens for nobody in particular."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

# PyMongo's monitors run in whatever context
# was current when they began, an AsyncMongoClient's in that of its first request. Not an empty
# context, which parts of OpenTelemetry take for none and replace by the current one.
NOBODYS_CONTEXT = set_span_in_context(INVALID_SPAN, Context())
