"""What sanitized text shows: only what a position says is structure, never what looks like it."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_mongo_apm._commands.arguments import COMMANDS
from otel_mongo_apm._commands.expressions import OPERATORS
from otel_mongo_apm._commands.query_text import sanitized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Command = dict[str, Any]
    Hole = Callable[[Any], Command]

UNLIMITED = 10**9
SECRET = "S3CRET"
NUMBER = 4711_4711


def text(command: Command, **options: bool) -> str:
    return sanitized(command, UNLIMITED, **options)


def shown(command: Command, **options: bool) -> Any:
    return json.loads(text(command, **options))


def pipeline(*stages: Any) -> Command:
    return {"aggregate": "c", "pipeline": list(stages)}


def within(*path: str | int, command: str = "find") -> Hole:
    """A command with a hole where a path of keys leads, each number being a list's length."""

    def filled(value: Any) -> Command:
        for key in reversed(path):
            value = [1] * key + [value] if isinstance(key, int) else {key: value}
        return {command: "c", **value}

    filled.__name__ = ".".join(map(str, (command, *path)))
    return filled


def in_stage(*path: str | int) -> Hole:
    return within("pipeline", 0, *path, command="aggregate")


def in_expression(*path: str | int) -> Hole:
    return in_stage("$set", "a", *path)


