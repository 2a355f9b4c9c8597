"""PyMongo's own tracing, which versions to come have: whether it is there, and on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pymongo.client_options import ClientOptions

from .clients import topology_of

# By MongoDB's specification; it is on for all clients, whatever their option says.
VARIABLE = "OTEL_PYTHON_INSTRUMENTATION_MONGODB_ENABLED"
_TRUE = frozenset({"1", "true", "yes"})


def has_native_tracing() -> bool:
    """Whether this PyMongo can make spans by itself."""
    return hasattr(ClientOptions, "tracing")


def is_enabled_by_variable() -> bool:
    """Whether the environment asks for PyMongo's own spans."""
    return (os.environ.get(VARIABLE) or "").strip().lower() in _TRUE


def is_traced_natively(client: Any) -> bool:
    """Whether a client makes spans by itself, as those of a PyMongo to come can."""
    if client is None or topology_of(client) is None or not hasattr(client.options, "tracing"):
        return False
    tracing = client.options.tracing
    is_enabled = isinstance(tracing, Mapping) and bool(tracing.get("enabled"))
    return is_enabled or is_enabled_by_variable()
