"""The rules of the unified test format, as the runner of cases knows them."""

from __future__ import annotations

import uuid

import pytest
from bson import Binary, Code, Int64
from opentelemetry.trace import SpanKind, set_span_in_context
from pymongo.errors import OperationFailure
from unified_format.cases import Case, Server, check_format, read_cases, reason_to_skip
from unified_format.errors import MismatchError, UnsupportedError, match_error
from unified_format.matching import UNSET, Matcher, from_json
from unified_format.runner import check_rules
from unified_format.spans import match_spans, trees

SESSION = {"id": Binary.from_uuid(uuid.UUID("01234567-89ab-cdef-0123-456789abcdef"))}
SERVER = Server((6, 0, 5), "replicaset", auth=False)


@pytest.fixture
def matcher():
    return Matcher({"session0": SESSION})


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("find", "find"),
        (1, 1),
        (1, 1.0),
        (1, Int64(1)),
        (True, True),
        (None, None),
        ([1, {"x": 2}], [1, {"x": 2}]),
        ({"x": {"y": 1}}, {"x": {"y": 1}}),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}),
        (Code("f()"), Code("f()")),
        ({"x": {"$$exists": True}}, {"x": None}),
        ({"x": {"$$exists": False}}, {}),
        ({"$$type": "string"}, "x"),
        ({"$$type": ["int", "long"]}, 27017),
        ({"$$type": ["long", "string"]}, 27017),
        ({"$$type": "long"}, 2**40),
        ({"$$type": ["int", "long"]}, Int64(2**62)),
        ({"$$unsetOrMatches": 1}, UNSET),
        ({"$$unsetOrMatches": 1}, 1),
        ({"x": {"$$unsetOrMatches": 1}}, {}),
        ({"$$matchAsDocument": {"x": 1}}, '{"x": {"$numberLong": "1"}}'),
        ({"$$matchAsDocument": {"$$matchAsRoot": {"x": 1}}}, '{"x": 1, "y": 2}'),
        ({"$$matchAsRoot": {"x": {"y": 1}}}, {"x": {"y": 1}, "z": 2}),
        ({"$$sessionLsid": "session0"}, "01234567-89ab-cdef-0123-456789abcdef"),
        ({"$$sessionLsid": "session0"}, SESSION),
    ],
)
def test_what_matches(matcher, expected, actual):
    """A value, a document or an operator matches what the format says it does."""
    matcher.match(expected, actual, "value")


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("find", "insert"),
        ("1", 1),
        (1, "1"),
        (1, 2),
        (1, True),
        (True, 1),
        (False, None),
        (None, 0),
        (1, UNSET),
        ([1, 2], [1]),
        ([1, 2], [2, 1]),
        ([1], 1),
        ([{"x": 1}], [{"x": 1, "y": 2}]),
        ({"x": 1}, {"x": 2}),
        ({"x": 1}, {}),
        ({"x": 1}, {"x": 1, "y": 2}),
        ({"x": {"y": 1}}, {"x": {"y": 1, "z": 2}}),
        ({"x": 1}, [1]),
        (Code("f()"), "f()"),
        ({"x": {"$$exists": True}}, {}),
        ({"x": {"$$exists": False}}, {"x": None}),
        ({"$$type": "string"}, 1),
        ({"$$type": ["int", "long"]}, "27017"),
        ({"$$type": "int"}, True),
        ({"$$type": "int"}, 2**40),
        ({"$$type": ["int", "long"]}, 2**63),
        ({"$$type": "string"}, UNSET),
        ({"$$unsetOrMatches": 1}, 2),
        ({"$$unsetOrMatches": 1}, None),
        ({"$$matchAsDocument": {"x": 1}}, '{"x": 1, "y": 2}'),
        ({"$$matchAsDocument": {"x": 1}}, '{"x": 1'),
        ({"$$matchAsDocument": {"x": 1}}, {"x": 1}),
        ({"$$matchAsDocument": {"x": 1}}, UNSET),
        ({"$$matchAsDocument": {"$$matchAsRoot": {"x": 1}}}, '{"x": 2, "y": 2}'),
        ({"$$matchAsDocument": {"$$matchAsRoot": {"x": {}}}}, '{"x": {"y": 1}}'),
        ({"$$sessionLsid": "session0"}, "11234567-89ab-cdef-0123-456789abcdef"),
        ({"$$sessionLsid": "session0"}, UNSET),
    ],
)
def test_what_does_not_match(matcher, expected, actual):
    """Anything else does not."""
    with pytest.raises(MismatchError):
        matcher.match(expected, actual, "value")


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        ({"$$nonsense": 1}, r"\$\$nonsense"),
        ({"x": [{"$$nonsense": 1}]}, r"\$\$nonsense"),
        ({"$$exists": True, "$$type": "int"}, r"\$\$exists, \$\$type"),
        ({"$$type": "nonsense"}, "nonsense"),
        ({"$$sessionLsid": "session1"}, "session1"),
    ],
)
def test_an_unknown_operator(matcher, expected, name):
    """What the runner does not know is an error that names it, not a match."""
    with pytest.raises(UnsupportedError, match=name):
        matcher.match(expected, {"x": [1]}, "value")


