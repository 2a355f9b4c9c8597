"""MongoInstrumentor: which clients get listeners, and which not."""

from __future__ import annotations

import functools
import gc
import inspect
import subprocess
import sys

import pymongo
import pytest
from opentelemetry._logs import LoggerProvider
from pymongo import monitoring

import otel_mongo_apm
from otel_mongo_apm import MongoInstrumentor, event_listeners
from otel_mongo_apm._driver.classes import client_classes
from otel_mongo_apm._setup.client import LISTENERS


class UsersListener(monitoring.CommandListener):
    """Somebody else's."""

    def started(self, event):
        pass

    succeeded = failed = started


def ours(client: pymongo.MongoClient) -> list[object]:
    listeners = client.options.event_listeners
    return [listener for listener in listeners if isinstance(listener, LISTENERS)]


@pytest.fixture
def instrument(telemetry):
    """Instrument with the test's providers."""

    def instrument(**keywords):
        MongoInstrumentor().instrument(**telemetry.providers, **keywords)

    return instrument


def connected_lazily(cls: type = pymongo.MongoClient, **keywords):
    return cls("mongodb://127.0.0.1:1", connect=False, **keywords)


@pytest.mark.parametrize("cls", list(client_classes()))
def test_each_client_has_a_set_of_its_own(instrument, cls):
    """Every client gets listeners, and shares them with none."""
    instrument()
    one, other = ours(connected_lazily(cls)), ours(connected_lazily(cls))

    assert one
    assert other
    assert not set(one) & set(other)


def test_the_listeners_of_others_stay(instrument, monkeypatch):
    """Listeners that are passed, and those that are registered for all, are kept."""
    monkeypatch.setattr(
        monitoring, "_LISTENERS", monitoring._Listeners(*([] for _ in monitoring._LISTENERS))
    )
    everybodys, mine = UsersListener(), UsersListener()
    monitoring.register(everybodys)
    instrument()
    client = connected_lazily(event_listeners=(mine,))

    listeners = client.options.event_listeners
    assert everybodys in listeners
    assert mine in listeners
    assert ours(client)


def test_a_clone_has_a_set_of_its_own(instrument):
    """A client that PyMongo makes from another's options has one set, and other settings never."""
    instrument()
    mine = UsersListener()
    client = connected_lazily(event_listeners=[*event_listeners(query_text="off"), mine])
    clone = client._duplicate()

    assert len(ours(clone)) == len(ours(client))
    assert not set(ours(clone)) & set(ours(client))
    assert ours(clone)[0].telemetry is ours(client)[0].telemetry
    assert mine in clone.options.event_listeners


def test_listeners_of_a_client_that_is_gone(instrument):
    """Listeners that another client had are replaced, even if that one is gone."""
    instrument()
    listeners = event_listeners(query_text="off")
    client = connected_lazily(event_listeners=listeners)
    assert listeners[0].client() is client
    del client
    gc.collect()

    assert not set(ours(connected_lazily(event_listeners=listeners))) & set(listeners)


def test_listeners_that_were_passed_are_enough(instrument, telemetry):
    """A client with `event_listeners()` of ours gets no second set."""
    instrument()
    listeners = event_listeners(**telemetry.providers)

    assert set(ours(connected_lazily(event_listeners=listeners))) == set(listeners)


def test_the_client_of_mongocryptd_is_left_alone(instrument):
    """What PyMongo's encryption sends to mongocryptd is plaintext, and so not ours to see."""
    instrument()
    in_encryption = {"__name__": "pymongo.synchronous.encryption", "pymongo": pymongo}
    exec("client = pymongo.MongoClient('127.0.0.1:1', connect=False)", in_encryption)

    assert ours(in_encryption["client"]) == []


def test_a_provider_that_fails(telemetry, caplog):
    """A client is made without listeners rather than not at all, and the log says why."""

    class Failing(LoggerProvider):
        def get_logger(self, *_, **__):
            raise ZeroDivisionError

    MongoInstrumentor().instrument(**telemetry.providers, logger_provider=Failing())

    assert ours(connected_lazily()) == []
    assert "ZeroDivisionError" in caplog.text


def test_wrong_listeners_are_pymongos_to_refuse(instrument):
    """What PyMongo would refuse it still refuses, in its own words."""
    instrument()

    with pytest.raises((TypeError, pymongo.errors.ConfigurationError)):
        connected_lazily(event_listeners=5)


def test_constructors_look_the_same(instrument):
    """Signature, name and documentation of the constructor are PyMongo's."""
    before = inspect.signature(pymongo.MongoClient)
    instrument()

    assert inspect.signature(pymongo.MongoClient) == before
    assert pymongo.MongoClient.__init__.__doc__ == pymongo.MongoClient.__init__.__wrapped__.__doc__


def test_undone(instrument):
    """After `uninstrument()` a new client has no listener of ours."""
    original = pymongo.MongoClient.__init__
    instrument()
    MongoInstrumentor().uninstrument()

    assert pymongo.MongoClient.__init__ is original
    assert ours(connected_lazily()) == []


def test_undone_under_somebody_elses_wrapper(instrument):
    """Where our wrapper cannot be taken out, it does nothing any more."""
    original = pymongo.MongoClient.__init__
    instrument()
    wrapped = pymongo.MongoClient.__init__
    try:
        pymongo.MongoClient.__init__ = functools.partialmethod(wrapped)
        MongoInstrumentor().uninstrument()
        client = connected_lazily()
    finally:
        pymongo.MongoClient.__init__ = original

    assert ours(client) == []


def test_twice_is_once(instrument, caplog):
    """A second `instrument()` without settings is refused with a warning."""
    instrument()
    MongoInstrumentor().instrument()
    MongoInstrumentor().instrument(skip_dep_check=True, query_text=None)

    listeners = ours(connected_lazily())
    assert len(listeners) == len({type(listener) for listener in listeners})
    assert caplog.text.count("already instrumented") == 2


def test_a_wrong_keyword_leaves_everything_alone(telemetry):
    """`instrument()` with a wrong keyword raises and instruments nothing."""
    with pytest.raises(ValueError, match="'off', 'sanitized', 'raw'"):
        MongoInstrumentor().instrument(query_text="some", **telemetry.providers)

    assert not MongoInstrumentor().is_instrumented_by_opentelemetry
    assert ours(connected_lazily()) == []


def test_what_is_off_is_not_registered(telemetry):
    """With nothing to tell there are no listeners."""
    off = {"command_spans": False, "metrics": False, "events": "none"}

    assert event_listeners(**off, **telemetry.providers) == []


def test_public_names():
    """The public names are these, and each can be imported."""
    assert otel_mongo_apm.__all__ == sorted(otel_mongo_apm.__all__)
    assert set(otel_mongo_apm.__all__) == {
        "FailedHook",
        "MongoInstrumentor",
        "RequestHook",
        "ResponseHook",
        "Settings",
        "__version__",
        "event_listeners",
        "instrument_client",
    }
    assert all(getattr(otel_mongo_apm, name) for name in otel_mongo_apm.__all__)
    assert set(otel_mongo_apm.__all__) <= set(dir(otel_mongo_apm))
    with pytest.raises(AttributeError, match="nothing"):
        _ = otel_mongo_apm.nothing


def test_the_import_imports_nothing():
    """To import the package imports neither PyMongo nor the SDK; nor do the instrumentor's."""
    program = (
        "import sys, otel_mongo_apm; otel_mongo_apm.MongoInstrumentor; otel_mongo_apm.Settings;"
        "print({'pymongo', 'bson', 'opentelemetry.sdk'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    assert output.stdout.strip() == b"set()"
