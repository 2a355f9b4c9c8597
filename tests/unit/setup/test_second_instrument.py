"""A second `instrument()`, as in an application that runs under `opentelemetry-instrument`."""

from __future__ import annotations

import dataclasses
import gc
import re
import weakref
from pathlib import Path

import pymongo
import pytest
from events import failed, started, succeeded
from in_memory import InMemoryTelemetry

from otel_mongo_apm import MongoInstrumentor, Settings, event_listeners, instrument_client
from otel_mongo_apm._commands.listener import CommandTelemetry
from otel_mongo_apm._settings.changes import CHANGEABLE
from otel_mongo_apm._setup.client import ours_among

FIND = {"find": "users", "filter": {"name": "alice"}, "$db": "shop"}


@pytest.fixture(autouse=True)
def _zero_code(telemetry):
    """What `opentelemetry-instrument` has done before the application begins."""
    MongoInstrumentor().instrument(**telemetry.providers, skip_dep_check=True)


def made(**keywords):
    return pymongo.MongoClient("mongodb://127.0.0.1:1", connect=False, **keywords)


def commands_of(client):
    (listener,) = [
        each for each in client.options.event_listeners if isinstance(each, CommandTelemetry)
    ]
    return listener


def find(client, end=None):
    commands = commands_of(client)
    commands.started(started(FIND))
    if end is None:
        commands.succeeded(succeeded("find"))
    else:
        commands.failed(end)


def text(telemetry):
    return telemetry.spans[-1].attributes.get("db.query.text")


def test_clients_to_come(telemetry):
    """Clients that are made after it have its settings."""
    MongoInstrumentor().instrument(query_text="raw")
    find(made())

    assert "alice" in text(telemetry)


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
def test_clients_that_are_there(telemetry, convention):
    """The text of clients that are there changes, in either convention, and can change again."""
    MongoInstrumentor().instrument(span_convention=convention, query_text="sanitized")
    client = made()
    find(client)
    assert "alice" not in text(telemetry)
    for wanted, is_shown in (("raw", True), ("sanitized", False)):
        MongoInstrumentor().instrument(query_text=wanted)
        find(client)
        assert ("alice" in text(telemetry)) is is_shown
    MongoInstrumentor().instrument(query_text="off")
    find(client)

    assert text(telemetry) is None


def test_hooks(telemetry):
    """Hooks are called for clients that are there."""
    client, called = made(), []
    MongoInstrumentor().instrument(
        request_hook=lambda span, event: called.append("request"),
        response_hook=lambda span, event: called.append("response"),
        failed_hook=lambda span, event: called.append("failed"),
    )
    find(client)
    find(client, failed("find", {"code": 2}))

    assert called == ["request", "response", "request", "failed"]


@pytest.mark.parametrize(
    "excluded",
    [
        {"exclude_commands": ["find"]},
        {"exclude_databases": ["shop"]},
        {"exclude_collections": ["shop.users"]},
        {"require_parent": True},
    ],
)
def test_exclusions(telemetry, excluded):
    """What is excluded has no spans of clients that are there, even if it had some before."""
    client = made()
    find(client)
    MongoInstrumentor().instrument(**excluded)
    find(client)

    assert len(telemetry.spans) == 1


def test_error_messages(telemetry):
    """So with messages of the server."""
    client = made()
    MongoInstrumentor().instrument(error_messages=True)
    find(client, failed("find", {"code": 2, "errmsg": "quoted"}))

    assert telemetry.span.status.description == "quoted"


def test_waits():
    """And with how long a wait must be to have a span."""
    listener = next(each for each in made().options.event_listeners if hasattr(each, "waits"))
    MongoInstrumentor().instrument(wait_span_threshold=3)

    assert listener.waits.threshold == 3.0


def test_in_the_middle_of_a_command(telemetry):
    """A command that is on its way meanwhile has one span, which ends."""
    commands = commands_of(made())
    commands.started(started(FIND))
    MongoInstrumentor().instrument(query_text="off", exclude_commands=["find"])
    commands.succeeded(succeeded("find"))

    assert telemetry.started_and_ended == (1, 1)


def test_what_is_not_named_stays(telemetry):
    """What a call does not name stays as an earlier one has set it."""
    MongoInstrumentor().instrument(query_text="raw")
    MongoInstrumentor().instrument(exclude_databases=["scratch"])
    find(made())

    assert "alice" in text(telemetry)


