"""PyMongo's native tracing in future versions: whether it is available, and enabled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pymongo.client_options import ClientOptions

from .clients import topology_of

# From MongoDB's specification. It enables tracing for all clients and overrides their option.
VARIABLE = "OTEL_PYTHON_INSTRUMENTATION_MONGODB_ENABLED"
_TRUE = frozenset({"1", "true", "yes"})


def has_native_tracing() -> bool:
    """Whether this version of PyMongo can create spans itself."""
    return hasattr(ClientOptions, "tracing")


def is_enabled_by_variable() -> bool:
    """Whether the environment variable enables PyMongo's own spans."""
    return (os.environ.get(VARIABLE) or "").strip().lower() in _TRUE


def is_traced_natively(client: Any) -> bool:
    """Whether PyMongo itself creates the spans of a client."""
    if client is None or topology_of(client) is None or not hasattr(client.options, "tracing"):
        return False
    tracing = client.options.tracing
    is_enabled = isinstance(tracing, Mapping) and bool(tracing.get("enabled"))
    return is_enabled or is_enabled_by_variable()
