"""The runner of cases, with cases of its own whose spans are those of the default convention."""

from __future__ import annotations

import copy

import pymongo
import pytest
from client_kinds import SyncClients, of_each_kind
from unified_format.cases import Case
from unified_format.errors import MismatchError, UnsupportedError

with_one_kind = pytest.mark.parametrize("kind", [SyncClients()], ids=["sync"])

DOCUMENTS = [{"_id": 1, "x": 1}, {"_id": 2, "x": 2}, {"_id": 3, "x": 3}]
needs_client_bulk_write = pytest.mark.skipif(
    pymongo.version_tuple < (4, 9), reason="MongoClient.bulk_write came with PyMongo 4.9"
)


@pytest.fixture
def settings():
    """Commands alone."""
    return {"events": "none", "wait_span_threshold": 3600}


def case(*operations, spans=(), ignore_extra=False, outcome=None, tracing=None):
    """A case of one collection of an observed client and, of another, the same one."""
    entities = [
        {"client": {"id": "client0", "observeTracingMessages": tracing or {}}},
        {"client": {"id": "unobserved"}},
        *database("client0", "0"),
        *database("unobserved", "1"),
        {"session": {"id": "session0", "client": "client0"}},
    ]
    collection = {"databaseName": "runner", "collectionName": "test"}
    test = {
        "description": "a case",
        "operations": [*operations],
        "expectTracingMessages": [
            {"client": "client0", "ignoreExtraSpans": ignore_extra, "spans": [*spans]}
        ],
    }
    if outcome is not None:
        test["outcome"] = [{**collection, "documents": outcome}]
    file = {
        "description": "the runner's own",
        "schemaVersion": "1.27",
        "createEntities": entities,
        "initialData": [{**collection, "documents": DOCUMENTS}],
        "tests": [test],
    }
    return Case("a case", file, test)


def database(client, number):
    name = f"database{number}"
    yield {"database": {"id": name, "client": client, "databaseName": "runner"}}
    yield {
        "collection": {
            "id": f"collection{number}",
            "database": name,
            "collectionName": "test",
            "collectionOptions": {
                "readConcern": {"level": "majority"},
                "writeConcern": {"w": "majority", "wtimeoutMS": 10_000},
                "readPreference": {"mode": "primary"},
            },
        }
    }


def operation(name, target="collection0", /, result=None, error=None, **arguments):
    made = {"name": name, "object": target, "arguments": arguments}
    if result is not None:
        made["expectResult"] = result
    if error is not None:
        made["expectError"] = error
    return made


def command(name, target="test", **attributes):
    """The span of a command, by the default convention."""
    return {"name": f"{name} {target}", "attributes": {"db.operation.name": name, **attributes}}


def fail_point(client, *commands, **data):
    return operation(
        "failPoint",
        "testRunner",
        client=client,
        failPoint={
            "configureFailPoint": "failCommand",
            "mode": {"times": 1},
            "data": {"failCommands": [*commands], **data},
        },
    )


@of_each_kind
def test_writes(runner):
    """Writes are made as the case has them, tell what they did, and leave what they ought to."""
    runner.run(
        case(
            operation("insertOne", document={"_id": 4}, result={"insertedId": 4}),
            operation("insertMany", documents=[{"_id": 5}], result={"insertedIds": {"0": 5}}),
            operation(
                "updateOne",
                filter={"_id": 1},
                update={"$set": {"x": 9}},
                result={"matchedCount": 1, "modifiedCount": 1, "upsertedCount": 0},
            ),
            operation(
                "updateMany",
                filter={"x": {"$in": [2, 3]}},
                update={"$set": {"y.$[each]": 0}, "$inc": {"x": 1}},
                arrayFilters=[{"each": 1}],
                error={"errorCode": 2, "isClientError": False},
            ),
            operation(
                "replaceOne",
                filter={"_id": 6},
                replacement={"x": 6},
                upsert=True,
                result={"upsertedId": 6, "upsertedCount": 1},
            ),
            operation("deleteOne", filter={"_id": 2}, result={"deletedCount": 1}),
            operation("deleteMany", filter={"_id": 5}, result={"deletedCount": 1}),
            operation(
                "bulkWrite",
                requests=[
                    {"insertOne": {"document": {"_id": 7}}},
                    {"updateOne": {"filter": {"_id": 7}, "update": {"$set": {"x": 7}}}},
                    {"deleteMany": {"filter": {"_id": 4}}},
                ],
                ordered=True,
                result={"insertedCount": 1, "modifiedCount": 1, "deletedCount": 1},
            ),
            operation(
                "findOneAndUpdate",
                filter={"_id": 3},
                update={"$inc": {"x": 1}},
                returnDocument="After",
                result={"_id": 3, "x": 4},
            ),
            spans=[
                *(command(each) for each in ("insert", "insert", "update")),
                command("update", **{"db.response.status_code": "2"}),
                *(command(each) for each in ("update", "delete", "delete")),
                *(command(each) for each in ("insert", "update", "delete", "findAndModify")),
            ],
            outcome=[
                {"_id": 1, "x": 9},
                {"_id": 3, "x": 4},
                {"_id": 6, "x": 6},
                {"_id": 7, "x": 7},
            ],
        )
    )


