"""Settings from a file of declarative configuration."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest

from otel_mongo_apm import MongoInstrumentor, Settings
from otel_mongo_apm._settings import settings
from otel_mongo_apm._settings.configuration import Configuration


def keywords(**values):
    """What opentelemetry-configuration makes of a file's values: the keywords of `instrument()`."""
    configuration = MongoInstrumentor.configuration(**values)
    found = {each.name: getattr(configuration, each.name) for each in fields(configuration)}
    return {name: value for name, value in found.items() if value is not None}


def test_every_setting_that_can_be_written_down():
    """A file can say what variables can."""
    assert MongoInstrumentor.configuration is Configuration
    assert is_dataclass(Configuration)
    assert {each.name for each in fields(Configuration)} == set(settings.VARIABLES)
    assert keywords() == {}


@pytest.mark.parametrize(
    ("name", "value", "setting", "resolved"),
    [
        ("metrics", False, "metrics", False),
        ("metrics", "false", "metrics", False),
        ("query_text", "raw", "query_text", "raw"),
        ("query_text", False, "query_text", "off"),
        ("query_text_max_length", 99, "query_text_max_length", 99),
        ("query_text_max_length", "99", "query_text_max_length", 99),
        ("wait_span_threshold", 0, "wait_span_threshold", 0.0),
        ("exclude_commands", ["ping", "find"], "exclude_commands", {"ping", "find"}),
        ("exclude_commands", "ping, find", "exclude_commands", {"ping", "find"}),
        ("capture_statement", True, "query_text", "raw"),
        ("events", None, "events", "span"),
    ],
)
def test_values(caplog, name, value, setting, resolved):
    """A value is as YAML has it, where `off` without quotes is false, or a text."""
    assert getattr(Settings.resolve(**keywords(**{name: value})), setting) == resolved
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("query_text", "some", "'off', 'sanitized', 'raw'"),
        ("query_text", True, "'off', 'sanitized', 'raw'"),
        ("query_text_max_length", 0, "a number of characters, at least 1"),
        ("query_text_max_length", False, "a number of characters, at least 1"),
        ("wait_span_threshold", "long", "a number of seconds, at least 0"),
        ("wait_span_threshold", 10**400, "a number of seconds, at least 0"),
        ("exclude_commands", False, "names"),
        ("exclude_commands", [["ping"]], "names"),
        ("metrics", "maybe", "True, False"),
        ("metrics", {}, "True, False"),
    ],
)
def test_a_wrong_value(caplog, name, value, accepted):
    """A wrong value is ignored, the others count, and one warning says what is accepted."""
    assert keywords(**{name: value, "error_messages": True}) == {"error_messages": True}
    assert keywords(**{name: value}) == {}

    (record,) = caplog.records
    assert f"mongo_apm.{name}: {value!r} in the configuration file" in record.message
    assert f"Accepted: {accepted}" in record.message


def test_an_unknown_name(caplog):
    """A name that is none, or of what is an object, is ignored, with one warning."""
    assert keywords(queries="off", tracer_provider="mine", metrics=False) == {"metrics": False}

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "unknown setting mongo_apm.queries in the configuration file. Accepted: " in caplog.text
    assert "mongo_apm.tracer_provider in" in caplog.text


def test_a_file_beats_a_variable(monkeypatch):
    """What a file says counts more than a variable; what it leaves open is the variable's."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TEXT", "off")
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_METRICS", "off")

    settings = Settings.resolve(**keywords(query_text="raw"))

    assert settings.query_text == "raw"
    assert not settings.metrics