# Where values stand. Some look like what is shown elsewhere.
VALUES = [
    *(within(key) for key in ("comment", "collation", "let", "min", "max", "readConcern")),
    *(within(key) for key in ("maxTimeMS", "singleBatch", "tailable", "returnKey", "somethingNew")),
    within("filter", "a"),
    within("filter", "a", "$eq"),
    within("filter", "a", "$in", 0),
    within("filter", "a", "$in"),
    within("filter", "a", "$elemMatch"),
    within("filter", "a", "$elemMatch", "$expr"),
    within("filter", "a", "$not", "$expr"),
    within("filter", "a", "$expr"),
    within("filter", "a", "limit"),
    within("filter", "limit"),
    within("filter", "sort", "a"),
    within("filter", "$and", 0, "a"),
    within("filter", "$and", "$expr"),
    within("filter", "$or", 0, "$nor", 0, "a", "$expr"),
    within("filter", "$jsonSchema"),
    within("filter", "$where"),
    within("filter", "$text", "$search"),
    within("filter", "$comment"),
    within("filter", "$somethingNew"),
    within("sort", "a", "$meta"),
    within("sort", "a", "b"),
    within("sort", 0),
    within("hint", "a", "b"),
    within("projection", "a", "$elemMatch"),
    within("projection", "a", "$meta"),
    within("projection", "a", "$literal"),
    within("projection", "a", "$somethingNew"),
    within("limit", "a"),
    within("limit", 0),
    within("let", "a", command="aggregate"),
    within("comment", command="aggregate"),
    within("cursor", "a", command="aggregate"),
    within("explain", command="aggregate"),
    within("pipeline", "$limit", command="aggregate"),
    in_stage("$match", "a"),
    in_stage("$match", "a", "$eq"),
    in_stage("$match", "$or", 0, "a", "$in", 0),
    in_stage("$match", "a", "$expr"),
    in_stage("$search"),
    in_stage("$searchMeta"),
    in_stage("$vectorSearch"),
    in_stage("$somethingNew"),
    in_stage("$somethingNew", "$expr"),
    in_stage("$documents"),
    in_stage("$out"),
    in_stage("$count"),
    in_stage("$unset"),
    in_stage("$sample", "size"),
    in_stage("$merge", "into"),
    in_stage("$merge", "on"),
    in_stage("$merge", "whenMatched", 0, "$set", "a", "$literal"),
    in_stage("$merge", "whenMatched", 0, "$match", "a"),
    in_stage("$merge", "whenNotMatched"),
    in_stage("$bucket", "boundaries"),
    in_stage("$bucket", "boundaries", 0),
    in_stage("$bucket", "default"),
    in_stage("$bucketAuto", "buckets"),
    in_stage("$bucketAuto", "granularity"),
    in_stage("$geoNear", "near"),
    in_stage("$geoNear", "key"),
    in_stage("$geoNear", "distanceField"),
    in_stage("$geoNear", "query", "a"),
    in_stage("$graphLookup", "from"),
    in_stage("$graphLookup", "as"),
    in_stage("$graphLookup", "connectToField"),
    in_stage("$graphLookup", "maxDepth"),
    in_stage("$graphLookup", "restrictSearchWithMatch", "a"),
    in_stage("$graphLookup", "restrictSearchWithMatch", "a", "$expr"),
    in_stage("$lookup", "pipeline", 0, "$match", "a"),
    in_stage("$lookup", "let", "a", "$literal"),
    in_stage("$lookup", "somethingNew"),
    in_stage("$lookup", "from", "a"),
    in_stage("$lookup", "localField", 0),
    in_stage("$facet", "a", 0, "$match", "b"),
    in_stage("$facet", "a", 0, "$facet", "b", 0, "$search"),
    in_stage("$facet", "$a"),
    in_stage("$unionWith"),
    in_stage("$unionWith", "coll"),
    in_stage("$unionWith", "pipeline", 0, "$match", "a"),
    in_stage("$unwind", "includeArrayIndex"),
    in_stage("$unwind", "preserveNullAndEmptyArrays"),
    in_stage("$unwind", 0),
    in_stage("$densify", "field"),
    in_stage("$densify", "range", "bounds"),
    in_stage("$fill", "partitionByFields"),
    in_stage("$fill", "output", "a", "method"),
    in_stage("$fill", "output", "a", "$literal"),
    in_stage("$setWindowFields", "output", "a", "window"),
    in_stage("$setWindowFields", "output", "a", "window", "range", 0),
    in_stage("$setWindowFields", "output", "a", "$derivative", "unit"),
    in_stage("$setWindowFields", "output", "a", "$shift", "default"),
    in_stage("$group", "a", "$somethingNew"),
    in_stage("$changeStream", "resumeAfter"),
    in_stage("$currentOp", "a"),
    in_expression("$literal"),
    in_expression("$const"),
    in_expression("$literal", "$add", 0),
    in_expression("$add", 0, "$literal"),
    in_expression("$cond", "then", "$literal"),
    in_expression("$switch", "branches", 0, "then", "$literal"),
    in_expression("$let", "vars", "b", "$literal"),
    in_expression("$somethingNew"),
    in_expression("b", "$somethingNew", 0),
    in_expression("$function", "body"),
    in_expression("$function", "lang"),
    in_expression("$function"),
    in_expression("$accumulator", "init"),
    in_expression("$accumulator", "accumulate"),
    in_expression("$accumulator", "merge"),
    in_expression("$accumulator", "finalize"),
    in_expression("$map", "as"),
    in_expression("$filter", "as"),
    in_expression("$getField"),
    in_expression("$getField", "field"),
    in_expression("$setField", "field"),
    in_expression("$percentile", "method"),
    in_expression("$meta"),
    in_expression("$sortArray", "sortBy", "a", "b"),
    *(within(key, command="insert") for key in ("documents", "comment", "writeConcern")),
    within("documents", 0, command="insert"),
    within("documents", 0, "$set", "a", command="insert"),
    within("documents", 0, "limit", command="insert"),
    within("updates", 0, "q", "a", command="update"),
    within("updates", 0, "u", "$set", "a", command="update"),
    within("updates", 0, "u", "$set", command="update"),
    within("updates", 0, "u", "a", command="update"),
    within("updates", 0, "u", "$push", "a", "$each", 0, command="update"),
    within("updates", 0, "u", "$push", "a", "$slice", command="update"),
    within("updates", 0, "u", "$expr", command="update"),
    within("updates", 0, "u", 0, "$set", "a", "$literal", command="update"),
    within("updates", 0, "c", "a", command="update"),
    within("updates", 0, "arrayFilters", 0, "a", command="update"),
    within("updates", 0, "arrayFilters", 0, "$expr", command="update"),
    within("updates", 0, "collation", "locale", command="update"),
    within("updates", 0, "hint", "a", "b", command="update"),
    within("updates", "q", command="update"),
    within("let", "a", command="update"),
    within("bypassDocumentValidation", command="update"),
    within("deletes", 0, "q", "a", command="delete"),
    within("deletes", 0, "collation", command="delete"),
    within("ops", 0, "document", "a", command="bulkWrite"),
    within("ops", 0, "filter", "a", command="bulkWrite"),
    within("ops", 0, "updateMods", "$set", "a", command="bulkWrite"),
    within("ops", 0, "arrayFilters", command="bulkWrite"),
    within("ops", 0, "constants", command="bulkWrite"),
    within("nsInfo", 0, "ns", command="bulkWrite"),
    within("query", "a", command="findAndModify"),
    within("update", "$set", "a", command="findAndModify"),
    within("new", command="findAndModify"),
    within("remove", command="findAndModify"),
    within("arrayFilters", command="findAndModify"),
    within("query", "a", command="distinct"),
    within("key", "a", command="distinct"),
    within("key", 0, command="distinct"),
    within("query", "a", command="count"),
    *(within(key, command="mapReduce") for key in ("map", "reduce", "finalize", "out", "scope")),
    within("query", "a", command="mapReduce"),
    within("indexes", 0, "partialFilterExpression", "a", command="createIndexes"),
    within("indexes", 0, "partialFilterExpression", "a", "$eq", command="createIndexes"),
    within("indexes", 0, "collation", "locale", command="createIndexes"),
    within("indexes", 0, "default_language", command="createIndexes"),
    within("indexes", 0, "weights", "a", command="createIndexes"),
    within("indexes", 0, "key", "a", "b", command="createIndexes"),
    within("indexes", 0, "somethingNew", command="createIndexes"),
    within("index", 0, command="dropIndexes"),
    within("index", "expireAfterSeconds", "a", command="collMod"),
    within("validator", "a", command="collMod"),
    within("validator", "$jsonSchema", command="create"),
    within("validator", "a", "$gt", command="create"),
    *(within(key, command="create") for key in ("viewOn", "size", "max", "capped", "timeseries")),
    within("storageEngine", command="create"),
    within("filter", "name", command="listCollections"),
    within("cursors", command="killCursors"),
    within("roles", command="dropUser"),
    within("limit", command="somethingNew"),
    within("explain", "filter", "a", command="explain"),
    *(
        lambda value, name=name: {name: value}
        for name in ("dropUser", "usersInfo", "renameCollection", "ping", "getMore", "dataSize")
    ),
    lambda value: {"explain": {"find": "c", "filter": {"a": value}}},
    lambda value: {"explain": {"aggregate": "c", "pipeline": [{"$match": {"a": value}}]}},
    lambda value: {"explain": {"dropUser": value}},
    lambda value: {"explain": {"explain": {"find": "c", "comment": value}}},
    lambda value: {"explain": {"find": "c"}, "verbosity": value},
]

