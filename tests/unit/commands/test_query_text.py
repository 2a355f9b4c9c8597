from __future__ import annotations

import gc
import json
import re
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import bson
import pytest
from bson import json_util
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.son import SON
from bson.timestamp import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_mongo_apm._commands import json_text, query_text, raw_text
from otel_mongo_apm._commands.query_text import sanitized
from otel_mongo_apm._commands.raw_text import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNLIMITED = 10**9
LONG = "x" * 10_000
SECRET = "S3CRET"
SESSION = {
    "lsid": {"id": Binary(b"0123456789abcdef", 4)},
    "$clusterTime": {"clusterTime": Timestamp(5, 1), "signature": {"hash": b"h"}},
    "$db": "shop",
}


class Money:
    """A custom type, as a type codec may encode it."""

    def __repr__(self) -> str:
        message = "A value must never be asked for its text."
        raise AssertionError(message)


class Point(NamedTuple):
    x: int
    y: int


class Name(str):
    __slots__ = ()


class ReadOnly(Mapping[str, Any]):
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def __getitem__(self, key: str) -> Any:
        return self._document[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._document)

    def __len__(self) -> int:
        return len(self._document)


class CountedList(list[Any]):
    """A list that knows how many of its items were looked at."""

    looked_at = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.looked_at += 1
            yield item

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.looked_at += len(found) if isinstance(index, slice) else 1
        return found


class CountedDocument(dict[str, Any]):
    """A document that knows how many of its fields were looked at."""

    looked_at = 0

    def items(self) -> Any:
        for item in super().items():
            self.looked_at += 1
            yield item


def text(command: Mapping[str, Any], max_length: int = UNLIMITED, **options: bool) -> str:
    return sanitized(command, max_length, **options)


