"""Suppression, as OpenTelemetry's own instrumentations know it."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.instrumentation.utils import (
    is_instrumentation_enabled,
    suppress_http_instrumentation,
    suppress_instrumentation,
)

from otel_mongo_apm._otel import suppression
from otel_mongo_apm._otel.suppression import is_suppressed


def contexts():
    """What is said in a context: nothing, something else, each key by itself, yes and no."""
    yield {}
    yield {"unrelated": True}
    for key in suppression._KEYS:
        yield {key: True}
        yield {key: False}
        yield {key: False, "unrelated": True}


@pytest.mark.parametrize("said", [*contexts()])
def test_each_key(said):
    """It is suppressed wherever OpenTelemetry's own question would say so, and only there."""
    token = attach(Context(said))
    try:
        assert is_suppressed(get_current()) is not is_instrumentation_enabled()
    finally:
        detach(token)


def test_both_kinds():
    """To suppress all instrumentation is meant for us; to suppress that of HTTP is not."""
    with suppress_http_instrumentation():
        assert not is_suppressed(get_current())
    with suppress_instrumentation():
        assert is_suppressed(get_current())