# Where expressions stand: what begins with a dollar is a path there.
EXPRESSIONS = [
    within("filter", "$expr"),
    within("filter", "$and", 0, "$expr", "$eq", 0),
    within("filter", "$or", 0, "$nor", 0, "$expr"),
    within("projection", "a"),
    within("projection", "a", "$concat", 0),
    in_stage("$match", "$expr"),
    in_stage("$match", "$and", 0, "$expr", "$gt", 1),
    in_stage("$project", "a"),
    in_stage("$project", "a", "b"),
    in_stage("$addFields", "a"),
    in_stage("$set", "a", "b"),
    in_stage("$group", "_id"),
    in_stage("$group", "_id", "a"),
    in_stage("$group", "a", "$sum"),
    in_stage("$group", "a", "$accumulator", "initArgs", 0),
    in_stage("$group", "a", "$accumulator", "accumulateArgs", 0),
    in_stage("$group", "a", "$topN", "output", 0),
    in_stage("$bucket", "groupBy"),
    in_stage("$bucket", "output", "a", "$sum"),
    in_stage("$bucketAuto", "groupBy"),
    in_stage("$sortByCount"),
    in_stage("$replaceRoot", "newRoot"),
    in_stage("$replaceWith"),
    in_stage("$redact", "$cond", "if"),
    in_stage("$graphLookup", "startWith"),
    in_stage("$graphLookup", "restrictSearchWithMatch", "$expr"),
    in_stage("$geoNear", "query", "$expr"),
    in_stage("$lookup", "let", "a"),
    in_stage("$lookup", "pipeline", 0, "$match", "$expr"),
    in_stage("$facet", "a", 0, "$set", "b"),
    in_stage("$unionWith", "pipeline", 0, "$set", "b"),
    in_stage("$merge", "let", "a"),
    in_stage("$merge", "whenMatched", 0, "$set", "a"),
    in_stage("$setWindowFields", "partitionBy"),
    in_stage("$setWindowFields", "output", "a", "$sum"),
    in_stage("$setWindowFields", "output", "a", "$shift", "output"),
    in_stage("$setWindowFields", "output", "a", "$derivative", "input"),
    in_stage("$fill", "partitionBy"),
    in_stage("$fill", "output", "a", "value"),
    in_expression("$let", "vars", "b"),
    in_expression("$let", "in"),
    in_expression("$switch", "branches", 0, "case"),
    in_expression("$switch", "branches", 0, "then"),
    in_expression("$switch", "default"),
    in_expression("$cond", 1),
    in_expression("$function", "args", 0),
    in_expression("$map", "input"),
    in_expression("$map", "in"),
    in_expression("$filter", "cond"),
    in_expression("$reduce", "initialValue"),
    in_expression("$getField", "input"),
    in_expression("$setField", "value"),
    in_expression("$sortArray", "input"),
    in_expression("$dateToString", "date"),
    within("updates", 0, "u", 0, "$set", "a", command="update"),
    within("update", 0, "$set", "a", command="findAndModify"),
    within("fields", "a", command="findAndModify"),
    within("ops", 0, "updateMods", 0, "$set", "a", command="bulkWrite"),
    within("pipeline", 0, "$set", "a", command="create"),
    lambda value: {"explain": {"find": "c", "filter": {"$expr": value}}},
    lambda value: {"explain": {"update": "c", "updates": [{"u": [{"$set": {"a": value}}]}]}},
]