def test_an_alias_counts_as_what_it_stands_for(telemetry):
    """`capture_statement` overrides an earlier `query_text`, and that one an earlier alias."""
    MongoInstrumentor().instrument(query_text="off")
    MongoInstrumentor().instrument(capture_statement=True)
    client = made()
    find(client)
    assert "alice" in text(telemetry)
    MongoInstrumentor().instrument(query_text="off")
    find(client)

    assert text(telemetry) is None


def test_what_cannot_change(telemetry):
    """Clients that are there keep their providers; those to come have the new ones."""
    client, other = made(), InMemoryTelemetry()
    MongoInstrumentor().instrument(**other.providers, metrics=False)
    find(client)
    find(made())

    assert len(telemetry.spans) == len(other.spans) == 1
    assert telemetry.points("db.client.operation.duration")
    assert other.points("db.client.operation.duration") == []
    other.shutdown()


def test_another_convention(telemetry):
    """Clients to come can have another convention."""
    MongoInstrumentor().instrument(span_convention="mongodb")
    with (
        made(serverSelectionTimeoutMS=1) as client,
        pytest.raises(pymongo.errors.ServerSelectionTimeoutError),
    ):
        client.shop.users.find_one()

    assert telemetry.named("find shop.users")
    MongoInstrumentor().uninstrument()


def test_other_clients_are_left_alone(telemetry):
    """Clients with settings of their own keep them."""
    passed = made(event_listeners=event_listeners(**telemetry.providers))
    MongoInstrumentor().uninstrument()
    existing = made()
    instrument_client(existing, **telemetry.providers)
    MongoInstrumentor().instrument(**telemetry.providers)
    MongoInstrumentor().instrument(query_text="off")
    for client in (passed, existing):
        find(client)
        assert text(telemetry) is not None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"query_text": "some"}, ValueError),
        ({"query": "off"}, TypeError),
        ({"metrics": 1}, TypeError),
    ],
)
def test_wrong_settings_change_nothing(telemetry, wrong, error):
    """Settings that are refused leave all as it was, whatever else was right."""
    client = made()
    with pytest.raises(error):
        MongoInstrumentor().instrument(exclude_databases=["shop"], **wrong)
    find(client)
    find(made())

    assert len(telemetry.spans) == 2


def test_undone(telemetry):
    """`uninstrument()` undoes all that was done, and the next `instrument()` begins anew."""
    first = made()
    MongoInstrumentor().instrument(query_text="off", span_convention="mongodb")
    second = made()
    MongoInstrumentor().uninstrument()
    for client in (first, second):
        find(client)
    assert telemetry.spans == ()
    assert ours_among(made().options.event_listeners) == []
    MongoInstrumentor().instrument(**telemetry.providers)
    find(made())

    assert text(telemetry) is not None


def test_nothing_piles_up(telemetry):
    """Settings of earlier calls are gone with the clients that had them."""
    earlier = weakref.ref(commands_of(made()).telemetry)
    for _ in range(3):
        MongoInstrumentor().instrument(**telemetry.providers, query_text="off")
    gc.collect()

    assert earlier() is None


@pytest.mark.parametrize("settings", [Settings(query_text="raw"), Settings(exclude_commands=["x"])])
def test_a_settings_object(telemetry, settings):
    """A `Settings` object is taken by all three functions; a keyword beside it counts more."""
    given = dataclasses.replace(settings, **telemetry.providers)
    MongoInstrumentor().instrument(given, exclude_databases=["scratch"])
    plain = made()
    passed = made(event_listeners=event_listeners(given, exclude_databases=["scratch"]))
    MongoInstrumentor().uninstrument()
    existing = made()
    instrument_client(existing, given, exclude_databases=["scratch"])

    wanted = dataclasses.replace(given, exclude_databases=frozenset({"scratch"}))
    for client in (plain, passed, existing):
        assert commands_of(client).telemetry.settings == wanted
    with pytest.raises(TypeError, match="Not a Settings object"):
        event_listeners({"query_text": "off"})


def test_what_can_change_is_documented():
    """The documentation lists what changes for clients that exist, and what does not."""
    page = (Path(__file__).parents[3] / "docs" / "zero-code.md").read_text(encoding="utf-8")
    changes, stays = (
        set(re.findall(r"`(\w+)`", page.partition(heading)[2].split("|")[1]))
        for heading in (
            "| Changes for existing clients ",
            "| Does not change for existing clients ",
        )
    )

    assert changes == {*CHANGEABLE, "capture_statement"}
    assert stays == {field.name for field in dataclasses.fields(Settings)} - changes
