"""PyMongo's private names: what happens where one is not what it was."""

from __future__ import annotations

import asyncio
import logging
import threading

import pymongo
import pytest

from otel_mongo_apm._driver import background, classes, clients, listeners, private_names
from otel_mongo_apm._driver.wrapping import Wrapping
from otel_mongo_apm._otel.shield import shielded
from otel_mongo_apm._waits.selection import _wrap_all


@pytest.fixture
def client():
    return pymongo.MongoClient("mongodb://127.0.0.1:1/?appName=billing", connect=False)


def test_what_is_known_of_a_client(client):
    """A client's description, topology ID and application are found."""
    assert clients.topology_description(client) is client.topology_description
    assert clients.topology_id(client) is not None
    assert clients.app_name(client) == "billing"


def test_a_client_in_the_making():
    """Of a client whose constructor has not yet run nothing is known, and no database made."""
    client = pymongo.MongoClient.__new__(pymongo.MongoClient)

    assert clients.topology_description(client) is None
    assert clients.topology_id(client) is None
    assert clients.app_name(client) is None


def test_a_client_without_an_application():
    """A client need not name its application."""
    assert clients.app_name(pymongo.MongoClient("127.0.0.1:1", connect=False)) is None


def test_a_topology_of_nobody(caplog):
    """A topology that was made without a client has no listeners, and nothing is missing."""

    class Topology:
        _listeners = None

    assert listeners.listeners_of(Topology()) == []
    assert caplog.records == []


def test_server_selection_that_is_not_what_it_was(monkeypatch, caplog):
    """A server selection with other parameters is left alone, and one warning says what is lost."""
    ((cls, _), *_) = list(classes.topology_classes())
    caplog.clear()
    monkeypatch.setattr(cls, "select_server", lambda self, wanted: wanted)
    original = cls.select_server
    undo = Wrapping(_wrap_all).begin()

    assert cls.select_server is original
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "select_server(selector, operation): waits for a server have no spans" in record.message
    undo()


def test_no_module_of_that_name(monkeypatch, caplog):
    """A module that has gone costs what was in it, and one warning each."""
    monkeypatch.setattr(private_names, "_module", lambda _: None)

    assert list(classes.topology_classes()) == []
    assert len(caplog.records) >= 1


def test_modules():
    """A module that is not there is none."""
    assert private_names._module("pymongo.nothing") is None
    assert private_names._module("pymongo") is pymongo


def test_a_topology_without_listeners():
    """A topology that does not tell its listeners has none of ours."""
    assert listeners.listeners_of(object()) == []


def test_background():
    """PyMongo's own threads and tasks are told from others."""
    found = {}

    def look(name):
        found[name] = background.is_background()

    async def look_in_task(name):
        look(name)

    async def look_in_tasks():
        for name in ("pymongo_kill_cursors_task", "request"):
            await asyncio.create_task(look_in_task(name), name=name)

    for name in ("pymongo_kill_cursors_thread", "worker"):
        thread = threading.Thread(target=look, args=(name,), name=name)
        thread.start()
        thread.join()
    asyncio.run(look_in_tasks())

    assert found == {
        "pymongo_kill_cursors_thread": True,
        "worker": False,
        "pymongo_kill_cursors_task": True,
        "request": False,
    }


def test_shielded(caplog):
    """What is shielded does not raise; it is logged."""

    def fails():
        raise ZeroDivisionError

    shielded(fails)()

    assert "fails" in caplog.text
    assert "ZeroDivisionError" in caplog.text


class ClientOfTomorrow:
    """Keeps its listeners otherwise."""

    def __init__(self, **state):
        self.__dict__.update(state)


@pytest.mark.parametrize("state", [{}, {"_event_listeners": ClientOfTomorrow()}])
def test_listeners_that_are_kept_otherwise(caplog, state):
    """Where PyMongo keeps its listeners otherwise nothing is changed, and one warning says so."""
    assert not listeners.change_listeners(ClientOfTomorrow(**state), [], [])
    assert not listeners.change_listeners(ClientOfTomorrow(**state), [], [])

    (record,) = caplog.records
    assert "clients that were made before cannot be instrumented" in record.message


def test_a_client_without_a_topology(caplog):
    """A client that has no topology is told of without its cluster, and one warning says so."""
    clients.check(ClientOfTomorrow())
    clients.check(ClientOfTomorrow())

    (record,) = caplog.records
    assert "lacks client._topology: clusters are not told of" in record.message


def test_native_tracing(client):
    """Whether a client makes spans by itself is asked of its options, if they say so."""
    assert not clients.is_traced_natively(None)
    assert not clients.is_traced_natively(client)
    client.options.tracing = {"enabled": False}
    assert not clients.is_traced_natively(client)
    client.options.tracing = {"enabled": True}
    assert clients.is_traced_natively(client)