def test_a_result(matcher):
    """What an operation returns is a root, and so is each document that it returns."""
    matcher.match_result({"n": 1}, {"n": 1, "ok": 1}, "result")
    matcher.match_result([{"x": 1}], [{"x": 1, "y": 2}], "result")

    with pytest.raises(MismatchError):
        matcher.match_result([{"x": 1}], [{"x": 1}, {"x": 1}], "result")


def test_a_mismatch_says_where(matcher):
    """A mismatch names the path to it."""
    with pytest.raises(MismatchError, match=r"^text\.x\[1\]\.y: expected 1, found 2$"):
        matcher.match({"x": [0, {"y": 1}]}, {"x": [0, {"y": 2}]}, "text")


class Recording:
    """Makes spans, the later made the later started, whenever they end."""

    def __init__(self, telemetry):
        self._telemetry = telemetry
        self._time = 0

    def span(self, name, parent=None, **attributes):
        self._time += 1
        return self._telemetry.tracer.start_span(
            name,
            set_span_in_context(parent) if parent else None,
            attributes=attributes,
            start_time=self._time,
        )

    def trees(self, *spans):
        """End spans, those that are not given too, and arrange them."""
        for span in spans:
            span.end()
        return trees(self._telemetry.spans)


@pytest.fixture
def find_twice(telemetry):
    """A find that was tried twice, then an insert; all end in the wrong order."""
    recording = Recording(telemetry)
    find = recording.span("find shop.users", collection="users")
    first = recording.span("find", find, code="89", port=27017)
    second = recording.span("find", find, port=27017)
    insert = recording.span("insert shop.users", collection="users")
    return recording.trees(insert, second, first, find)


def expected_spans():
    return [
        {
            "name": "find shop.users",
            "attributes": {"collection": "users"},
            "nested": [
                {"name": "find", "attributes": {"code": "89"}},
                {"name": "find", "attributes": {"code": {"$$exists": False}}, "nested": []},
            ],
        },
        {"name": "insert shop.users", "attributes": {"collection": "users"}},
    ]


def test_spans(find_twice, matcher):
    """The right spans match, in the order in which they started; attributes may be more."""
    match_spans(expected_spans(), find_twice, matcher)


def wrong_name(spans):
    spans[0]["name"] = "find shop.people"


def wrong_nested_name(spans):
    spans[0]["nested"][1]["name"] = "getMore"


def wrong_attribute(spans):
    spans[1]["attributes"]["collection"] = "people"


def wrong_nested_attribute(spans):
    spans[0]["nested"][0]["attributes"]["code"] = "90"


def missing_attribute(spans):
    spans[0]["attributes"]["summary"] = "find shop.users"


def attribute_too_many(spans):
    spans[0]["nested"][0]["attributes"]["port"] = {"$$exists": False}


def extra_root(spans):
    del spans[1]


def extra_first_root(spans):
    del spans[0]


def extra_nested(spans):
    del spans[0]["nested"][1]


def extra_nested_of_none(spans):
    del spans[0]["nested"]


def missing_root(spans):
    spans.append({"name": "getMore shop.users"})


