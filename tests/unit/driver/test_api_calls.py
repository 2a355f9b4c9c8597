"""Which call of the API goes through which function of PyMongo's, and what if one is not there."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pymongo
import pytest
from pymongo import MongoClient

from otel_mongo_apm._driver import api_calls
from otel_mongo_apm._driver.api_calls import ApiCall
from otel_mongo_apm._driver.entry_points import ENTRANCES, found_entry_points
from otel_mongo_apm._driver.private_names import class_named, packages
from otel_mongo_apm._driver.wrapping import Wrapping
from otel_mongo_apm._operations.calls import _wrap_all


@pytest.fixture
def client():
    with MongoClient(connect=False) as client:
        yield client


def points():
    for entrance in ENTRANCES:
        for point in entrance.points:
            yield pytest.param(entrance, point, id=f"{entrance.names[False]}.{point.name}")


def call(method, *args, **kwargs):
    """The call that is made with a method's arguments."""
    found = next(each for each in found_entry_points() if each.name == method and not each.is_async)
    return found.call(args[0], args[1:], kwargs)


def test_all_are_found():
    """This PyMongo has all of them, in each of its packages."""
    found = {(each.cls.__module__.rpartition(".")[0], each.name) for each in found_entry_points()}

    assert {package for package, _ in found} == set(packages())
    for package in packages():
        assert {name for each, name in found if each == package} >= {
            point.name
            for entrance in ENTRANCES
            if not entrance.is_optional
            for point in entrance.points
        }


@pytest.mark.parametrize(("entrance", "point"), [*points()])
def test_one_has_other_parameters(entrance, point, monkeypatch, caplog):
    """One that cannot be understood costs all operations, and one warning names it."""
    package = next(iter(packages()))
    cls = class_named(f"{package}.{entrance.module}", entrance.names[False])
    if cls is None:
        pytest.skip("This PyMongo does not have it")
    monkeypatch.setattr(cls, point.name, lambda self, *_: None)
    for _ in range(2):
        Wrapping(_wrap_all).begin()()

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{cls.__name__}.{point.name}({', '.join(point.parameters)})" in record.message
    assert "operations have no spans" in record.message
    assert getattr(cls, point.name).__name__ == "<lambda>"


@pytest.mark.parametrize(("entrance", "point"), [*points()])
def test_one_is_gone(entrance, point, monkeypatch, caplog):
    """So does one that is no longer there."""
    package = next(iter(packages()))
    cls = class_named(f"{package}.{entrance.module}", entrance.names[False])
    if cls is None:
        pytest.skip("This PyMongo does not have it")
    monkeypatch.delattr(cls, point.name)

    assert found_entry_points() == []
    assert [f"{cls.__name__}.{point.name}" in record.message for record in caplog.records] == [True]


def test_a_class_that_some_versions_lack(monkeypatch, caplog):
    """An older PyMongo without a client's bulk writes lacks nothing."""
    monkeypatch.setattr(
        api_calls,
        "class_named",
        lambda module, name: None if "client_bulk" in module else class_named(module, name),
    )

    assert found_entry_points()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (("find", "shop", "users"), ("find", "shop", "users")),
        (("getMore", "shop", "$cmd.listCollections"), ("getMore", "shop", None)),
        (("find", "admin", "secrets"), ("find", "admin", None)),
    ],
)
def test_cursors(operation, expected):
    """A cursor's operation says where it goes."""
    name, database, collection = operation
    query = SimpleNamespace(name=name, db=database, coll=collection, session=None)

    assert call("_run_operation", None, query) == ApiCall(*expected)


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        ([{"$match": {}}], "aggregate"),
        ([], "aggregate"),
        ([{"$changeStream": {}}], "aggregate"),
        ([{"$listSearchIndexes": {}}], "listSearchIndexes"),
        (["nonsense"], "aggregate"),
    ],
)
def test_aggregations(client, pipeline, name):
    """An aggregation is named by what it is for."""

    class Aggregation:
        _target = client.shop.users
        _pipeline = pipeline

        def get_cursor(self):
            """Give the cursor."""

    made = call("_retry_internal", None, Aggregation().get_cursor, None, None, "aggregate")

    assert made == ApiCall(name, "shop", "users", command="aggregate")


def test_kinds_of_writes(client):
    """Writes of one kind are named by it, others together."""

    def bulk(*kinds):
        return SimpleNamespace(collection=client.shop.users, ops=[(kind, {}) for kind in kinds])

    names = [
        call("execute", bulk(*kinds), None, None, "insert").name
        for kinds in [(0, 0), (1,), (2, 2), (0, 2), ()]
    ]
    assert names == ["insert", "update", "delete", "bulkWrite", "bulkWrite"]


def test_killed_cursors():
    """Killed is a cursor of a namespace; an address alone tells nothing."""
    address = SimpleNamespace(namespace="shop.users.archive")

    assert call("_kill_cursors", None, [7], address) == ApiCall(
        "killCursors", "shop", "users.archive"
    )
    assert call("_kill_cursors", None, [7], ("localhost", 27017)) == ApiCall("killCursors")


def test_databases_by_object(client):
    """A database or a collection may be given as what it is, or by its name."""
    assert call("drop_database", client, client.shop) == ApiCall("dropDatabase", "shop")
    assert call("drop_database", client, name_or_database="shop") == ApiCall("dropDatabase", "shop")
    dropped = ApiCall("dropCollection", "shop", "users")
    assert call("drop_collection", client.shop, client.shop.users) == dropped
    assert call("drop_collection", client.shop, "users") == dropped


def test_bound_session(client):
    """Outside of a session's block no session is bound."""
    assert api_calls.bound_session(client) is None


def test_client_bulk_write():
    """The writes of a client go to the database admin."""
    if pymongo.version_tuple < (4, 9):
        pytest.skip("A client writes in bulk since PyMongo 4.9")
    found = next(each for each in found_entry_points() if each.entrance.module == "client_bulk")

    assert found.call(None, (), {}) == ApiCall("bulkWrite", "admin")
    owner = SimpleNamespace(client="the client")
    assert found.client(owner) == "the client"