def encoded(command: dict[str, Any]) -> str:
    """What raw() is a part of, written the slow way."""
    shown = {key: value for key, value in command.items() if key not in json_text.LEFT_OUT_OF_ALL}
    return json_util.dumps(
        shown,
        json_options=json_util.RELAXED_JSON_OPTIONS.with_options(
            uuid_representation=UuidRepresentation.STANDARD
        ),
        ensure_ascii=False,
        separators=(",", ":"),
    )


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def keys(value: Any) -> Iterator[Any]:
    """Yield every key, depth first, except of what is left out of a text on purpose."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from keys(item)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            yield from keys(item)


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {"a": SECRET}
    for _ in range(depth - 1):
        document = {"a": document}
    return document


# Scalars. Each that can hold a text or a number has something to be recognised by: SECRET, or
# digits, which no generated key has.

secrets = st.text(max_size=20).map(lambda any_text: f"{any_text}{SECRET}{any_text}")
numbers = st.integers(10**8, 2**31 - 1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
binaries = st.builds(
    lambda content, subtype: Binary(content + SECRET.encode(), subtype),
    st.binary(max_size=30),
    st.integers(0, 255).filter(lambda subtype: subtype not in (2, 3, 4)),
)
codes = st.builds(
    Code,
    secrets,
    st.none() | st.dictionaries(st.sampled_from(["scope", "b"]), secrets | numbers, max_size=2),
)
scalars = st.one_of(
    secrets,
    numbers,
    numbers.map(Int64),
    st.floats(1e8, 1e9) | st.sampled_from([float("inf"), float("-inf"), float("nan")]),
    numbers.map(lambda number: Decimal128(f"{number}.5")),
    st.booleans(),
    st.none(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    binaries,
    st.binary(max_size=20).map(lambda content: content + SECRET.encode()),
    st.uuids(),
    st.builds(Regex, secrets.map(re.escape), st.sampled_from([0, re.IGNORECASE, re.MULTILINE])),
    st.just(re.compile(SECRET)),
    codes,
    moments,
    moments.map(lambda moment: moment.replace(tzinfo=timezone(timedelta(hours=2)))),
    st.integers(-(2**62), 2**62).map(DatetimeMS),
    st.builds(Timestamp, numbers, numbers),
    st.sampled_from([MinKey(), MaxKey()]),
    st.builds(DBRef, secrets, secrets | numbers),
)
field_names = st.text('abcdeé.$"\\\n\t\u2028😀', max_size=8) | st.sampled_from(
    ["$match", "$in", "documents", "lsid", "$db", "filter", "u"]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(scalars, max_size=25)
        | st.dictionaries(field_names, inner, max_size=5)
        | st.dictionaries(field_names, inner, max_size=3).map(SON)
    ),
    max_leaves=20,
)
commands = st.builds(
    lambda name, value, arguments: {name: value, **arguments, **SESSION},
    st.sampled_from(["find", "aggregate", "dropUser"]),
    scalars,
    st.dictionaries(field_names.filter(lambda key: key != "documents"), values, max_size=6),
)
commands_and_batches = st.builds(
    lambda command, documents: {**command, "documents": documents},
    commands,
    st.lists(st.dictionaries(field_names, values, max_size=3), max_size=4),
)
lengths = st.integers(-5, 300)

# The claims hold however long they take to check on a busy machine.
patiently = settings(deadline=None)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(
            {
                "find": "users",
                "filter": {"age": {"$gt": 30}, "status": "active"},
                "limit": 10,
                "singleBatch": True,
                **SESSION,
            },
            '{"find":"users","filter":{"age":{"$gt":"?"},"status":"?"},"limit":10,'
            '"singleBatch":"?"}',
            id="find",
        ),
        pytest.param(
            {
                "aggregate": "orders",
                "pipeline": [
                    {"$match": {"paid": True}},
                    {
                        "$lookup": {
                            "from": "users",
                            "let": {"buyer": "$buyer"},
                            "pipeline": [{"$match": {"$expr": {"$eq": ["$_id", "$$buyer"]}}}],
                            "as": "buyers",
                        }
                    },
                ],
                "cursor": {},
            },
            '{"aggregate":"orders","pipeline":[{"$match":{"paid":"?"}},{"$lookup":{"from":"users",'
            '"let":{"buyer":"$buyer"},"pipeline":[{"$match":{"$expr":{"$eq":["$_id","$$buyer"]}}}],'
            '"as":"buyers"}}],'
            '"cursor":{}}',
            id="$lookup",
        ),
        pytest.param(
            {
                "aggregate": "orders",
                "pipeline": [{"$addFields": {"vat": {"$multiply": ["$total", 0.19]}, "by": "al"}}],
                "let": {"who": "alice"},
            },
            '{"aggregate":"orders","pipeline":[{"$addFields":{"vat":{"$multiply":["$total","?"]},'
            '"by":"?"}}],"let":{"who":"?"}}',
            id="$addFields and let",
        ),
        pytest.param(
            {"aggregate": 1, "pipeline": [{"$currentOp": {}}]},
            '{"aggregate":"?","pipeline":[{"$currentOp":{}}]}',
            id="aggregate on a database",
        ),
        pytest.param(
            {"find": "users", "filter": {"$where": Code("this.a == 'alice'", {"b": "bob"})}},
            '{"find":"users","filter":{"$where":"?"}}',
            id="$where",
        ),
        pytest.param(
            {
                "aggregate": "users",
                "pipeline": [
                    {"$set": {"a": {"$function": {"body": "f()", "args": ["$b"], "lang": "js"}}}}
                ],
            },
            '{"aggregate":"users","pipeline":[{"$set":{"a":{"$function":{"body":"?",'
            '"args":["$b"],"lang":"?"}}}}]}',
            id="$function",
        ),
        pytest.param(
            {
                "bulkWrite": 1,
                "ops": [
                    {"insert": 0, "document": {"name": "alice"}},
                    {"update": 0, "filter": {"a": 1}, "updateMods": {"$set": {"b": 2}}},
                ],
                "nsInfo": [{"ns": "shop.users"}],
            },
            '{"bulkWrite":"?","ops":[{"insert":"?","document":{"name":"?"}},{"update":"?",'
            '"filter":{"a":"?"},"updateMods":{"$set":{"b":"?"}}}],"nsInfo":[{"ns":"?"}]}',
            id="bulkWrite",
        ),
        pytest.param(
            {"find": "a", "filter": {"in": [[1, 2], [], [[3]], {}, {"b": 1}, 4]}},
            '{"find":"a","filter":{"in":[["?"],[],[["?"]],{},{"b":"?"},"?"]}}',
            id="nested lists",
        ),
        pytest.param(
            {"find": "a", "filter": {"b": Binary(b"b"), "c": DBRef("users", 1), "d": Money()}},
            '{"find":"a","filter":{"b":"?","c":"?","d":"?"}}',
            id="Binary, DBRef and a custom type",
        ),
        pytest.param(
            {"find": "a", "in": [Money(), Money()], "point": Point(1, 2), "tuple": (1, {"b": 2})},
            '{"find":"a","in":["?"],"point":["?"],"tuple":["?",{"b":"?"}]}',
            id="custom types in a list, and tuples",
        ),
        pytest.param(
            SON([("find", Name("users")), ("filter", OrderedDict(a=ReadOnly({"b": 1})))]),
            '{"find":"users","filter":{"a":{"b":"?"}}}',
            id="documents and strings of other classes",
        ),
        pytest.param(
            {"find": "users", "filter": RawBSONDocument(bson.encode({"a": {"b": [1]}}))},
            '{"find":"users","filter":{"a":{"b":["?"]}}}',
            id="RawBSONDocument",
        ),
        pytest.param(
            {"explain": {"find": "users", "filter": {"a": 1}}, "verbosity": "queryPlanner"},
            '{"explain":{"find":"users","filter":{"a":"?"}},"verbosity":"?"}',
            id="explain",
        ),
        pytest.param({"find": 'ü"\n'}, '{"find":"ü\\"\\n"}', id="escapes"),
        pytest.param({"find": Code("f()")}, '{"find":"?"}', id="code is no collection"),
        pytest.param({"find": "users", 5: {6: 7}}, '{"find":"users","5":{"6":"?"}}', id="number"),
        pytest.param({"find": "\ud800", "\udc00": 1}, '{"find":"?","?":"?"}', id="half"),
        pytest.param({}, "{}", id="empty"),
    ],
)
def test_sanitized_keeps_keys_and_hides_values(command: dict[str, Any], expected: str) -> None:
    """Of a command stay its keys, operators, shape and collection."""
    found = text(command)

    assert found == expected


@pytest.mark.parametrize("name", ["dropUser", "usersInfo", "createUser", "grantRolesToUser"])
def test_user_name_is_hidden(name: str) -> None:
    """A command's own value that names no collection is a value like others."""
    found = text({name: "alice", "roles": ["read"]})

    assert found == f'{{"{name}":"?","roles":["?"]}}'