def missing_nested(spans):
    spans[0]["nested"].append({"name": "find"})


def missing_nested_of_none(spans):
    spans[1]["nested"] = [{"name": "insert"}]


def wrong_order(spans):
    spans.reverse()


def wrong_nested_order(spans):
    spans[0]["nested"].reverse()


def root_instead_of_nested(spans):
    spans[1:1] = spans[0].pop("nested")


MISTAKES = [
    wrong_name,
    wrong_nested_name,
    wrong_attribute,
    wrong_nested_attribute,
    missing_attribute,
    attribute_too_many,
    extra_root,
    extra_first_root,
    extra_nested,
    extra_nested_of_none,
    missing_root,
    missing_nested,
    missing_nested_of_none,
    wrong_order,
    wrong_nested_order,
    root_instead_of_nested,
]
OF_EXTRA_ROOTS = {extra_root, extra_first_root}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_spans(find_twice, matcher, mistake):
    """Each mistake in names, attributes, number, order or nesting is found."""
    spans = expected_spans()
    mistake(spans)

    with pytest.raises(MismatchError):
        match_spans(spans, find_twice, matcher)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_spans_with_others_ignored(find_twice, matcher, mistake):
    """Where extra spans are ignored, extra roots are; no other mistake is."""
    spans = expected_spans()
    mistake(spans)

    if mistake in OF_EXTRA_ROOTS:
        match_spans(spans, find_twice, matcher, ignore_extra=True)
    else:
        with pytest.raises(MismatchError):
            match_spans(spans, find_twice, matcher, ignore_extra=True)


def test_no_spans(find_twice, matcher):
    """Where none are expected, none may be."""
    match_spans([], [], matcher)

    with pytest.raises(MismatchError):
        match_spans([], find_twice, matcher)


def test_a_parent_that_has_not_ended(telemetry):
    """A span whose parent is not there belongs nowhere."""
    recording = Recording(telemetry)
    find = recording.span("find shop.users")

    with pytest.raises(MismatchError, match="a parent that has ended"):
        recording.trees(recording.span("find", find))


def test_an_unknown_key_of_a_span(find_twice, matcher):
    """A key of an expected span that the runner does not know is an error."""
    spans = expected_spans()
    spans[0]["kind"] = "client"

    with pytest.raises(UnsupportedError, match="kind"):
        match_spans(spans, find_twice, matcher)


@pytest.mark.parametrize(
    ("name", "kind", "attributes", "is_right"),
    [
        ("find", SpanKind.CLIENT, {"db.command.name": "find"}, True),
        ("find", SpanKind.INTERNAL, {"db.command.name": "find"}, False),
        ("find shop.users", SpanKind.INTERNAL, {"db.operation.name": "find"}, False),
        ("transaction", SpanKind.CLIENT, {"db.system.name": "mongodb"}, True),
        ("transaction", SpanKind.CLIENT, {"db.system.name": "mongodb", "x": 1}, False),
        ("transaction", SpanKind.CLIENT, {}, False),
    ],
)
def test_rules(telemetry, name, kind, attributes, is_right):
    """What no case can say is looked at, too: kinds, and what a transaction is alone to have."""
    telemetry.tracer.start_span(name, kind=kind, attributes=attributes).end()

    if is_right:
        check_rules(telemetry.spans)
    else:
        with pytest.raises(MismatchError):
            check_rules(telemetry.spans)


ERROR = OperationFailure(
    "Too bad", 91, {"code": 91, "codeName": "ShutdownInProgress", "errorLabels": ["A", "B"]}
)


@pytest.mark.parametrize(
    "expected",
    [
        {"isError": True},
        {"isClientError": False},
        {"isTimeoutError": False},
        {"errorContains": "too BAD"},
        {"errorCode": 91},
        {"errorCodeName": "shutdowninprogress"},
        {"errorLabelsContain": ["A"]},
        {"errorLabelsOmit": ["C"]},
        {"errorResponse": {"code": {"$$type": "int"}}},
    ],
)
def test_an_error(matcher, expected):
    """An error is the expected one."""
    match_error(expected, ERROR, matcher)