@of_each_kind
def test_reads(runner):
    """Reads return what there is."""
    runner.run(
        case(
            operation("find", filter={"x": {"$gt": 1}}, sort={"_id": -1}, result=DOCUMENTS[:0:-1]),
            operation("find", filter={}, batchSize=2, limit=3, result=DOCUMENTS),
            operation("findOne", filter={"_id": 1}, result=DOCUMENTS[0]),
            operation("aggregate", pipeline=[{"$sort": {"x": 1}}], batchSize=2, result=DOCUMENTS),
            operation("distinct", fieldName="x", filter={"_id": {"$lt": 3}}, result=[1, 2]),
            operation("countDocuments", filter={}, limit=2, result=2),
            operation("estimatedDocumentCount", maxTimeMS=5000, result=3),
            spans=[
                *(command(each) for each in ("find", "find", "getMore", "find")),
                *(command(each) for each in ("aggregate", "getMore", "distinct", "aggregate")),
                command("count"),
            ],
        )
    )


@of_each_kind
def test_administration(runner):
    """Collections and indexes are made, listed, renamed and dropped."""
    runner.run(
        case(
            operation("dropCollection", "database0", collection="other"),
            operation("createCollection", "database0", collection="new", capped=False),
            operation("dropCollection", "database0", collection="new"),
            operation("listCollections", "database0", filter={"name": "test"}, result=[{}]),
            operation("listCollectionNames", "database0", filter={"name": "x"}, result=[]),
            operation("createIndex", keys={"x": 1, "y": -1}, name="z", unique=False, result="z"),
            operation("listIndexes", result=[{"name": "_id_"}, {"name": "z"}]),
            operation("dropIndex", name="z"),
            operation("dropIndexes"),
            operation("rename", to="other"),
            operation("drop"),
            operation("runCommand", "database0", commandName="ping", command={"ping": 1}),
            operation("listDatabases", "client0", filter={"name": "runner"}, result=[{}]),
            operation("listDatabaseNames", "client0"),
            spans=[
                command("drop", "other"),
                command("create", "new"),
                command("drop", "new"),
                *[command("listCollections", "runner")] * 2,
                command("createIndexes"),
                command("listIndexes"),
                *[command("dropIndexes")] * 2,
                command("renameCollection", "admin"),
                command("drop"),
                command("ping", "runner"),
                *[command("listDatabases", "admin")] * 2,
            ],
        )
    )


@of_each_kind
def test_cursors(runner):
    """A cursor that was saved is read one document at a time."""
    create = operation("createFindCursor", filter={}, batchSize=2)
    listing = operation(
        *("createCommandCursor", "database0"),
        commandName="find",
        command={"find": "test", "batchSize": 2},
    )
    watching = operation("createChangeStream", pipeline=[])
    runner.run(
        case(
            create | {"saveResultAsEntity": "cursor0"},
            *(operation("iterateUntilDocumentOrError", "cursor0", result=d) for d in DOCUMENTS),
            operation("close", "cursor0"),
            listing | {"saveResultAsEntity": "cursor1"},
            *(operation("iterateUntilDocumentOrError", "cursor1", result=d) for d in DOCUMENTS),
            watching | {"saveResultAsEntity": "changes"},
            operation("insertOne", "collection1", document={"_id": 4}),
            operation(
                *("iterateUntilDocumentOrError", "changes"),
                result={"operationType": "insert", "fullDocument": {"_id": 4}},
            ),
            spans=[
                *(command(each) for each in ("find", "getMore", "find", "getMore")),
                *(command(each) for each in ("aggregate", "getMore")),
            ],
        )
    )


