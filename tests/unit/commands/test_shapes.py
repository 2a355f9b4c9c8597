"""Texts that are remembered: each is what would be written, and no hidden value is kept."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from bson.code import Code
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_mongo_apm._commands import query_text, shapes
from otel_mongo_apm._commands.query_text import sanitized, sanitizer
from otel_mongo_apm._commands.shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    Command = dict[str, Any]

SECRET = "S3CRET"
LENGTH = 300

# Few keys and few values, so that commands are much alike and differ in one thing.
keys = st.sampled_from(
    [
        *("a", "b", "documents", "filter", "$expr", "$and", "$match", "$project", "$literal"),
        *("$add", "limit", "sort", "find", "lsid", "let", "u", "multi", "from", "$lookup", "0"),
    ]
)
scalars = st.sampled_from(
    [
        *(
            "",
            "a",
            "b",
            "$a",
            "$b",
            SECRET,
            f"${SECRET}",
            "?",
            "text",
            0,
            1,
            -1,
            2,
            Int64(1),
            2**70,
        ),
        *(
            True,
            False,
            None,
            1.0,
            b"a",
            Code("a"),
            Code("$a"),
            ObjectId(),
            "x" * 300,
            "$" + "x" * 300,
        ),
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=2).map(SON),
        st.lists(inner, max_size=2).map(tuple),
        st.integers(18, 30).flatmap(lambda size: scalars.map(lambda value: [value] * size)),
    ),
    max_leaves=8,
)
names = st.sampled_from(
    ["find", "aggregate", "insert", "update", "explain", "dropUser", "createIndexes", "lsid"]
)
arguments = st.sampled_from(
    [
        *("filter", "pipeline", "documents", "updates", "explain", "projection", "limit", "sort"),
        *("indexes", "hint", "lsid", "comment", "ordered", "batchSize"),
    ]
)
commands = st.builds(
    lambda name, own, others: {name: own, **{k: v for k, v in others.items() if k != name}},
    names,
    values,
    st.dictionaries(arguments, values, max_size=4),
)


def parts(shape: Any) -> Iterator[Any]:
    if isinstance(shape, tuple):
        for part in shape:
            yield from parts(part)
    else:
        yield shape


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from keys_of(inner)


@settings(deadline=None, max_examples=300)
@given(st.lists(commands, min_size=2, max_size=12), st.sampled_from([20, LENGTH, 10_000]))
def test_remembered_is_written(each: list[Command], length: int) -> None:
    """Whatever was written before, a command has the text that it would have alone."""
    text = sanitizer(length, mask_keys=False)
    for command in [*each, *each]:
        assert text(command) == sanitized(command, length)


@settings(deadline=None, max_examples=200)
@given(commands, values, st.data())
def test_small_differences(command: Command, value: Any, data: st.DataObject) -> None:
    """Two commands that differ in one place have each its own text."""
    text = sanitizer(LENGTH, mask_keys=False)
    text(command)
    place: Any = command
    while True:
        key = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value

    assert text(command) == sanitized(command, LENGTH)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": []}, {"a": {}}),
        ({"a": {"b": 1}, "b": {}}, {"a": {"b": {}}, "b": 1}),
        ({"a": [1]}, {"a": 1}),
        ({"a": [[1]]}, {"a": [1]}),
        ({"a": [{}]}, {"a": [[]]}),
        ({"a": {"documents": [{"b": 1}]}}, {"a": {"documents": [{"b": 1}, {"b": 1}]}}),
        ({"$expr": "$a"}, {"$expr": "$b"}),
        ({"$expr": "$a"}, {"$expr": "a"}),
        ({"$expr": ["$a"]}, {"$expr": ["a"]}),
        ({"$expr": [1, "$a"]}, {"$expr": ["$a", 1]}),
        ({"$expr": {"a": "b"}}, {"$expr": {"a": {}}}),
        ({"a": [1] * 20 + [{}]}, {"a": [1] * 19 + [{}]}),
        ({}, {"a": 1}),
    ],
)
def test_alike(one: Command, other: Command) -> None:
    """Filters that look much alike have each its own text."""
    text = sanitizer(LENGTH, mask_keys=False)
    found = [text({"find": "c", "filter": document}) for document in (one, other)]

    assert found == [sanitized({"find": "c", "filter": each}, LENGTH) for each in (one, other)]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"limit": 1}, {"limit": True}),
        ({"limit": 1}, {"limit": 1.0}),
        ({"limit": 1}, {"limit": 2}),
        ({"sort": {"a": 1}}, {"sort": {"a": True}}),
        ({"projection": {"a": 1}}, {"projection": {"a": True}}),
        ({"projection": {"a": 0}}, {"projection": {"a": False}}),
        ({"documents": [{}]}, {"documents": [{}, {}]}),
        ({"documents": [{}]}, {"documents": {}}),
        ({"documents": []}, {"documents": [{}]}),
    ],
)
def test_equal_but_not_the_same(one: Command, other: Command) -> None:
    """What Python calls equal is not taken for the same."""
    text = sanitizer(LENGTH, mask_keys=False)
    found = [text({"find": "c", **arguments}) for arguments in (one, other)]

    assert found[0] != found[1]


@settings(deadline=None, max_examples=300)
@given(commands)
def test_shape_keeps_no_value(command: Command) -> None:
    """A shape has keys and what the text shows, and nothing else that could be a value."""
    shape = Shapes().of(command)
    text = sanitized(command, 100_000)
    known = set(keys_of(command))

    for part in parts(shape or ()):
        assert part is None or isinstance(part, bool | int | str)
        if isinstance(part, str) and part not in known:
            assert part in text
        if SECRET in str(part):
            assert SECRET in text


def test_same_shape_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that differ in hidden values only are written once."""
    written = []
    write = query_text._SANITIZED.command

    def counted(*args: Any) -> str:
        written.append(args)
        return write(*args)

    monkeypatch.setattr(query_text._SANITIZED, "command", counted)
    text = sanitizer(1_024, mask_keys=False)
    for number in range(100):
        text(
            {
                "find": "users",
                "filter": {"_id": number, "in": {"$in": [number] * (number + 1)}, "a": {"b": None}},
                "limit": 10,
                "lsid": {"id": number},
            }
        )

    assert len(written) == 1