NUMBERS = [
    *(within(key) for key in ("limit", "skip", "batchSize")),
    in_stage("$limit"),
    in_stage("$skip"),
    within("cursor", "batchSize", command="aggregate"),
    within("cursor", "batchSize", command="listIndexes"),
    within("batchSize", command="getMore"),
    within("limit", command="count"),
    within("skip", command="count"),
    within("limit", command="mapReduce"),
    within("deletes", 0, "limit", command="delete"),
    within("indexes", 0, "expireAfterSeconds", command="createIndexes"),
    within("index", "expireAfterSeconds", command="collMod"),
]
FLAGS = [
    *(within("ordered", command=command) for command in ("insert", "update", "delete")),
    within("ordered", command="bulkWrite"),
    within("updates", 0, "multi", command="update"),
    within("updates", 0, "upsert", command="update"),
    within("upsert", command="findAndModify"),
    within("upsert", command="findandmodify"),
    *(
        within("indexes", 0, key, command="createIndexes")
        for key in ("unique", "sparse", "hidden", "background", "prepareUnique")
    ),
]
DIRECTIONS = [
    within("sort", "a"),
    within("sort", "$natural"),
    in_stage("$sort", "a"),
    in_stage("$setWindowFields", "sortBy", "a"),
    in_stage("$fill", "sortBy", "a"),
    in_expression("$sortArray", "sortBy", "a"),
    in_stage("$group", "b", "$top", "sortBy", "a"),
    within("sort", "a", command="findAndModify"),
    within("updates", 0, "sort", "a", command="update"),
]
INDEX_KEYS = [
    within("indexes", 0, "key", "a", command="createIndexes"),
    within("indexes", 0, "key", "$**", command="createIndexes"),
    within("index", "a", command="dropIndexes"),
    within("index", "keyPattern", "a", command="collMod"),
    within("hint", "a"),
    within("hint", "$natural"),
    within("updates", 0, "hint", "a", command="update"),
]
PROJECTIONS = [
    within("projection", "a"),
    within("projection", "a", "b"),
    in_stage("$project", "a"),
    within("fields", "a", command="findAndModify"),
    within("indexes", 0, "wildcardProjection", "a", command="createIndexes"),
]
FIELDS = [
    in_stage("$lookup", "localField"),
    in_stage("$lookup", "foreignField"),
    in_stage("$lookup", "as"),
    within("key", command="distinct"),
    within("indexes", 0, "name", command="createIndexes"),
]
COLLECTIONS = [
    in_stage("$lookup", "from"),
    within("collection", command="getMore"),
    lambda value: {"find": value},
    lambda value: {"explain": {"find": value}},
]
PATHS = [in_stage("$unwind"), in_stage("$unwind", "path")]


