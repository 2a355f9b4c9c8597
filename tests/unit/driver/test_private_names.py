"""PyMongo's private names: what happens where one is not what it was."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pymongo
import pytest
from pymongo import periodic_executor
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor
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


@pytest.mark.skipif(pymongo.version_tuple < (4, 12), reason="It looks the name up at once.")
def test_a_client_that_was_closed_before_its_name_was_looked_up(telemetry):
    """A client of an SRV name that was never looked up is counted until it is closed."""
    MongoInstrumentor().instrument(**telemetry.providers)
    client = pymongo.MongoClient("mongodb+srv://nosuch.invalid", connect=False)
    before = telemetry.points("mongodb.client.instances")[0].data.value
    client.close()

    assert before == 1
    assert telemetry.points("mongodb.client.instances")[0].data.value == 0


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


async def run_by_executors(found, *names):
    """Run PyMongo's own threads and tasks, as far as it has them, and look from each."""
    kinds = [(getattr(periodic_executor, "PeriodicExecutor", None), False)]
    kinds.append((getattr(periodic_executor, "AsyncPeriodicExecutor", None), True))
    for (kind, is_async), name in zip(kinds, names, strict=True):
        if kind is None:
            continue

        def look(name=name):
            found[name] = background.is_background()
            return False

        async def look_in_task(look=look):
            await asyncio.sleep(0)
            return look()

        executor = kind(1, 0.01, look_in_task if is_async else look, name)
        executor.open()
        joined = executor.join()
        if is_async:
            await joined


def test_background():
    """PyMongo's own threads and tasks are told from others, even from such of the same names."""
    found = {}
    own = "pymongo_kill_cursors_thread", "pymongo_kill_cursors_task"

    def look(name):
        found[name] = background.is_background()

    async def look_in_task(name):
        look(name)

    async def look_in_tasks():
        await run_by_executors(found, *own)
        for name in ("pymongo_task", "request"):
            await asyncio.create_task(look_in_task(name), name=name)

    for name in ("pymongo_worker_0", "worker"):
        thread = threading.Thread(target=look, args=(name,), name=name)
        thread.start()
        thread.join()
    asyncio.run(look_in_tasks())

    others = {"pymongo_worker_0", "worker", "pymongo_task", "request"}
    assert {name for name, is_own in found.items() if not is_own} == others
    assert {name for name, is_own in found.items() if is_own} == found.keys() - others
    assert own[0] in found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="There are no eager tasks.")
@needs_async
def test_an_eager_task():
    """A task of PyMongo's is known in its first step, too, where Python has not named it yet."""
    found = []

    async def look():
        found.append(background.is_background())
        return False

    async def look_eagerly():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        executor = periodic_executor.AsyncPeriodicExecutor(1, 0.01, look, "pymongo_task")
        executor.open()
        await asyncio.sleep(0)

    asyncio.run(look_eagerly())

    assert found == [True]


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
    assert "existing clients cannot be instrumented" in record.message


def test_a_client_without_a_topology(caplog):
    """A client that has no topology is told of without its cluster, and one warning says so."""
    clients.check(ClientOfTomorrow())
    clients.check(ClientOfTomorrow())

    (record,) = caplog.records
    assert "lacks client._topology: there is no cluster telemetry" in record.message