@pytest.mark.parametrize(
    "command",
    [
        {"find": "c", "filter": {str(number): 1 for number in range(1_000)}},
        {"find": "c", "filter": {"a": [{"b": 1}] * 1_000}},
        {"find": "c", "filter": {"a": {str(n): {"b": {"c": 1}} for n in range(100)}}},
        {"find": "c", **{str(number): 1 for number in range(100)}},
        {"find": "c", "x" * 2_000: 1},
        {"find": "x" * 300},
        {"find": "c", "filter": SON(a=1)},
        {"find": "c", "filter": RawBSONDocument(b"\5\0\0\0\0")},
        {"find": "c", "filter": {"a": object()}},
    ],
)
def test_no_shape(command: Command) -> None:
    """A command that is large, or that has other people's types, has no shape."""
    assert Shapes().of(command) is None


def test_deep_documents_have_no_shape() -> None:
    """However deep a command is, to ask for its shape needs few levels of Python's stack."""
    document: Any = 1
    for _ in range(5_000):
        document = {"a": document}

    assert Shapes().of({"find": "c", "filter": document}) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shapes there are, few are remembered, and no long text."""
    monkeypatch.setattr(query_text, "_MAX_TEXTS", 10)
    monkeypatch.setattr(shapes, "_MAX_PLANS", 10)
    text = sanitizer(100_000, mask_keys=False)
    for number in range(100):
        text({"find": f"c{number}", f"argument{number}": 1, "filter": {f"key{number}": 1}})
        text({"find": "c", "filter": {f"{'x' * 3_000}{number}": 1}})
    stores = {type(cell.cell_contents): cell.cell_contents for cell in text.__closure__ or ()}
    texts, plans = stores[dict], stores[Shapes]._plans

    assert 0 < len(texts) <= 10
    assert 0 < len(plans) <= 10
    assert max(map(len, texts.values())) < 3_000


def test_command_is_not_kept() -> None:
    """A command whose text is remembered can be forgotten."""

    class Filter(dict[str, Any]):
        pass

    text, command = sanitizer(1_024, mask_keys=False), {"find": "c", "comment": Filter()}
    text(command)
    text({"find": "c", "filter": {"a": 1}})
    kept = [each for each in gc.get_referrers(command["comment"]) if each is not command]

    assert not any(isinstance(each, dict | tuple | list) for each in kept)
