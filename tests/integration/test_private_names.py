"""Each private name of PyMongo that we touch, changed: only what needs it is lost, and it is said.

To touch a new one, add what happens without it to `CASES`; until then a test fails.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
import pytest
from own_process import output_of
from pymongo_of_tomorrow import moved, renamed

from otel_mongo_apm import _driver

if TYPE_CHECKING:
    from pymongo_of_tomorrow import Change

pytestmark = pytest.mark.usefixtures("shop")

TESTS = Path(__file__).parents[1]
# The clients of the program, by how they come to be instrumented.
# Since 4.12 an SRV record is looked up at the first operation.
LOOKED_UP_LATE = ("srv",) if pymongo.version_tuple >= (4, 12) else ()
ALL = ("sync", "async", "passed", "existing", *LOOKED_UP_LATE)


@dataclass(frozen=True)
class Case:
    """A private name that is changed.

    Args:
        name: As `_driver` has it.
        changes: To PyMongo's source.
        warning: What names it, and says what is lost without it.
        also: What else is lost, in a warning of its own.
        lost: What is told no more, of which client.
        told: What is told instead.
        gone: Modules that have moved.
    """

    name: str
    changes: tuple[Change, ...]
    warning: str
    also: tuple[str, ...] = ()
    lost: dict[str, set[str]] = field(default_factory=dict)
    told: dict[str, set[str]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()


WAITS = {kind: {"select server"} for kind in ALL}
SELECTION = "Topology.select_server(selector, operation): waits for a server have no spans"
NEXT = (
    "MongoClient._retry_internal(operation): `check out connection` does not say for which command"
)
LISTENERS = "Topology._listeners.event_listeners(): waits for a server have no spans"
EXISTING = "client._event_listeners: existing clients cannot be instrumented"
UNTOLD = "connections whose check-in is not published are counted as used"
TARGET = "client._topology_settings.seeds: the configured server.address is left out"
NO_COMMENTS = {kind: {"comment"} for kind in ALL}
COMMENTS = "Connection.add_server_api(command): comments of commands lack the trace context"
COMMENTERS = "Connection.listeners.event_listeners(): comments of commands lack the trace context"
WAITS_AND_COMMENTS = {kind: {"select server", "comment"} for kind in ALL}
OWN = (
    "names that begin with pymongo_ in pymongo.periodic_executor:"
    " PyMongo's own threads and tasks are treated as callers"
)
IDS = {kind: {"topology ID"} for kind in ALL}
SEEN_FROM_THE_START = {"find users", "select server", "check out connection", "comment"}
SEEN_FROM_THE_START |= {"mongodb.topology.discovery", "topology ID", "request"}
LOOKUP = "look up SRV record"  # Only a client whose SRV record is looked up late has this span.
ALL_OF_MONGODB = SEEN_FROM_THE_START - {"request"}  # That is the application's.
ALL_OF_SRV = ALL_OF_MONGODB | {LOOKUP}
SRV = "_resolve_srv_info: clients cannot be instrumented before their SRV record is looked up"
ALL_OF_EXISTING = {
    "existing": {"find users", "select server", "comment"},
    **dict.fromkeys(LOOKED_UP_LATE, ALL_OF_SRV),
}


# What `repr()` of a client must not show.
REPR = "repr"
# What PyMongo says of a client that is never closed.
STACK = "stack"
CLIENTS = 3 + (pymongo.version_tuple >= (4, 11)) + bool(LOOKED_UP_LATE)
# How many of them are counted in the end.
OPEN = "clients that are not closed"

CASES = [
    Case("topology", (moved("topology"),), SELECTION, lost=WAITS, gone=("topology",)),
    Case("Topology", (renamed("Topology"),), SELECTION, lost=WAITS),
    Case("select_server", (renamed("select_server"),), SELECTION, lost=WAITS),
    Case("select_server", (renamed("selector", "topology"),), SELECTION, lost=WAITS),
    Case("_retry_internal", (renamed("_retry_internal"),), NEXT),
    Case(
        "description",
        (renamed("description"),),
        "Topology.description: waits for a server have no spans",
        lost=WAITS,
    ),
    Case("_listeners", (renamed("_listeners"),), LISTENERS, lost=WAITS),
    Case(
        "event_listeners",
        (
            ("monitoring", r"def event_listeners\(", "def listeners("),
            (
                "client_options",
                r"_event_listeners\.event_listeners\(",
                "_event_listeners.listeners(",
            ),
        ),
        LISTENERS,
        also=(COMMENTERS,),
        lost=WAITS_AND_COMMENTS,
    ),
    Case(
        "event_listeners",
        (
            ("monitoring", r"def event_listeners\(self", "def event_listeners(self, kind"),
            ("client_options", r"_event_listeners\.event_listeners\(", r"\g<0>None"),
        ),
        LISTENERS,
        also=(COMMENTERS,),
        lost=WAITS_AND_COMMENTS,
    ),
    Case(
        "_topology",
        (renamed("_topology"),),
        "client._topology: there is no cluster telemetry",
        # Whoever observes an existing client's server selections is found by its topology.
        lost={**IDS, "existing": {"select server"}},
    ),
    Case(
        "_topology_id",
        (renamed("_topology_id"),),
        "Topology._topology_id: the topology's ID is left out",
        lost=IDS,
    ),
    Case(
        "_closed",
        (renamed("_closed"),),
        "Topology._closed: closed clients may still be counted",
    ),
    Case(
        "_servers",
        (renamed("_servers"),),
        "Topology._servers: whether a client is already connected is unknown",
    ),
    Case("conns", (renamed("conns"),), f"Pool.conns: {UNTOLD}"),
    Case("active_sockets", (renamed("active_sockets"),), f"Pool.active_sockets: {UNTOLD}"),
    Case(
        "_topology_settings",
        (("", r"\b_topology_settings\b", "_settings_of_topology"),),
        "_topology_settings._stack: unclosed clients show a frame of otel-mongo-apm",
        also=(TARGET,),
        told={STACK: {"ours"}},
    ),
    Case(
        "_stack",
        (renamed("_stack"),),
        "_topology_settings._stack: unclosed clients show a frame of otel-mongo-apm",
        told={STACK: {"ours"}},
    ),
    Case(
        "_options",
        (renamed("_options"),),
        "ClientOptions._options: the repr() of clients shows our listeners",
        told={REPR: {"event_listeners"}},
    ),
    Case(
        "_events",
        (renamed("_events"),),
        "Topology._events.maxsize: a client that publishes many events may block",
    ),
    Case("add_server_api", (renamed("add_server_api"),), COMMENTS, lost=NO_COMMENTS),
    Case(
        "pool",
        (
            moved("pool"),
            ("settings", r"import (?:common, )?monitor, pool", r"\g<0>_of_tomorrow as pool"),
        ),
        COMMENTS,
        lost=NO_COMMENTS,
        gone=("pool",),
    ),
    Case("listeners", (renamed("listeners"),), COMMENTERS, lost=NO_COMMENTS),
    Case("_event_listeners", (renamed("_event_listeners"),), EXISTING, lost=ALL_OF_EXISTING),
    Case(
        "_EventListeners__",
        (("monitoring", r"__(\w+)_listeners\b", r"__\1_list"),),
        EXISTING,
        lost=ALL_OF_EXISTING,
    ),
    Case(
        "_EventListeners__enabled_for_",
        (("monitoring", "__enabled_for_", "__has_"),),
        EXISTING,
        lost=ALL_OF_EXISTING,
    ),
    Case("seeds", (renamed("seeds"),), TARGET),
    Case("fqdn", (renamed("fqdn"),), TARGET),
    Case(
        "_OperationCancelled",
        (renamed("_OperationCancelled"),),
        "_OperationCancelled: cancelled heartbeats are reported as failed",
    ),
    Case(
        "pymongo_",
        (("", r'"pymongo_(?=\w+_(?:thread|task)")', '"driver_'),),
        OWN,
    ),
    Case("periodic_executor", (renamed("periodic_executor"),), OWN, gone=("periodic_executor",)),
    Case(
        "encryption",
        (moved("encryption"),),
        "encryption: internal clients for encryption are instrumented, too",
        gone=("encryption",),
    ),
]
OF_LATE_LOOKUPS = {"_resolve_srv_info", "keyword_opts"}
if LOOKED_UP_LATE:
    CASES += [
        Case(name, (("mongo_client", pattern, replacement),), SRV, lost={"srv": ALL_OF_SRV})
        for name, pattern, replacement in (
            ("_resolve_srv_info", r"\b_resolve_srv_info\b", "_srv_info"),
            ("keyword_opts", '"keyword_opts"', '"keywords"'),
        )
    ]


PROGRAM = """
import asyncio, gc, json, logging, sys, warnings
sys.path.insert(0, sys.argv[1])
import pymongo_of_tomorrow as tomorrow
uri, (changes, gone) = sys.argv[2], json.loads(sys.argv[3])
tomorrow.rewrite(changes, gone)