def test_only_the_first_value_is_the_commands_own() -> None:
    """A field that has the value of the collection is hidden all the same."""
    found = text({"find": "users", "comment": "users"})

    assert found == '{"find":"users","comment":"?"}'


@pytest.mark.parametrize("key", sorted(json_text.LEFT_OUT))
def test_driver_fields_are_left_out_at_top_level_only(key: str) -> None:
    """What the driver adds is left out, but a field of the user's that is called so stays."""
    found = text({"find": "users", key: 1, "filter": {key: 1}})

    assert found == f'{{"find":"users","filter":{{"{key}":"?"}}}}'


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], "[]"),
        ([{"a": 1}], '[{"a":"?"}]'),
        ([{"a": 1}, {"b": 2}], '[{"a":"?"},"+1"]'),
        ([{"a": [1, 2]}] * 100, '[{"a":["?"]},"+99"]'),
        (({"a": 1}, {"b": 2}), '[{"a":"?"},"+1"]'),
        ([RawBSONDocument(bson.encode({"a": 1}))] * 3, '[{"a":"?"},"+2"]'),
        ({"a": 1}, '{"a":"?"}'),
        (SECRET, '"?"'),
    ],
)
def test_first_document_stands_for_all(documents: Any, expected: str) -> None:
    """Of the documents to insert only the first is shown, and how many others there are."""
    found = text({"insert": "users", "documents": documents})

    assert found == f'{{"insert":"users","documents":{expected}}}'