def leaf(command: Any) -> Any:
    """What stands in the hole of a command."""
    while isinstance(command, dict | list):
        command = list(command.values() if isinstance(command, dict) else command)[-1]
    return command


class Name(str, Enum):
    OWN = SECRET


secrets = st.sampled_from(
    [SECRET, f"${SECRET}", f"$${SECRET}", f"$a.{SECRET}", f"$$ROOT.{SECRET}", Name.OWN]
)
canaries = st.one_of(
    secrets,
    st.sampled_from([NUMBER, -NUMBER, Int64(NUMBER), float(NUMBER), Decimal128(str(NUMBER))]),
    secrets.map(str.encode),
    secrets.map(Code),
)
keys = st.sampled_from(
    [
        *("a", "limit", "skip", "batchSize", "from", "as", "localField", "key", "name", "path"),
        *("$eq", "$in", "$add", "$literal", "$and", "$or", "$not", "$each", "$set", "$match"),
        *("$unwind", "$limit", "$lookup", "find", "args", "input", "in", "sort", "multi"),
    ]
)
values = st.recursive(
    canaries,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(SON),
    ),
    max_leaves=6,
)
thoroughly = settings(deadline=None, max_examples=10)


def hides(found: str) -> bool:
    return SECRET not in found and str(NUMBER) not in found


@pytest.mark.parametrize("hole", VALUES)
@thoroughly
@given(value=values, mask_keys=st.booleans())
def test_value(hole: Hole, value: Any, mask_keys: bool) -> None:  # noqa: FBT001
    """Where a value stands, nothing of it is shown, whatever it looks like."""
    assert hides(text(hole(value), mask_keys=mask_keys))


@pytest.mark.parametrize("hole", VALUES)
def test_value_that_looks_like_structure(hole: Hole) -> None:
    """A value is not shown for being one that is shown elsewhere."""
    for value in (0, 1, -1, True, False, "text", "hashed", "$a", "$$NOW"):
        assert text(hole(value)) == text(hole(SECRET))


@pytest.mark.parametrize("hole", EXPRESSIONS)
def test_path(hole: Hole) -> None:
    """Where an expression stands, paths and variables are shown, and hidden with the keys."""
    for path in ("$a", "$a.b.0.c_d", "$$ROOT", "$$this.x-y", "$_id"):
        assert leaf(shown(hole(path))) == path
        assert leaf(shown(hole(path), mask_keys=True)) == "?"


NO_PATHS = [
    *(SECRET, "a.b", NUMBER, 2, 1.0, None, Code("$a"), b"$a", Decimal128("1")),
    *("$", "$$", "$4711", "$a b", "$a@b", "$a..b", "$a.", "$a\n", "$" + "a" * 300),
]


@pytest.mark.parametrize("hole", EXPRESSIONS)
def test_value_in_an_expression(hole: Hole) -> None:
    """Where an expression stands, what is no path is hidden."""
    for value in NO_PATHS:
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize(
    "hole", [in_stage("$group", "a"), in_stage("$bucket", "output", "a"), within("projection")]
)
def test_path_in_place_of_an_operator(hole: Hole) -> None:
    """Where only a document can stand, a string is a value."""
    assert leaf(shown(hole("$a"))) == "?"