import pymongo
from in_memory import InMemoryTelemetry
from local_dns import srv_of
from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client

class Heard(logging.Handler):
    def emit(self, record):
        if record.name != "otel_mongo_apm.cluster":
            said.append(record.getMessage())

said, told, clients = [], {}, []
logging.getLogger("otel_mongo_apm").addHandler(Heard(logging.WARNING))
telemetry = InMemoryTelemetry()
def note_comment(span, event):
    span.set_attribute("comment", "comment" in event.command)

settings = {**telemetry.providers, "wait_span_threshold": 0, "comment_propagation": "trace"}
settings["request_hook"] = note_comment

def note(kind, client):
    spans = telemetry.spans
    events = [event for span in spans for event in span.events]
    told[kind] = sorted(
        {span.name for span in spans}
        | {"topology ID" for event in events if "mongodb.client.topology.id" in event.attributes}
        | {"comment" for span in spans if span.attributes.get("comment")}
    )
    clients.append(client)  # So that it can be counted in the end.
    telemetry.forget()

def use(kind, client):
    with client:
        with telemetry.tracer.start_as_current_span("request"):
            client.shop.users.find_one()
        telemetry.collected()
    note(kind, client)

async def use_async(kind):
    async with pymongo.AsyncMongoClient(uri) as client:
        with telemetry.tracer.start_as_current_span("request"):
            await client.shop.users.find_one()
    note(kind, client)