def test_documents_below_the_top_level_are_a_list_like_others() -> None:
    """Only the command's own documents are abridged."""
    found = text({"find": "users", "filter": {"documents": [{"a": 1}, {"b": 2}]}})

    assert found == '{"find":"users","filter":{"documents":[{"a":"?"},{"b":"?"}]}}'


def test_twenty_items_decide_what_a_list_is() -> None:
    """A list that begins with twenty scalars is one of scalars, whatever follows."""
    found = text({"find": "a", "late": [*range(20), {"b": 1}], "early": [1] * 19 + [{"b": 1}]})

    assert json.loads(found) == {"find": "a", "late": ["?"], "early": ["?"] * 19 + [{"b": "?"}]}


def test_sanitized_is_at_most_twenty_deep() -> None:
    """What is below the twentieth level is a value, the command being the first."""
    found = text({"find": "a", "filter": nested(25), "list": [[[[nested(25)]]]]})

    assert found.split(',"list":')[0] == '{"find":"a","filter":' + '{"a":' * 19 + '"?"' + "}" * 19
    assert found.count("{") == 1 + 19 + 15


def test_first_document_is_at_most_twenty_deep() -> None:
    """The command and its list of documents count as levels."""
    found = text({"insert": "a", "documents": [nested(25), {}]})

    assert found.count("{") == 19


def test_masked_keys_leave_operators() -> None:
    """Keys that may be data are hidden, at all levels but the command's own."""
    command = {"find": "users", "filter": {"users.alice@x": {"$gt": 1}, "": [{"b": 1}], 7: 1}}
    found = text(command, mask_keys=True)

    assert found == '{"find":"users","filter":{"?":{"$gt":"?"},"?":[{"?":"?"}],"?":"?"}}'


@pytest.mark.parametrize(
    "key", ["$alice@x", "$4711", "$alice.x", "$", "$a b", "$ren\u00e9", "$a\n"]
)
def test_masked_keys_that_begin_with_a_dollar(key: str) -> None:
    """A key that cannot be an operator is hidden, too, whatever it begins with."""
    command = {"insert": "users", "documents": [{key: 1, "$toLower": 1, "$log10": 1}]}
    found = text(command, mask_keys=True)

    assert found == '{"insert":"users","documents":[{"?":"?","$toLower":"?","$log10":"?"}]}'


@pytest.mark.parametrize("write", [text, raw])
def test_surrogates(write: Callable[..., str]) -> None:
    """Bytes that are no characters, as a raw document may have them, keep no exporter from it."""
    options = CodecOptions(
        document_class=RawBSONDocument, unicode_decode_error_handler="surrogateescape"
    )
    encoded = bson.encode({"xyz": "xyz"}).replace(b"xyz", b"\xff\xfe\xfd")
    found = write({"find": "us\u00e9rs", "filter": RawBSONDocument(encoded, options)}, UNLIMITED)

    assert found.encode().startswith('{"find":"us\u00e9rs","filter":{"???":"?'.encode())


@pytest.mark.parametrize("write", [text, raw])
@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (-1, ""),
        (0, ""),
        (1, "{"),
        (2, '{"'),
        (3, "..."),
        (4, "{..."),
        (15, '{"find":"use...'),
        (16, '{"find":"users"}'),
    ],
)
def test_ellipsis_is_within_the_length(
    write: Callable[..., str], max_length: int, expected: str
) -> None:
    """A text that is cut says so, if there is room for that."""
    found = write({"find": "users"}, max_length)

    assert found == expected