@with_one_kind
def test_a_cursor_at_its_end(runner):
    """A cursor that has no document where one is expected is a mismatch."""
    create = operation("createFindCursor", filter={"_id": 0})
    with pytest.raises(MismatchError, match="come to its end"):
        runner.run(
            case(
                create | {"saveResultAsEntity": "cursor0"},
                operation("iterateUntilDocumentOrError", "cursor0"),
            )
        )


@of_each_kind
def test_sessions(runner, telemetry):
    """A session's transaction is committed or aborted, and its ID is known."""
    insert = operation("insertOne", document={"_id": 4}, session="session0")
    runner.run(
        case(
            operation("startTransaction", "session0", writeConcern={"w": "majority"}),
            insert,
            operation("abortTransaction", "session0"),
            operation("startTransaction", "session0"),
            insert,
            operation("commitTransaction", "session0"),
            operation(
                *("withTransaction", "session0"),
                callback=[
                    operation("insertOne", document={"_id": 5}, session="session0"),
                    operation("insertOne", document={"_id": 6}, session="session0"),
                ],
            ),
            operation("endSession", "session0"),
            spans=[
                command("insert"),
                command("abortTransaction", "admin"),
                command("insert"),
                command("commitTransaction", "admin"),
                *[command("insert")] * 2,
                command("commitTransaction", "admin"),
            ],
            outcome=[*DOCUMENTS, {"_id": 4}, {"_id": 5}, {"_id": 6}],
        )
    )


@of_each_kind
def test_an_error_within_a_transaction(runner):
    """An error that is expected in a transaction's callback aborts it all the same."""
    duplicate = operation(
        *("insertOne",), document={"_id": 1}, session="session0", error={"errorCode": 11000}
    )
    runner.run(
        case(
            operation(
                *("withTransaction", "session0"), callback=[duplicate], error={"isError": True}
            ),
            spans=[command("insert"), command("abortTransaction", "admin")],
            outcome=DOCUMENTS,
        )
    )


@of_each_kind
def test_fail_points(runner):
    """A fail point of an unobserved client is unseen; one of the observed client is extra."""
    spans = [command("find", **{"db.response.status_code": "89"}), command("find")]
    fail = {"errorCode": 89}
    find = operation("find", filter={"_id": 1}, result=DOCUMENTS[:1])

    runner.run(case(fail_point("unobserved", "find", **fail), find, spans=spans))


@with_one_kind
def test_extra_spans(runner):
    """Extra spans may be where the case ignores them."""
    spans = [command("find", **{"db.response.status_code": "89"}), command("find")]
    find = operation("find", filter={"_id": 1}, result=DOCUMENTS[:1])
    operations = fail_point("client0", "find", errorCode=89), find

    runner.run(case(*operations, spans=spans, ignore_extra=True))


@with_one_kind
def test_extra_spans_that_are_not_ignored(runner):
    """Extra spans may not be where it does not."""
    with pytest.raises(MismatchError, match="configureFailPoint"):
        runner.run(
            case(
                fail_point("client0", "find", errorCode=89),
                operation("find", filter={"_id": 1}),
                spans=[command("find"), command("find")],
            )
        )


@with_one_kind
def test_a_fail_point_left_on(runner, control):
    """No fail point outlives its case."""
    runner.run(case(fail_point("unobserved", "find", errorCode=89)))

    assert control.runner.test.find_one({"_id": 1}) == DOCUMENTS[0]


@pytest.mark.parametrize("payload", [True, False])
@with_one_kind
def test_query_text(runner, payload):
    """Query text is raw with `enableCommandPayload`, and else as the settings have it."""
    raw = {"$$matchAsRoot": {"find": "test", "filter": {"x": 1}}}
    sanitized = {"$$matchAsRoot": {"find": "test", "filter": {"x": "?"}}}
    text = {"$$matchAsDocument": raw if payload else sanitized}
    runner.run(
        case(
            operation("find", filter={"x": 1}),
            spans=[command("find", **{"db.query.text": text})],
            tracing={"enableCommandPayload": payload},
        )
    )


