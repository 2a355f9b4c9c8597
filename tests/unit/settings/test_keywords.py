"""The keywords that type checkers see: those of `Settings`, with its types."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_mongo_apm import MongoInstrumentor, Settings, event_listeners, instrument_client
from otel_mongo_apm._settings import hooks, keywords, settings

# What the modules import for type checkers only.
NAMES = {
    **{cls.__name__: cls for cls in (LoggerProvider, MeterProvider, TracerProvider)},
    **vars(hooks),
}


def types(cls):
    """The annotations of a class, as they are written, but for `None`, which is the default."""
    return {
        name: getattr(annotation, "__forward_arg__", annotation).removesuffix(" | None")
        for name, annotation in cls.__annotations__.items()
    }


def test_the_fields_of_settings():
    """Each field of `Settings` is a keyword of the same type, or of one that is turned into it."""
    wanted = types(Settings)
    found = types(keywords.Keywords)
    for name in ("exclude_commands", "exclude_databases", "exclude_collections"):
        assert found.pop(name) == "Iterable[str]"
        assert wanted.pop(name) == "frozenset[str]"

    assert found.pop("capture_statement") == "bool"
    assert found == wanted
    assert types(keywords.Keywords).keys() == settings.KINDS.keys()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Literal | None needs to be evaluated")
def test_choices():
    """The choices that are named are those that are accepted."""
    hints = get_type_hints(Settings, NAMES | vars(settings))
    for field in fields(Settings):
        if choices := get_args(hints[field.name]):
            kind = settings.KINDS[field.name]
            accepted = [each for each in choices if isinstance(each, str)]
            assert all(kind.check(each) == each for each in accepted)
            assert not accepted or kind.accepted.count("'") == 2 * len(accepted)


@pytest.mark.parametrize(
    "function", [MongoInstrumentor.instrument, event_listeners, instrument_client]
)
def test_the_public_functions(function):
    """All three take a `Settings` object and the keywords, and their documentation is ours."""
    parameters = inspect.signature(function).parameters

    assert parameters["settings"].annotation == "Settings | None"
    assert "Keywords]" in parameters["keywords"].annotation
    assert function.__module__.startswith("otel_mongo_apm.")
    assert "keyword is unknown, or its" in inspect.getdoc(function)