@pytest.mark.parametrize("write", [text, raw])
def test_invalid_raw_document_is_hidden(write: Callable[..., str]) -> None:
    """A raw document that is none costs its own text, not the command's."""
    valid = bson.encode({"a": "bc"})
    broken = RawBSONDocument(valid.replace(b"\x02a", b"\x77a"))
    found = write({"insert": "users", "filter": [broken, {"b": {}}]}, UNLIMITED)

    assert found == '{"insert":"users","filter":["?",{"b":{}}]}'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Int64(2**40), "1099511627776"),
        (1.5, "1.5"),
        (float("nan"), '{"$numberDouble":"NaN"}'),
        (None, "null"),
        ("ü", '"ü"'),
        (Decimal128("1.5"), '{"$numberDecimal":"1.5"}'),
        (ObjectId("5" * 24), '{"$oid":"555555555555555555555555"}'),
        (b"a", '{"$binary":{"base64":"YQ==","subType":"00"}}'),
        (Binary(b"a", 5), '{"$binary":{"base64":"YQ==","subType":"05"}}'),
        (UUID(int=1), '{"$binary":{"base64":"AAAAAAAAAAAAAAAAAAAAAQ==","subType":"04"}}'),
        (Regex("a", "i"), '{"$regularExpression":{"pattern":"a","options":"i"}}'),
        (Code("f()"), '{"$code":"f()"}'),
        (Code("f()", {"a": 1}), '{"$code":"f()","$scope":{"a":1}}'),
        (DBRef("users", 1, "shop"), '{"$ref":"users","$id":1,"$db":"shop"}'),
        (datetime(2026, 1, 2, 3, 4, 5), '{"$date":"2026-01-02T03:04:05Z"}'),  # noqa: DTZ001
        (Timestamp(5, 1), '{"$timestamp":{"t":5,"i":1}}'),
        (MinKey(), '{"$minKey":1}'),
        ((1, [2, {}], []), "[1,[2,{}],[]]"),
        (Money(), '"<Money>"'),
        (iter([1]), '"<list_iterator>"'),
        (re.compile(b"\xff"), '"<Pattern>"'),
    ],
)
def test_raw_is_relaxed_extended_json(value: Any, expected: str) -> None:
    """Raw text shows every type as MongoDB's tools do, or else names its class."""
    found = raw({"find": "users", "filter": {"a": value}}, UNLIMITED)

    assert found == f'{{"find":"users","filter":{{"a":{expected}}}}}'


def test_raw_leaves_out_the_session_at_top_level_only() -> None:
    """Raw text lacks what identifies a session; a transaction and a nested field stay."""
    command = {"find": "users", "filter": {"lsid": 1}, **SESSION, "signature": 1, "txnNumber": 5}
    found = raw(command, UNLIMITED)

    assert found == '{"find":"users","filter":{"lsid":1},"txnNumber":5}'


def test_raw_is_as_deep_as_mongodb_allows() -> None:
    """Raw text is whole down to the hundredth level."""
    found = raw(nested(150), UNLIMITED)

    assert found == '{"a":' * 100 + '"?"' + "}" * 100


def test_raw_code_is_no_way_around_the_depth() -> None:
    """A scope counts as a level."""
    code = Code("f()")
    for _ in range(300):
        code = Code("f()", {"a": code})
    found = raw({"find": code}, UNLIMITED)

    assert found.count("$code") < 100


@patiently
@given(commands_and_batches, st.booleans())
def test_no_value_survives(
    command: dict[str, Any],
    mask_keys: bool,  # noqa: FBT001 - Hypothesis gives arguments by name.
) -> None:
    """Sanitized text has no value but the collection and the number of the other documents."""
    name = next(iter(command))
    found = json.loads(sanitized(command, UNLIMITED, mask_keys=mask_keys))
    own = found.pop(name)
    others = [f"+{len(command['documents']) - 1}"] * (len(command["documents"]) > 1)
    shown = found["documents"][1:]

    is_collection = name != "dropUser" and type(command[name]) is str
    assert own == (command[name] if is_collection else "?")
    assert shown == others
    assert set(leaves({**found, "documents": found["documents"][:1]})) <= {"?"}


@patiently
@given(commands, lengths, st.booleans())
def test_no_secret_is_in_the_text(
    command: dict[str, Any],
    max_length: int,
    mask_keys: bool,  # noqa: FBT001
) -> None:
    """Neither a string nor a number of the command is found in its text, cut or not."""
    name = next(iter(command))
    found = sanitized({**command, name: 1}, max_length, mask_keys=mask_keys)

    assert SECRET not in found
    assert not re.search(r"\d", found)


@patiently
@given(commands)
def test_sanitized_keeps_every_key(command: dict[str, Any]) -> None:
    """Sanitized text has the command's keys in their order."""
    shown = {key: value for key, value in command.items() if key not in json_text.LEFT_OUT}
    found = json.loads(text(command))

    assert list(keys(found)) == list(keys(shown))