own = event_listeners(topology_listeners=True, **settings)
pymongo.MongoClient(uri, event_listeners=own, connect=False).close()
del own
gc.collect()  # It is not one of those that are counted.

existing = pymongo.MongoClient(uri)
existing.shop.users.find_one()
instrument_client(existing, **settings)
use("existing", existing)
if pymongo.version_tuple >= (4, 12):
    with srv_of(pymongo.uri_parser.parse_uri(uri)["nodelist"][0][1]) as srv_uri:
        client = pymongo.MongoClient(srv_uri, connect=False)
        instrument_client(client, **settings)
        use("srv", client)
own = event_listeners(**settings)
use("passed", pymongo.MongoClient(uri, event_listeners=own, connect=False))
MongoInstrumentor().instrument(**settings)
use("sync", pymongo.MongoClient(uri, connect=False))
if pymongo.version_tuple >= (4, 11):
    asyncio.run(use_async("async"))
# When its next heartbeat comes, which may be in ten seconds, its cluster is told of, too.
told["existing"] = sorted({"find users", "select server", "comment"} & {*told["existing"]})
points = telemetry.points("mongodb.client.instances")
told["clients that are not closed"] = [str(sum(point.data.value for point in points))]
settings = [each for name, each in vars(clients[-1]).items() if "settings" in name][0]
stacks = [each for name, each in vars(settings).items() if "_stack" in name]
told["stack"] = ["ours"] if any("construction.py" in each for each in stacks) else []
told["repr"] = ["event_listeners"] if "event_listeners" in repr(pymongo.MongoClient(uri)) else []
print(json.dumps({"told": told, "said": said, "made": tomorrow.made}))
"""


def run(uri, changes=(), gone=()):
    """Let clients of all kinds work with PyMongo as it was changed; return what was told."""
    changed = json.dumps([changes, gone])
    return json.loads(output_of("-c", PROGRAM, TESTS, uri, changed, timeout=100))


@pytest.fixture(scope="module")
def today(mongodb_uri):
    """What is told with PyMongo as it is."""
    return run(mongodb_uri)


def test_today(today):
    """With PyMongo as it is nothing is lost."""
    told = {kind: set(names) for kind, names in today["told"].items()}
    assert len(told) == CLIENTS + 3
    assert told.pop("existing") == {"find users", "select server", "comment"}
    assert told.pop(OPEN) == {"0"}
    assert told.pop(REPR) == told.pop(STACK) == set()
    looked_up = {kind: {LOOKUP} for kind in LOOKED_UP_LATE}
    assert told == {kind: SEEN_FROM_THE_START | looked_up.get(kind, set()) for kind in told}
    assert [line for line in today["said"] if "lacks" in line] == []


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{n}" for n, case in enumerate(CASES)])
def test_tomorrow(mongodb_uri, today, case):
    """Where one name is another, one warning says what is lost; all else is as it was."""
    tomorrow = run(mongodb_uri, case.changes, case.gone)

    assert all(tomorrow["made"].values())
    assert len(tomorrow["made"]) == len(case.changes)
    warnings = set(tomorrow["said"]) - set(today["said"])
    assert all(tomorrow["said"].count(warning) == 1 for warning in warnings)
    assert all(warning.startswith(f"PyMongo {pymongo.version} lacks ") for warning in warnings)
    for expected in (case.warning, *case.also):
        (warning,) = (each for each in warnings if each.endswith(f"{expected}."))
        warnings.remove(warning)
    assert warnings == set()
    assert {kind: set(names) for kind, names in tomorrow["told"].items()} == {
        kind: set(names) - case.lost.get(kind, set()) | case.told.get(kind, set())
        for kind, names in today["told"].items()
    }


# What `_driver` looks up that is not PyMongo's: a Motor client's, or one's that is yet to come;
# and where PyMongo has its public classes.
PUBLIC = {"delegate", "tracing", "enabled", "asynchronous", "synchronous", "client_session"}
PUBLIC |= {"core", "AgnosticClientSession"}
# Of a queue, of a client, and of its constructor.
PUBLIC |= {"maxsize", "close", "host"}
# Python's.
PUBLIC |= {"cancelling", "cr_frame", "self", "value"}
# Their names are changed in tests/unit/driver/test_api_calls.py.
OF_OPERATIONS = {"api_calls", "entry_points"}
# They look things up in documents, in tasks or in our own listeners, not in PyMongo.
LOOK_ELSEWHERE = {"call_stack", "callers", "client_reference", "documents", "failures"}
LOOK_ELSEWHERE |= {"given_connections", "queries", "raw_documents", "wrapping"}
# Of look-ups of SRV records; changed in tests/wire/test_lookups.py.
OF_LOOKUPS = {"_resolve_srv"}
LOOKUPS = {"get", "getattr", "hasattr"}
PRIVATE = re.compile(r"_[A-Za-z]\w*|pymongo_|pymongo\.\w[\w.]*")


def last_part(argument):
    """The constant that a text ends with, if it does."""
    if isinstance(argument, ast.JoinedStr):
        argument = argument.values[-1]
    return argument if isinstance(argument, ast.Constant) else None


def nodes_of_driver():
    """What those modules of `_driver` consist of that look for something of PyMongo's."""
    for path in Path(_driver.__file__).parent.glob("*.py"):
        if path.stem not in OF_OPERATIONS | LOOK_ELSEWHERE:
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def names_of_driver():
    """Whatever `_driver` touches of PyMongo that is private, or a part of what is private."""
    for node in nodes_of_driver():
        match node:
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)) if name in LOOKUPS:
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                yield from [text for text in texts if isinstance(text, str)][:1]
            case ast.Call(func=ast.Name("class_named"), args=arguments):
                texts = [each.value for each in map(last_part, arguments) if each]
                yield from [text.rpartition(".")[2] for text in texts]
            case ast.Constant(value=str(text)) if PRIVATE.fullmatch(text):
                yield text.rpartition(".")[2]
            case ast.Attribute(value=ast.Name("sys")):
                pass  # Python's.
            case ast.Attribute(attr=name) if PRIVATE.fullmatch(name):
                yield name
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("pymongo"):
                yield from [each.name for each in names if PRIVATE.fullmatch(each.name)]


def test_every_name():
    """Each private name that `_driver` touches is changed in one of the cases."""
    names = {name for name in names_of_driver() if not name.startswith("__")}

    assert names - PUBLIC - OF_LOOKUPS == {case.name for case in CASES} | OF_LATE_LOOKUPS