@pytest.mark.parametrize(
    "expected",
    [
        {"isClientError": True},
        {"isTimeoutError": True},
        {"errorContains": "good"},
        {"errorCode": 89},
        {"errorCodeName": "NotMaster"},
        {"errorLabelsContain": ["A", "C"]},
        {"errorLabelsOmit": ["B"]},
        {"errorResponse": {"code": 89}},
    ],
)
def test_a_wrong_error(matcher, expected):
    """An error is not the expected one."""
    with pytest.raises(MismatchError):
        match_error(expected, ERROR, matcher)


def test_an_unknown_key_of_an_error(matcher):
    """What the runner does not know of an error is an error that names it."""
    with pytest.raises(UnsupportedError, match="nonsense"):
        match_error({"nonsense": 1}, ERROR, matcher)


def case(requirements=None, of_test=None, operations=("find",), **file):
    test = {"description": "a test", "operations": [{"name": name} for name in operations]}
    if of_test:
        test["runOnRequirements"] = of_test
    if requirements:
        file["runOnRequirements"] = requirements
    return Case("a case", {"schemaVersion": "1.27", "tests": [test], **file}, test)


@pytest.mark.parametrize(
    "requirement",
    [
        {"minServerVersion": "6.0"},
        {"minServerVersion": "6.0.5"},
        {"maxServerVersion": "6.0.5"},
        {"maxServerVersion": "6.1"},
        {"topologies": ["sharded", "replicaset"]},
        {"serverless": "forbid"},
        {"auth": False},
    ],
)
def test_a_requirement_that_is_met(requirement):
    """A server is new, old and otherwise such as a case requires; one of several will do."""
    assert reason_to_skip(case([requirement]), SERVER) is None
    assert reason_to_skip(case([{"auth": True}, requirement], [requirement]), SERVER) is None


@pytest.mark.parametrize(
    "requirement",
    [
        {"minServerVersion": "6.0.6"},
        {"minServerVersion": "7"},
        {"minServerVersion": "10.0"},
        {"maxServerVersion": "6.0"},
        {"topologies": ["sharded", "single"]},
        {"serverless": "require"},
        {"auth": True},
        {"minServerVersion": "6.0", "topologies": ["single"]},
    ],
)
def test_a_requirement_that_is_not_met(requirement):
    """A case is skipped for a file's or a test's requirement, and the reason says so."""
    for each in (case([requirement]), case(None, [requirement]), case([{}], [requirement])):
        assert reason_to_skip(each, SERVER).startswith("runOnRequirements: MongoDB 6.0.5")


def test_an_unknown_requirement():
    """A requirement that the runner does not know is an error, not met or unmet."""
    with pytest.raises(UnsupportedError, match="nonsense"):
        reason_to_skip(case([{"nonsense": 1}]), SERVER)


def test_what_pymongo_has_not():
    """Nothing but mapReduce is skipped for PyMongo's sake."""
    assert "mapReduce" in reason_to_skip(case(operations=["find", "mapReduce"]), SERVER)
    assert reason_to_skip(case(operations=["find", "nonsense"]), SERVER) is None


@pytest.mark.parametrize(
    "file", [{"nonsense": 1}, {"schemaVersion": "2.0"}, {"schemaVersion": "0.9"}]
)
def test_an_unknown_format(file):
    """A file of another format, or with a key that is not known, is an error."""
    check_format(case())

    with pytest.raises(UnsupportedError):
        check_format(case(**file))


def test_reading(tmp_path):
    """All tests of all files are found, in folders too; extended JSON is read as such."""
    text = '{"schemaVersion": "1.27", "tests": [{"description": "%s"}, {"description": "b"}]}'
    (tmp_path / "operation").mkdir()
    (tmp_path / "operation" / "find.json").write_text(text % "a", encoding="utf-8")
    (tmp_path / "other.json").write_text(text % "c", encoding="utf-8")

    names = [each.name for each in read_cases(tmp_path)]
    assert names == ["operation/find: a", "operation/find: b", "other: c", "other: b"]
    assert from_json('{"x": {"$numberLong": "1"}, "$$type": "int"}') == {"x": 1, "$$type": "int"}
