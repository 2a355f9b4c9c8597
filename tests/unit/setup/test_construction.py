"""Constructors of clients: what they do for the user is what they did without us."""

from __future__ import annotations

import gc
import logging
import sys
import types
import warnings
import weakref

import pymongo
import pytest
from pymongo import monitoring

from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client
from otel_mongo_apm._driver import clients, keywords, private_names
from otel_mongo_apm._driver.classes import client_classes
from otel_mongo_apm._otel import shield
from otel_mongo_apm._setup import construction
from otel_mongo_apm._setup.client import client_telemetry, ours_among

CLIENTS = list(client_classes())
COSMOS = "mongodb://account.mongo.cosmos.azure.com:27017"


class UsersListener(monitoring.CommandListener):
    """Somebody else's."""

    def started(self, event):
        pass

    succeeded = failed = started


def ours(client):
    return ours_among(client.options.event_listeners)


def made(cls=pymongo.MongoClient, host="mongodb://127.0.0.1:1", **keywords):
    return cls(host, connect=False, **keywords)


@pytest.fixture(autouse=True)
def _unheard(monkeypatch):
    """The shield has not heard of any failure yet, and will not have when others ask it."""
    monkeypatch.setattr(shield, "_silent_until", {})


@pytest.fixture
def instrumented(telemetry):
    MongoInstrumentor().instrument(**telemetry.providers)


@pytest.mark.parametrize("cls", CLIENTS)
@pytest.mark.parametrize("given", [{}, {"event_listeners": (UsersListener(),)}])
def test_repr(telemetry, cls, given):
    """A client shows what the user has given it, and nothing of ours."""
    before = repr(made(cls, tz_aware=True, **given).shop.users)
    MongoInstrumentor().instrument(**telemetry.providers)
    client = made(cls, tz_aware=True, **given)

    assert repr(client.shop.users) == before
    assert ours(client)


@pytest.mark.usefixtures("instrumented")
def test_repr_makes_the_same_client():
    """What a client shows makes an equal client."""
    client = made()

    assert eval(repr(client), {"MongoClient": pymongo.MongoClient}) == client


def test_repr_of_listeners(telemetry):
    """Listeners that the user passes are shown without addresses."""
    client = made(event_listeners=event_listeners(**telemetry.providers))

    assert "<otel_mongo_apm CommandTelemetry>" in repr(client)
    assert " at 0x" not in repr(client)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("cls", CLIENTS)
def test_warnings_point_at_the_user(cls):
    """What PyMongo warns of while it makes a client is said to come from the user's line."""
    with pytest.warns(UserWarning, match="CosmosDB") as caught:
        made(cls, COSMOS)

    assert (caught[0].filename, caught[0].lineno) == (__file__, made.__code__.co_firstlineno + 1)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("cls", CLIENTS)
def test_who_made_a_client(cls):
    """Where PyMongo tells who made a client that is never closed, it tells the user's frames."""
    stack = made(cls)._topology_settings._stack

    assert "otel_mongo_apm" not in stack
    assert f'File "{__file__}"' in stack


@pytest.mark.usefixtures("instrumented")
def test_keywords_in_capitals():
    """PyMongo takes keywords in capitals, too; the listeners of such a one are kept."""
    mine = UsersListener()
    client = made(Event_Listeners=[mine])

    assert mine in client.options.event_listeners
    assert ours(client)


def test_a_clone_has_a_set_of_its_own(telemetry):
    """So has one of a client with `event_listeners()`, even if nobody called `instrument()`."""
    client = made(event_listeners=event_listeners(**telemetry.providers))
    clone = client._duplicate()

    assert len(ours(clone)) == len(ours(client)) > 0
    assert not set(ours(clone)) & set(ours(client))
    assert ours(clone)[0].client() is clone
    assert ours(clone)[0].telemetry is ours(client)[0].telemetry


def test_a_set_for_two_clients(telemetry, caplog):
    """Of two clients with one set the second gets a set of its own; that is said, and said how."""
    listeners = event_listeners(**telemetry.providers)
    one, other = made(event_listeners=listeners), made(event_listeners=listeners)

    assert ours(one)[0].client() is one
    assert ours(other)[0].client() is other
    assert not set(ours(one)) & set(ours(other))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Call event_listeners() once for each client" in record.message


def test_a_set_of_a_client_that_is_gone(telemetry, caplog):
    """The set of a client that is gone is not that of the next, and nothing is wrong with that."""
    listeners = event_listeners(**telemetry.providers)
    gone = weakref.ref(made(event_listeners=listeners))
    gc.collect()
    assert gone() is None
    client = made(event_listeners=listeners)

    assert ours(client)[0].client() is client
    assert caplog.records == []


@pytest.mark.usefixtures("instrumented")
def test_frames_without_a_name():
    """A client can be made by code whose globals have no module's name, or anything for one."""
    for name in (None, 5, UsersListener()):
        names = {"__name__": name, "MongoClient": pymongo.MongoClient}
        exec("client = MongoClient('127.0.0.1:1', connect=False)", names)

        assert ours(names["client"])


@pytest.mark.usefixtures("instrumented")
def test_modules_that_are_stubs(monkeypatch, caplog):
    """It can be made where a module of PyMongo's is a stub without a `__spec__`."""
    for name in clients._ENCRYPTION_MODULES:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    private_names.is_there.cache_clear()

    assert ours(made())
    assert caplog.records == []


def fails(*_, **__):
    raise ZeroDivisionError


WITHIN_CONSTRUCTORS = [
    (construction, "check"),
    (construction, "forget_frame"),
    (construction, "hide_ours"),
    (construction, "client_listeners"),
    (construction, "is_made_by_encryption"),
    (construction, "keyword_among"),
    (construction, "ours_among"),
    (construction, "resolve_conflict"),
    (private_names, "find_spec"),
    (keywords, "warn_of_loss"),
]


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize(("module", "name"), WITHIN_CONSTRUCTORS)
def test_whatever_fails(monkeypatch, module, name):
    """Whatever of ours fails while a client is made, the client is made, and works, and closes."""
    monkeypatch.setattr(module, name, fails)
    private_names.is_there.cache_clear()
    client = made()

    assert client.options.event_listeners is not None
    client.close()


@pytest.mark.usefixtures("instrumented")
def test_encryption_that_cannot_be_told(monkeypatch):
    """Where it cannot be told who makes a client it has no listeners: it may be mongocryptd's."""
    monkeypatch.setattr(construction, "is_made_by_encryption", fails)

    assert ours(made()) == []


@pytest.mark.usefixtures("instrumented")
def test_an_argument_that_is_refused():
    """What PyMongo refuses it refuses in its own words, with the same exception."""
    with pytest.raises(pymongo.errors.ConfigurationError, match="hello"):
        made(hello=1)


@pytest.mark.usefixtures("instrumented")
def test_no_warnings():
    """A client is made without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = made()
    instrument_client(client)

    assert client_telemetry(ours(client)[0]).client() is client
