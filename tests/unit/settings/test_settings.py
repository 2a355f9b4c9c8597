"""Settings: where they come from, and what is said of wrong ones."""

from __future__ import annotations

import functools
import logging
import re

import pytest

from otel_mongo_apm import Settings, environment_variables
from otel_mongo_apm._settings import environment, settings


def test_defaults():
    """What nobody set is as documented."""
    settings = Settings.resolve()

    assert settings == Settings()
    assert settings.query_text == "sanitized"
    assert settings.query_text_max_length == 1024
    assert settings.command_spans
    assert settings.metrics
    assert not settings.error_messages


def test_a_keyword_beats_a_variable(monkeypatch):
    """A keyword beats a variable, which beats the default."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TEXT", "off")
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TEXT_MAX_LENGTH", "99")

    settings = Settings.resolve(query_text="raw")

    assert settings.query_text == "raw"
    assert settings.query_text_max_length == 99


def test_none_is_as_if_not_given(monkeypatch):
    """None leaves the decision to the variable."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_METRICS", "off")

    assert not Settings.resolve(metrics=None, request_hook=None).metrics


async def awaited(span, event):
    """No hook: nobody awaits it."""


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("METRICS", "false", "metrics", False),
        ("ERROR_MESSAGES", "True", "error_messages", True),
        ("REQUIRE_PARENT", "1", "require_parent", True),
        ("QUERY_TEXT", "RAW", "query_text", "raw"),
        ("QUERY_TEXT_KEYS", "masked", "query_text_keys", "masked"),
        ("EXCLUDE_COMMANDS", "ping, hello,", "exclude_commands", {"ping", "hello"}),
        ("CAPTURE_STATEMENT", "true", "query_text", "raw"),
        ("CAPTURE_STATEMENT", "false", "query_text", "sanitized"),
        ("METRICS", "", "metrics", True),
    ],
)
def test_variables(monkeypatch, variable, text, name, value):
    """A variable's text is read as one would write it; an empty one is none."""
    monkeypatch.setenv(f"OTEL_PYTHON_MONGO_APM_{variable}", text)

    assert getattr(Settings.resolve(), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("METRICS", "maybe"),
        ("QUERY_TEXT", "some"),
        ("QUERY_TEXT_MAX_LENGTH", "long"),
        ("QUERY_TEXT_MAX_LENGTH", "0"),
    ],
)
def test_a_wrong_variable(monkeypatch, caplog, variable, text):
    """A wrong variable is ignored, with one warning that names it and what it accepts."""
    monkeypatch.setenv(f"OTEL_PYTHON_MONGO_APM_{variable}", text)

    assert Settings.resolve() == Settings.resolve() == Settings()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"OTEL_PYTHON_MONGO_APM_{variable}='{text}'" in record.message
    assert "Accepted: " in record.message


