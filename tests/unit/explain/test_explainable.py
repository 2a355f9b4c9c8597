"""What can be explained: commands that an `explain` would not run, and that it understands."""

from __future__ import annotations

import pytest

from otel_mongo_apm._explain.explainable import explanation_of

SESSION = {
    "lsid": {"id": b"0"},
    "$db": "shop",
    "$clusterTime": {"clusterTime": 1},
    "$readPreference": {"mode": "secondary"},
    "readConcern": {"level": "majority"},
    "writeConcern": {"w": 1},
    "txnNumber": 7,
    "maxTimeMS": 100,
    "comment": "mine",
    "apiVersion": "1",
}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("find", {"find": "orders", "filter": {"a": 1}, "sort": {"b": -1}, "hint": "a_1"}),
        ("aggregate", {"aggregate": "orders", "pipeline": [{"$match": {}}], "cursor": {}}),
        ("count", {"count": "orders", "query": {"a": 1}}),
        ("distinct", {"distinct": "orders", "key": "a", "query": {"b": 1}}),
        ("findAndModify", {"findAndModify": "orders", "query": {"a": 1}, "remove": True}),
        ("update", {"update": "orders", "updates": [{"q": {"a": 1}, "u": {"$set": {"b": 1}}}]}),
        ("delete", {"delete": "orders", "deletes": [{"q": {"a": 1}, "limit": 1}]}),
    ],
)
def test_commands(name, command):
    """These are explained as they were sent, without what belongs to the sending."""
    assert explanation_of(name, {**command, **SESSION}) == {
        "explain": command,
        "verbosity": "queryPlanner",
    }


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("insert", {"insert": "orders", "documents": [{}]}),
        ("getMore", {"getMore": 7, "collection": "orders"}),
        ("aggregate", {"aggregate": "orders", "pipeline": [{"$match": {}}, {"$out": "totals"}]}),
        ("aggregate", {"aggregate": "orders", "pipeline": [{"$merge": {"into": "totals"}}]}),
        ("aggregate", {"aggregate": 1, "pipeline": [{"$changeStream": {}}]}),
        ("aggregate", {"aggregate": "orders", "pipeline": "none"}),
        ("aggregate", {"aggregate": "orders", "pipeline": [7]}),
        ("update", {"update": "orders", "updates": [{}, {}]}),
        ("update", {"update": "orders", "updates": 5}),
        ("delete", {"delete": "orders"}),
        ("find", {"find": "orders", "autocommit": False}),
        ("find", {"find": "orders", "startTransaction": True, "autocommit": False}),
    ],
)
def test_what_is_not_explained(name, command):
    """Writes of documents, what has no end, several writes at once, and transactions are not."""
    assert explanation_of(name, command) is None


def test_the_command_stays():
    """The application's document is not changed."""
    command = {"find": "orders", "filter": {"a": 1}, **SESSION}
    before = dict(command)
    explanation_of("find", command)

    assert command == before
