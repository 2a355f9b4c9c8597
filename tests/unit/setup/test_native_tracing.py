"""Clients that make their spans by themselves, with a PyMongo to come."""

from __future__ import annotations

import logging

import pytest
from pymongo import MongoClient
from pymongo.client_options import ClientOptions

from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client
from otel_mongo_apm._driver.native_tracing import has_native_tracing, is_traced_natively

VARIABLE = "OTEL_PYTHON_INSTRUMENTATION_MONGODB_ENABLED"


@pytest.fixture
def option(monkeypatch):
    """Give all clients the option `tracing`, as if they had been made with it."""
    monkeypatch.delenv(VARIABLE, raising=False)

    def option(value):
        monkeypatch.setattr(ClientOptions, "tracing", value, raising=False)

    return option


@pytest.mark.parametrize(
    ("value", "variable", "is_on"),
    [
        (None, "", False),
        (None, "0", False),
        (None, " True ", True),
        ({"enabled": True}, "", True),
        ({"enabled": False}, "", False),
        ({"enabled": False}, "yes", True),
    ],
)
def test_native_tracing(option, monkeypatch, value, variable, is_on):
    """A client makes spans by itself if its option or the variable says so."""
    option(value)
    monkeypatch.setenv(VARIABLE, variable)
    with MongoClient(connect=False) as client:
        assert is_traced_natively(client) is is_on
    assert has_native_tracing()
    assert not is_traced_natively(None)


def test_a_variable_that_this_pymongo_does_not_know(monkeypatch):
    """Where PyMongo has no tracing of its own, its variable switches nothing off."""
    monkeypatch.setenv(VARIABLE, "true")
    with MongoClient(connect=False) as client:
        assert not is_traced_natively(client)


def hook(*_):
    """Never called."""


@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        ({}, "WARNING", ["Without effect: query_text."]),
        ({"query_text": "off"}, "WARNING", []),
        (
            {"request_hook": hook},
            "WARNING",
            ["Without effect: request_hook, query_text."],
        ),
        ({"on_conflict": "defer"}, "INFO", ["Without effect: query_text."]),
        ({"on_conflict": "replace"}, "WARNING", ["cannot turn it off", VARIABLE]),
    ],
)
def test_what_is_said(option, telemetry, caplog, settings, level, said):
    """The first such client has it said that our spans give way, and what is not used then."""
    caplog.set_level(logging.INFO, "otel_mongo_apm._setup")
    option({"enabled": True})
    MongoInstrumentor().instrument(**telemetry.providers, **settings)
    for _ in range(2):
        MongoClient(connect=False).close()

    (record,) = caplog.records
    assert record.levelname == level
    assert "otel-mongo-apm creates no spans of commands" in record.message
    assert all(each in record.message for each in said)
    assert ("Without effect" in record.message) is bool(said)


@pytest.mark.parametrize("way", ["passed", "existing"])
def test_other_ways_to_instrument(option, telemetry, caplog, way):
    """So has one whose listeners were passed, and one that was there already."""
    option({"enabled": True})
    listeners = event_listeners(**telemetry.providers) if way == "passed" else []
    with MongoClient(connect=False, event_listeners=listeners) as client:
        if way == "existing":
            instrument_client(client, **telemetry.providers)

    (record,) = caplog.records
    assert "PyMongo's own tracing is on" in record.message
