"""What events tell, told by pure functions."""

from __future__ import annotations

import bson
import pymongo.errors
import pytest
from bson.code import Code
from bson.raw_bson import RawBSONDocument

from otel_mongo_apm._driver.documents import batch_size, collection_name, returned_rows
from otel_mongo_apm._driver.failures import (
    Failure,
    command_failure,
    exception_failure,
    write_failure,
)
from otel_mongo_apm._otel.exceptions import exception_type


@pytest.mark.parametrize(
    ("command", "database", "collection"),
    [
        ({"find": "users"}, "shop", "users"),
        ({"find": "system.version"}, "admin", None),
        ({"aggregate": 1}, "shop", None),
        ({"aggregate": "$cmd.aggregate"}, "shop", None),
        ({"getMore": 1, "collection": "users"}, "shop", "users"),
        ({"getMore": 1, "collection": "$cmd.listCollections"}, "shop", None),
        ({"getMore": 1, "collection": "users"}, "admin", None),
        ({"explain": {"find": "users"}}, "shop", "users"),
        ({"explain": {"aggregate": 1}}, "shop", None),
        ({"explain": {}}, "shop", None),
        ({"explain": 1}, "shop", None),
        ({"listCollections": 1}, "shop", None),
        ({"dropUser": "alice"}, "shop", None),
        ({"usersInfo": "alice"}, "shop", None),
        ({"dropRole": "reader"}, "shop", None),
        ({"createUser": "alice"}, "shop", None),
        ({"renameCollection": "shop.users", "to": "shop.people"}, "admin", None),
        ({"killCursors": "users", "cursors": []}, "shop", "users"),
        ({"somethingNew": "users"}, "shop", None),
        ({"collstats": "users"}, "shop", "users"),
        ({"findandmodify": "users"}, "shop", "users"),
        ({"mapreduce": "users"}, "shop", "users"),
        ({"deleteIndexes": "users"}, "shop", "users"),
        ({"explain": {"findandmodify": "users"}}, "shop", "users"),
        ({"dbstats": 1}, "shop", None),
        ({"find": Code("users")}, "shop", None),
        ({"ping": 1, "": "alice"}, "shop", None),
    ],
)
def test_collection_name(command, database, collection):
    """Only what is known to be a collection is called one."""
    assert collection_name(next(iter(command)), database, command) == collection


@pytest.mark.parametrize(
    ("reply", "rows"),
    [
        ({"ok": 1}, None),
        ({"cursor": {"firstBatch": []}}, 0),
        ({"cursor": {"nextBatch": [{}, {}]}}, 2),
        ({"cursor": {"firstBatch": [bson.encode({"x": 1}) * 3]}}, 3),
        ({"cursor": {"firstBatch": [b""]}}, 0),
        ({"cursor": {}}, None),
        ({"cursor": 1}, None),
        (RawBSONDocument(bson.encode({"cursor": {"firstBatch": [{}, {}]}})), 2),
    ],
)
def test_returned_rows(reply, rows):
    """Documents are counted, whether they have been decoded or not."""
    assert returned_rows(reply) == rows


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ({"ok": 1, "writeErrors": []}, None),
        (
            {"writeErrors": [{"code": 121, "errmsg": "no"}, {"code": 11000, "errmsg": "dup"}]},
            Failure("121", "121", "WriteError", "no"),
        ),
        (
            {"writeConcernError": {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "t"}},
            Failure("64", "64", "WriteConcernFailed", "t"),
        ),
        ({"writeConcernError": {"errmsg": "t"}}, Failure("_OTHER", None, "WriteConcernError", "")),
        (
            {
                "nErrors": 1,
                "cursor": {"firstBatch": [{"ok": 1}, {"ok": 0, "code": 11000, "errmsg": "dup"}]},
            },
            Failure("11000", "11000", "DuplicateKeyError", "dup"),
        ),
        ({"nErrors": 1, "cursor": {"firstBatch": []}}, Failure("_OTHER", None, "WriteError", "")),
        ({"nErrors": 1}, Failure("_OTHER", None, "WriteError", "")),
        ({"writeErrors": {}}, None),
        ({"writeErrors": [4711]}, Failure("_OTHER", None, "WriteError", "")),
        ({"writeErrors": [{"code": 50.0}]}, Failure("50", "50", "WriteError", "")),
        ({"writeErrors": [{"code": {}}]}, Failure("_OTHER", None, "WriteError", "")),
        ({"writeErrors": [{"code": float("nan")}]}, Failure("_OTHER", None, "WriteError", "")),
    ],
)
def test_write_failure(reply, failure):
    """The first error in a reply that calls itself a success is what failed."""
    assert write_failure(reply) == failure


def test_command_failure_without_a_name():
    """A code that the server does not name is described by the exception's class."""
    error = pymongo.errors.OperationFailure("no", 4711)

    assert command_failure({"code": 4711, "errmsg": "no"}, error) == Failure(
        "4711", "4711", "OperationFailure", "no"
    )


@pytest.mark.parametrize(
    "code", [float("nan"), float("inf"), float("-inf"), "text", {"name": "alice"}, [1], True]
)
def test_command_failure_with_a_code_that_is_no_number(code):
    """What a server sends in place of a code is told nowhere; the failure is one all the same."""
    failure = {"code": code, "codeName": {"name": "alice"}, "errmsg": "no"}

    assert command_failure(failure, None) == Failure("_OTHER", None, "_OTHER", "no")


def test_texts_of_failures_can_be_encoded():
    """A lone surrogate in a message keeps no exporter from the span."""
    told = command_failure({"code": 2, "codeName": "Bad\ud800", "errmsg": "no \udce9"}, None)
    raised = exception_failure(ValueError("bad \ud800"))

    assert (told.name, told.message, raised.message) == ("Bad?", "no ?", "bad ?")


def test_long_messages_are_bounded():
    """A server's message that quotes a whole document takes no more than its room."""
    assert len(command_failure({"code": 2, "errmsg": "x" * 100_000}, None).message) < 5_000


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ({"update": "users", "updates": [{}, {}]}, 2),
        ({"update": "users", "updates": ({}, {}, {})}, 3),
        ({"update": "users"}, None),
        ({"update": "users", "updates": 5}, None),
        ({"update": "users", "updates": "text"}, None),
    ],
)
def test_batch_size(command, size):
    """Only a list is a batch, whatever else an application has written in its place."""
    assert batch_size(command, "updates") == size


def test_command_failure_of_nothing():
    """A failure that tells nothing is another."""
    assert command_failure({}, None) == Failure("_OTHER", None, "_OTHER", "")


def test_command_failure_while_handling_another():
    """An exception that is not the failure's says nothing of it."""
    failure = {"errtype": "NetworkTimeout", "errmsg": "late"}

    assert command_failure(failure, KeyError()).error_type == "NetworkTimeout"


def test_exception_type():
    """An exception's class is qualified; what PyMongo wraps is told by what it wrapped."""
    wrapper = pymongo.errors.AutoReconnect("reset")
    wrapper.__cause__ = ConnectionResetError()

    assert exception_type(wrapper) == "ConnectionResetError"
    assert exception_type(bson.errors.InvalidBSON()) == "bson.errors.InvalidBSON"


def test_exception_failure():
    """Only an exception of the server's has its code."""
    refused = pymongo.errors.OperationFailure(
        "no", 18, {"codeName": "AuthenticationFailed", "errmsg": "no"}
    )

    assert exception_failure(refused) == Failure("18", "18", "AuthenticationFailed", "no")
    assert exception_failure(SystemExit(3)) == Failure("SystemExit", None, "SystemExit", "3")