@patiently
@given(commands_and_batches, lengths)
@example({"find": "x" * 1000}, 5)
@example({"x" * 1000: 1}, 5)
def test_limit_only_cuts(command: dict[str, Any], max_length: int) -> None:
    """To stop early gives what cutting the whole text would give."""
    found = text(command, max_length)

    assert found == json_text.cut(text(command), max_length)
    assert len(found) <= max(max_length, 0)


@patiently
@given(commands_and_batches, lengths)
@example({"find": b"x" * 1000}, 50)
@example({"find": Binary(b"x" * 1000, 5)}, 300)
@example({"find": Code("x" * 1000)}, 50)
def test_raw_is_extended_json(command: dict[str, Any], max_length: int) -> None:
    """Raw text is what json_util writes, cut to its length."""
    found = raw(command, max_length)

    assert found == json_text.cut(encoded(command), max_length)
    assert len(found) <= max(max_length, 0)


@pytest.mark.parametrize("write", [text, raw])
def test_every_limit_only_cuts(write: Callable[..., str]) -> None:
    """Wherever the limit falls, an unfinished text never looks like a finished one."""
    command = {
        "insert": "users",
        "documents": [{"a": [{"b": 1}, 2, [3]], "c": {}, "d": "é", "e": b"binary"}, {"f": 1}],
        "ordered": {"g": [{}, {"h": Code("i()")}]},
    }
    whole = write(command, UNLIMITED)
    limits = range(len(whole) + 5)
    found = [write(command, limit) for limit in limits]

    assert found == [json_text.cut(whole, limit) for limit in limits]


@patiently
@given(commands_and_batches, lengths)
def test_command_is_not_changed(command: dict[str, Any], max_length: int) -> None:
    """The driver's documents are as they were."""
    before = repr(command)
    text(command, max_length)
    text(command, max_length, mask_keys=True)
    raw(command, max_length)

    assert repr(command) == before


def test_command_is_not_kept() -> None:
    """A command can be forgotten once its text is written."""
    command = CountedDocument(find="users", filter=CountedDocument(a=1))
    remembered = [weakref.ref(command), weakref.ref(command["filter"])]
    text(command)
    raw(command, UNLIMITED)
    del command
    gc.collect()

    assert [reference() for reference in remembered] == [None, None]


@pytest.mark.parametrize("write", [text, raw])
@pytest.mark.parametrize("key", ["documents", "updates", "ops"])
def test_number_of_documents_costs_nothing(write: Callable[..., str], key: str) -> None:
    """Of ten thousand documents no more are looked at than of twenty."""
    counts = []
    for size in (20, 10_000):
        documents = CountedList(CountedDocument(q={"a": 1}, u={"b": 2}) for _ in range(size))
        write({"bulk": "users", key: documents}, 100)
        fields = sum(document.looked_at for document in list.__iter__(documents))
        counts.append((documents.looked_at, fields))

    assert counts[0] == counts[1]
    assert counts[0] > (0, 0)


@pytest.mark.parametrize("size", [20, 10_000])
def test_number_of_scalars_costs_nothing(size: int) -> None:
    """Of a list of scalars twenty are looked at."""
    ids = CountedList(range(size))
    text({"find": "users", "filter": {"_id": {"$in": ids}}})

    assert ids.looked_at == 20


@pytest.mark.parametrize("write", [text, raw])
def test_number_of_fields_costs_nothing(write: Callable[..., str]) -> None:
    """Of a document with many fields no more are looked at than there is room for."""
    document = CountedDocument((f"field{number}", number) for number in range(10_000))
    write({"find": "users", "filter": document}, 100)

    assert document.looked_at < 20


def test_number_of_arguments_costs_nothing() -> None:
    """Of a command with many arguments no more are looked at than there is room for."""
    command = CountedDocument((f"argument{number}", number) for number in range(10_000))
    text(command, 100)

    assert command.looked_at < 20