@pytest.mark.parametrize("text", ["long", "-1", "9" * 5000])
def test_a_wrong_variable_of_drivers(monkeypatch, caplog, text):
    """That of MongoDB's drivers, too, is ignored with one warning."""
    monkeypatch.setenv(environment.DRIVERS_QUERY_TEXT_VARIABLE, text)

    assert Settings.resolve(span_convention="mongodb").query_text == "off"
    (record,) = caplog.records
    assert f"{environment.DRIVERS_QUERY_TEXT_VARIABLE}='{text}'" in record.message


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (
            {"query_text": "some"},
            ValueError,
            "Invalid query_text: 'some'. Accepted: 'off'",
        ),
        (
            {"query_text": 1},
            TypeError,
            "Invalid query_text: 1. Accepted: 'off'",
        ),
        ({"metrics": "yes"}, TypeError, "True, False"),
        ({"capture_statement": "yes"}, TypeError, "True, False"),
        ({"query_text_max_length": 0}, ValueError, "at least 1"),
        ({"query_text_max_length": True}, TypeError, "at least 1"),
        ({"wait_span_threshold": -1}, ValueError, "at least 0"),
        ({"wait_span_threshold": float("nan")}, ValueError, "at least 0"),
        ({"wait_span_threshold": 10**400}, ValueError, "at least 0"),
        ({"exclude_commands": [1]}, TypeError, "names"),
        ({"exclude_commands": 1}, TypeError, "names"),
        (
            {"exclude_commands": ["FIND"]},
            ValueError,
            "MongoDB commands (find, getMore)",
        ),
        ({"exclude_commands": ["getmore"]}, ValueError, "find, getMore"),
        ({"exclude_commands": ["find_one"]}, ValueError, "find, getMore"),
        ({"exclude_commands": "find, get more"}, ValueError, "find, getMore"),
        ({"exclude_databases": ["shop.users"]}, ValueError, "databases (shop)"),
        ({"exclude_collections": ["shop."]}, ValueError, "collections (users, shop.users)"),
        ({"exclude_collections": [".users"]}, ValueError, "collections (users, shop.users)"),
        ({"exclude_collections": ["."]}, ValueError, "collections (users, shop.users)"),
        ({"request_hook": "print"}, TypeError, "function"),
        (
            {"request_hook": lambda span: None},
            TypeError,
            "Accepted: a function",
        ),
        ({"response_hook": lambda: None}, TypeError, "takes a span and an event"),
        ({"failed_hook": lambda a, b, c: None}, TypeError, "takes a span and an event"),
        ({"failed_hook": lambda a, b, *, c: None}, TypeError, "takes a span and an event"),
        ({"request_hook": awaited}, TypeError, "not async"),
        ({"tracer_provider": object()}, TypeError, "get_tracer()"),
        ({"meter_provider": object()}, TypeError, "get_meter()"),
        ({"queries": "raw"}, TypeError, "Unknown setting: queries. Accepted: tracer_provider,"),
    ],
)
def test_a_wrong_keyword(keywords, error, message):
    """A wrong keyword raises, naming what is accepted."""
    with pytest.raises(error, match=re.escape(message)):
        Settings.resolve(**keywords)


@pytest.mark.parametrize(
    "hook",
    [
        print,
        lambda *_: None,
        lambda span, event, more=None: None,
        functools.partial(lambda more, span, event: None, 1),
        dict.update,
        type("Hook", (), {"__call__": lambda self, span, event: None})(),
        type("Hook", (), {"hook": lambda self, span, event: None})().hook,
    ],
)
def test_hooks_of_all_kinds(hook):
    """Whatever can be called with a span and an event is a hook, however it is made."""
    assert Settings(request_hook=hook).request_hook is hook


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("exclude_commands", {"getMore", "getMores", "collstats", "_configsvrPing", "hello"}),
        ("exclude_databases", {"shop", "$external", "shop-2", "läden"}),
        (
            "exclude_collections",
            {"users", "shop.users", "system.profile", "a", "my users", "x.y.z"},
        ),
    ],
)
def test_names(name, names):
    """Names of all that there may be are accepted."""
    assert getattr(Settings(**{name: names}), name) == names


@pytest.mark.parametrize("given", ["keyword", "variable", "object"])
def test_milliseconds_for_seconds(monkeypatch, caplog, given):
    """A threshold that nobody waits for is warned of, once, with what was probably meant."""
    if given == "variable":
        monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_WAIT_SPAN_THRESHOLD", "50")
    keywords = {"wait_span_threshold": 50} if given == "keyword" else {}
    settings = [Settings(wait_span_threshold=50)] if given == "object" else []
    for _ in range(2):
        assert Settings.resolve(*settings, **keywords).wait_span_threshold == 50.0

    (record,) = caplog.records
    assert "is in seconds" in record.message
    assert "For 50 ms, set it to 0.05" in record.message
    caplog.clear()
    Settings.resolve(wait_span_threshold=1)
    assert caplog.records == []


def test_capture_statement_is_an_alias(monkeypatch):
    """`capture_statement` stands for raw text; `query_text` beside it counts more."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TEXT", "off")

    assert Settings.resolve(capture_statement=True).query_text == "raw"
    assert Settings.resolve(capture_statement=False).query_text == "off"
    assert Settings.resolve(capture_statement=True, query_text="sanitized").query_text == (
        "sanitized"
    )


def test_names_in_a_string():
    """One string is taken for a list with commas, not for its letters."""
    assert Settings(exclude_commands="find, ping").exclude_commands == {"find", "ping"}


def test_every_variable_is_a_flag():
    """`opentelemetry-instrument --help` lists every variable, each under its own name."""
    flags = {name: text for name, text in vars(environment_variables).items() if "OTEL" in name}

    assert sorted(flags) == sorted(settings.VARIABLES.values())
    assert all(name == text for name, text in flags.items())