@of_each_kind
def test_errors(runner):
    """An operation fails as it is expected to, and its error may be ignored."""
    duplicate = operation("insertOne", document={"_id": 1})
    runner.run(
        case(
            duplicate | {"expectError": {"errorCode": 11000, "errorContains": "duplicate KEY"}},
            duplicate | {"ignoreResultAndError": True},
            operation("find", filter={"$nonsense": 1}, error={"errorCodeName": "BadValue"}),
            operation("insertOne", document={"_id": object}, error={"isClientError": True}),
            operation("createSearchIndex", model={"definition": {}}, error={"isError": True}),
            operation("updateSearchIndex", name="x", definition={}, error={"isError": True}),
            operation("dropSearchIndex", name="x", error={"isError": True}),
            ignore_extra=True,
        )
    )


@needs_client_bulk_write
@of_each_kind
def test_client_bulk_write(runner):
    """A client's bulk write, which no server older than 8.0 has, is called as it is to be."""
    models = [
        {"insertOne": {"namespace": "runner.test", "document": {"_id": 4}}},
        {"updateMany": {"namespace": "runner.test", "filter": {}, "update": {"$inc": {"x": 1}}}},
        {"replaceOne": {"namespace": "runner.test", "filter": {}, "replacement": {}}},
        {"deleteOne": {"namespace": "runner.test", "filter": {}}},
    ]
    bulk = operation("clientBulkWrite", "client0", models=models)
    runner.run(case(bulk | {"ignoreResultAndError": True}, ignore_extra=True))


FIND = operation("find", filter={"_id": 1})


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([FIND | {"expectResult": [{"_id": 2}]}], "find"),
        ([FIND | {"expectError": {"isError": True}}], "no error"),
        ([operation("insertOne", document={"_id": 1})], "E11000"),
        ([operation("insertOne", document={"_id": 1}, error={"errorCode": 1})], "errorCode"),
        ([FIND, FIND], "spans"),
        ([], "spans"),
        ([operation("insertOne", "collection1", document={"_id": 4}), FIND], "outcome"),
    ],
)
@with_one_kind
def test_mismatches(runner, operations, message):
    """A result, error, span or outcome that is not the expected one fails the case."""
    with pytest.raises(MismatchError, match=message):
        runner.run(case(*operations, spans=[command("find")], outcome=DOCUMENTS))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda it: it["operations"][0].update(name="findNonsense"), "findNonsense"),
        (lambda it: it["operations"][0].update(name="failPoint"), "failPoint"),
        (lambda it: it["operations"][0].update(object="nobody"), "nobody"),
        (lambda it: it["operations"][0].update(nonsense=1), "nonsense"),
        (lambda it: it["operations"][0].update(saveResultAsEntity="x"), "list"),
        (lambda it: it.update(nonsense=1), "nonsense"),
        (lambda it: it["expectTracingMessages"][0].update(nonsense=1), "nonsense"),
        (lambda it: it["expectTracingMessages"][0].update(client="unobserved"), "unobserved"),
        (lambda it: it["expectTracingMessages"][0]["spans"][0].update(kind=3), "kind"),
    ],
)
@with_one_kind
def test_what_is_not_known(runner, change, name):
    """What the runner does not know in a test fails it, by its name."""
    changed = copy.deepcopy(case(FIND, spans=[command("find")]))
    change(changed.test)

    with pytest.raises(UnsupportedError, match=name):
        runner.run(changed)


@pytest.mark.parametrize(
    ("entity", "name"),
    [
        ({"bucket": {"id": "bucket0"}}, "bucket"),
        ({"client": {"id": "client1", "serverApi": {}}}, "serverApi"),
        ({"client": {"id": "client1", "observeTracingMessages": {}}}, "client1"),
        ({"database": {"id": "d", "client": "client0", "nonsense": 1}}, "nonsense"),
        ({"session": {"id": "s", "client": "client0", "sessionOptions": {}}}, "sessionOptions"),
    ],
)
@with_one_kind
def test_an_entity_that_is_not_known(runner, entity, name):
    """An entity that the runner cannot make fails the case, by its name."""
    changed = copy.deepcopy(case(FIND, spans=[command("find")]))
    changed.file["createEntities"].append(entity)

    with pytest.raises(UnsupportedError, match=name):
        runner.run(changed)


@with_one_kind
def test_an_unknown_argument(runner):
    """An argument that PyMongo does not know is not passed over."""
    with pytest.raises(TypeError, match="nonsense"):
        runner.run(case(operation("find", filter={}, nonsense=1)))


@with_one_kind
def test_what_is_left_open(runner, telemetry):
    """A span that does not end fails the case."""
    telemetry.tracer.start_span("open")

    with pytest.raises(MismatchError, match="spans that ended"):
        runner.run(case(FIND, spans=[command("find")]))