@pytest.mark.parametrize(
    "command",
    [
        {"find": LONG},
        {"find": "a", LONG: 1},
        {"find": "a", "filter": {LONG: {LONG: {LONG: 1}}}},
        {"find": "a", "filter": {"b": {"c": {"d": {"e": {LONG: 1}}}}}},
        {"find": "a", "filter": [[[[[[LONG, {LONG: LONG}]]]]]]},
        {"find": "a", "filter": {"b": {"c": {"d": {"e": LONG.encode()}}}}},
        {"find": "a", "filter": Binary(LONG.encode(), 5)},
        {"find": "a", "filter": Code(LONG)},
        {"find": "a", "filter": Code("f()", {LONG: LONG})},
        {"find": "a", "filter": DBRef(LONG, LONG)},
    ],
)
def test_long_strings_are_cut_before_they_are_written(command: dict[str, Any]) -> None:
    """A long key or value is not escaped as a whole for a few characters of it."""
    unfinished = [query_text._SANITIZED.command(command, room) for room in range(1, 60)]
    unfinished += [raw_text._value(command, room, 100) for room in range(1, 60)]

    assert max(map(len, unfinished)) < 500


def test_keys_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys there are, few are remembered, and none that is long."""
    monkeypatch.setattr(query_text, "_MAX_KEYS", 10)
    keys = query_text._SANITIZED.keys
    for number in range(100):
        text({"find": "a", "filter": {f"key{number}": 1, f"{LONG}{number}": 1}})

    assert 0 < len(keys) <= 10
    assert max(map(len, keys)) < 100


def test_sets_of_arguments_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sets of arguments there are, few are remembered, and none with long names."""
    monkeypatch.setattr(query_text, "_MAX_SETS", 10)
    sets = query_text._SANITIZED.sets
    sets.clear()
    for number in range(100):
        text({"find": "a", f"argument{number}": 1})
        text({"find": "a", f"{LONG}{number}": 1})

    assert 0 < len(sets) <= 10
    assert max(len(name) for names in sets for name in names) < 100


def test_a_command_with_many_arguments() -> None:
    """Of a command with more arguments than there is room for, few are read."""
    many = {f"argument{number}": number for number in range(1_000)}
    read = []

    class Command(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            read.append(name)
            return super().__getitem__(name)

    command = Command({"find": "a", "lsid": {}, **many})
    written = sanitized(command, 100)

    assert written == sanitized({"find": "a", **dict(islice(many.items(), 20))}, 100)
    assert len(written) == 100
    assert len(read) < 120
    assert sanitized(command, 100_000).count('"?"') == 1_000
    assert not any("argument999" in names for names in query_text._SANITIZED.sets)


def test_long_names_cost_their_room() -> None:
    """Of names that are longer than the room together, only those in it are written."""
    names = [f"{number}{LONG}" for number in range(2_000)]
    found = query_text._SANITIZED.sets.find(("find", *names), 1_000)

    assert len(found) == 2
    assert len(sanitized({"find": "a", **dict.fromkeys(names, 1)}, 1_000)) == 1_000


class Name(str):
    """A string of the application's, which may refer to anything."""

    __slots__ = ("__weakref__", "document")


def test_an_applications_own_strings_are_not_kept() -> None:
    """An argument whose name is of another type than str is forgotten with its command."""
    name = Name("filter")
    reference = weakref.ref(name)
    assert text({"find": "a", name: {"b": 1}}) == '{"find":"a","filter":{"b":"?"}}'
    del name
    gc.collect()

    assert reference() is None


def test_names_without_room_are_not_remembered() -> None:
    """The names of arguments that were cut for want of room are whole where there is room."""
    command = {"find": "a", "an_argument_that_no_other_test_has": 1}
    sanitized(command, 20)

    assert text(command) == '{"find":"a","an_argument_that_no_other_test_has":"?"}'


def test_a_key_without_room_is_not_remembered() -> None:
    """A key that was cut for want of room is shown as a whole where there is room."""
    command = {"find": "a", "filter": {"a_key_that_no_other_test_has": 1}}
    sanitized(command, 30)

    assert text(command) == '{"find":"a","filter":{"a_key_that_no_other_test_has":"?"}}'