@pytest.mark.parametrize("operator", sorted({*OPERATORS, "$literal", "$const"}))
@thoroughly
@given(value=values)
def test_operator(operator: str, value: Any) -> None:
    """Of an operator's arguments nothing is shown but paths."""

    def strings(found: Any) -> Iterator[Any]:
        if isinstance(found, dict | list):
            for inner in found.values() if isinstance(found, dict) else found:
                yield from strings(inner)
        else:
            yield found

    found = shown(in_expression(operator)(value))

    assert all(str(each).startswith(("?", "$")) for each in strings(found["pipeline"]))


def is_shown_only_as(hole: Hole, allowed: list[Any], mask_keys: bool = False) -> None:  # noqa: FBT001, FBT002
    for value in allowed:
        found = leaf(shown(hole(value), mask_keys=mask_keys))
        assert (found, type(found)) == (value, type(value))


OTHERS = [2.0, 1.5, None, Decimal128("1"), Code("text"), b"text", [], {}]


@pytest.mark.parametrize("hole", NUMBERS)
def test_number(hole: Hole) -> None:
    """Where MongoDB counts, whole numbers are shown and nothing else."""
    is_shown_only_as(hole, [0, 1, -5, 4711, 2**63 - 1])
    is_shown_only_as(hole, [10], mask_keys=True)
    assert leaf(shown(hole(Int64(7)))) == 7
    for value in (SECRET, "$a", True, 2**63, 10**400, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize("hole", FLAGS)
def test_flag(hole: Hole) -> None:
    """Where MongoDB asks for true or false, they are shown and nothing else."""
    is_shown_only_as(hole, [True, False])
    for value in (SECRET, "$a", 0, 1, 4711, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize("hole", DIRECTIONS)
def test_direction(hole: Hole) -> None:
    """Of a sort the directions are shown and nothing else."""
    is_shown_only_as(hole, [1, -1])
    for value in (SECRET, "$a", "text", 0, 2, True, 4711, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize("hole", INDEX_KEYS)
def test_index_key(hole: Hole) -> None:
    """Of an index's key the directions and kinds are shown and nothing else."""
    is_shown_only_as(hole, [1, -1] if "$natural" in str(hole(1)) else [1, -1, "text", "hashed"])
    for value in (SECRET, "$a", "Text", 0, 2, True, 4711, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize("hole", PROJECTIONS)
def test_projection(hole: Hole) -> None:
    """Of a projection it is shown which fields are part of the result."""
    is_shown_only_as(hole, [0, 1, True, False])
    for value in (SECRET, "a", 2, -1, 4711, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize("hole", [*FIELDS, *COLLECTIONS])
def test_name(hole: Hole) -> None:
    """Names are shown; those of fields are hidden with the keys."""
    is_shown_only_as(hole, ["a", "a.b", 'x"y', "$a"])
    assert leaf(shown(hole(Name.OWN))) == SECRET
    assert leaf(shown(hole("a"), mask_keys=True)) == ("?" if hole in FIELDS else "a")
    for value in (1, True, 4711, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


@pytest.mark.parametrize("hole", PATHS)
def test_unwind(hole: Hole) -> None:
    """Of an `$unwind` the path is shown and nothing else."""
    is_shown_only_as(hole, ["$a", "$a.b"])
    for value in (SECRET, "$a b", 1, *OTHERS[:-2]):
        assert leaf(shown(hole(value))) == "?"


def test_list_with_paths_is_shown_item_by_item() -> None:
    """A list in an expression keeps its paths in their places."""
    found = shown(
        pipeline({"$set": {"a": {"$concat": ["$b", "alice", "$$NOW", {"$toLower": "$c"}]}}})
    )

    assert found["pipeline"][0]["$set"]["a"]["$concat"] == ["$b", "?", "$$NOW", {"$toLower": "$c"}]


def test_long_list_of_values_in_an_expression() -> None:
    """A list of values is one value, as everywhere."""
    found = shown(pipeline({"$match": {"$expr": {"$in": ["$a", list(range(1000))]}}}))

    assert found["pipeline"] == [{"$match": {"$expr": {"$in": ["$a", ["?"]]}}}]


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ("findandmodify", "findAndModify"),
        ("mapreduce", "mapReduce"),
        ("deleteIndexes", "dropIndexes"),
    ],
)
def test_commands_by_other_names(other: str, known: str) -> None:
    """A command is shown alike by whichever of its names it is sent."""
    arguments = {
        "query": {"a": 1},
        "sort": {"b": -1},
        "limit": 5,
        "upsert": True,
        "index": {"c": 1},
    }

    assert shown({other: "users", **arguments})[other] == "users"
    assert text({other: "users", **arguments}) == text({known: "users", **arguments}).replace(
        known, other
    )


# A soup of everything that means something somewhere, with values of all kinds: whatever is shown
# must have been a structure by its own key or by what is around it, as told once more here.

VOCABULARY = sorted(
    {key for position in COMMANDS.values() for key in position.fields}
    | {*OPERATORS, "$literal", "$const", "$expr", "$match", "$set", "$group", "$lookup", "$facet"}
    | {"$project", "$unwind", "$limit", "$sort", "$and", "$search", "let", "from", "as", "q", "u"}
    | {"multi", "arrayFilters", "comment", "sortBy", "output", "args", "body", "_id", "a", "path"}
)
soups = st.recursive(
    canaries | st.sampled_from([0, 1, -1, True, False, "text"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(VOCABULARY), inner, max_size=4),
    ),
    max_leaves=25,
)
COUNTS = {"limit", "skip", "batchSize", "$limit", "$skip", "expireAfterSeconds"}
NAMES = {*COMMANDS, "from", "as", "localField", "foreignField", "key", "collection", "name"}
HIDING = {"$literal", "$const", "$search"}
EXPRESSION_KEYS = {"$expr", "projection", "fields", "pipeline", "u", "updateMods", "update"}


def shown_leaves(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield what is shown of values, each with the keys that lead to it."""
    if isinstance(found, dict):
        for key, inner in found.items():
            yield from shown_leaves(inner, (*path, key))
    elif isinstance(found, list):
        for inner in found:
            yield from shown_leaves(inner, path)
    elif type(found) is not str or SECRET in found:
        yield found, path


def is_structure(found: Any, path: tuple[str, ...]) -> bool:
    """Whether something may be shown where these keys lead."""
    if not HIDING.isdisjoint(path):
        return False
    if type(found) is int:
        return abs(found) <= 1 or path[-1] in COUNTS
    is_in_expression = not EXPRESSION_KEYS.isdisjoint(path)
    return type(found) is bool or path[-1] in NAMES or (found[0] == "$" and is_in_expression)


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(sorted(COMMANDS)),
    own=canaries,
    arguments=st.dictionaries(st.sampled_from(VOCABULARY), soups, max_size=5),
)
def test_soup(name: str, own: Any, arguments: Command) -> None:
    """However keys are nested, nothing is shown but what stands where it may be shown."""
    found = shown({name: own, **{key: arguments[key] for key in arguments if key != name}})

    assert [each for each in shown_leaves(found) if not is_structure(*each)] == []


@settings(deadline=None)
@given(name=st.sampled_from(sorted(COMMANDS)), arguments=st.dictionaries(keys, values, max_size=4))
def test_raw_documents_look_like_others(name: str, arguments: Command) -> None:
    """Documents that are not decoded are shown as if they were."""

    def raw(value: Any) -> Any:
        return RawBSONDocument(bson.encode(value)) if isinstance(value, dict) else value

    def plain(value: Any) -> Any:
        return bson.decode(bson.encode(value)) if isinstance(value, dict) else value

    given_raw = {name: "c", **{key: raw(value) for key, value in arguments.items() if key != name}}
    given_plain = {
        key: plain(value) for key, value in {name: "c", **arguments}.items() if key != name
    }

    assert text(given_raw) == text({name: "c", **given_plain})
