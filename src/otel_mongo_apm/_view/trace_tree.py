"""Draws traces as trees in a terminal.

for tree in traces(spans(printed)):
    console.print(tree)
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_QUERY_TEXT,
    DB_SYSTEM_NAME,
)
from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_STACKTRACE
from opentelemetry.semconv.attributes.network_attributes import (
    NETWORK_PEER_ADDRESS,
    NETWORK_PEER_PORT,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from otel_mongo_apm._otel.semconv import (
    CLUSTER_EVENT,
    DB_CLIENT,
    MONGODB_CLIENT,
    POOL_NAME,
    PRIMARY_ADDRESS,
    PRIMARY_PREVIOUS_ADDRESS,
    REPLICA_SET_NAME,
    SERVER_PREVIOUS_TYPE,
    SERVER_TYPE,
    TOPOLOGY_PREVIOUS_TYPE,
    TOPOLOGY_TYPE,
)

from .exports import Exported, Period, by_trace, has_failed, moment, period

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

BAR_WIDTH = 24
TIME_WIDTH = 9
AFTER_WIDTH = 10
MAX_VALUE_LENGTH = 100
NAMES_NOTE = f"as the client saw it; events without their {MONGODB_CLIENT!r}"
# Told in a name, in a place or on a line of its own; or everywhere the same.
TOLD_ELSEWHERE = {
    DB_SYSTEM_NAME,
    DB_NAMESPACE,
    DB_COLLECTION_NAME,
    POOL_NAME,
    DB_QUERY_TEXT,
    CLUSTER_EVENT,
    EXCEPTION_STACKTRACE,
    SERVER_ADDRESS,
    SERVER_PORT,
    NETWORK_PEER_ADDRESS,
    NETWORK_PEER_PORT,
}
# An event of a span that has the same does not repeat them.
PLACES = {SERVER_ADDRESS, SERVER_PORT, REPLICA_SET_NAME}
# What something was, and what it is.
CHANGES = {
    TOPOLOGY_PREVIOUS_TYPE: TOPOLOGY_TYPE,
    SERVER_PREVIOUS_TYPE: SERVER_TYPE,
    PRIMARY_PREVIOUS_ADDRESS: PRIMARY_ADDRESS,
}


def traces(spans: Sequence[Exported]) -> list[Tree]:
    """Draw each trace as a tree."""
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    return [trace(members, names) for members in by_trace(spans)]


def trace(spans: Sequence[Exported], names: Mapping[str, str]) -> Tree:
    """Draw the spans of one trace; *names* has those of the spans that they link to."""
    whole = Period(
        min(period(span).start for span in spans), max(period(span).end for span in spans)
    )
    span_ids = {span["context"]["span_id"] for span in spans}
    children: defaultdict[str | None, list[Exported]] = defaultdict(list)
    for span in spans:
        parent = span["parent_id"]
        children[parent if parent in span_ids else None].append(span)
    tree = Tree(trace_title(spans, whole), guide_style="dim")
    _grow(tree, None, children, lambda span: span_label(span, whole, names))
    return tree


def trace_title(spans: Sequence[Exported], whole: Period) -> Text:
    """Name a trace by its ID and its service."""
    service = spans[0]["resource"]["attributes"].get("service.name", "unknown service")
    count = f"{len(spans)} span" + "s" * (len(spans) != 1)
    return Text.assemble(
        (f"Trace {spans[0]['context']['trace_id'].removeprefix('0x')}", "bold"),
        (f"  {service}  {count}  {duration(whole.length)}", "dim"),
    )


def span_label(span: Exported, whole: Period, names: Mapping[str, str]) -> RenderableType:
    """Draw a span: a line with its place in the trace, and below what else there is to tell."""
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(width=TIME_WIDTH, justify="right")
    line.add_column(width=BAR_WIDTH)
    line.add_row(
        Text.assemble((span["name"], "bold"), "  ", status(span)),
        duration(period(span).length),
        bar(period(span), whole, "red" if has_failed(span) else "cyan"),
    )
    return Group(line, *_details(span, names))


def status(span: Exported) -> Text:
    """Say how it ended; a span that says nothing ended well."""
    if has_failed(span):
        return Text(f"ERROR {span['status'].get('description') or ''}".rstrip(), "bold red")
    return Text("OK", "green")


def duration(seconds: float) -> str:
    """Format a duration.

    >>> duration(0.00123), duration(1.5)
    ('1.23 ms', '1.50 s')
    """
    return f"{seconds:.2f} s" if abs(seconds) >= 1 else f"{seconds * 1000:.2f} ms"


def bar(part: Period, whole: Period, style: str) -> Text:
    """Draw a part of the whole.

    >>> bar(Period(5, 10), Period(0, 20), "cyan").plain
    '      ━━━━━━'
    """
    scale = BAR_WIDTH / (whole.length or 1)
    first = min(int((part.start - whole.start) * scale), BAR_WIDTH - 1)
    length = max(1, min(round(part.length * scale), BAR_WIDTH - first))
    return Text(" " * first + "━" * length, style)


def attributes_text(attributes: Mapping[str, Any]) -> Text:
    """List attributes, first the place.

    >>> attributes_text({"server.address": "/tmp/db.sock", "error.type": "11000"}).plain
    '/tmp/db.sock  error.type=11000'
    """
    told = [
        Text.assemble((f"{key}=", "dim"), shortened(str(value)))
        for key, value in attributes.items()
        if key not in TOLD_ELSEWHERE
    ]
    return _joined_texts(Text(place(attributes)), *told)


def shortened(text: str) -> str:
    """Cut a long text.

    >>> len(shortened("a" * 1000)) == MAX_VALUE_LENGTH
    True
    """
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def place(attributes: Mapping[str, Any]) -> str:
    """Name what was asked and where.

    >>> place({"db.namespace": "shop", "db.collection.name": "users"})
    'shop.users'
    >>> place({"db.namespace": "admin", "server.address": "::1", "server.port": 27017})
    'admin on ::1:27017'
    >>> place({"server.address": "db.example", "network.peer.address": "db1.example"})
    'db1.example'
    >>> place({"db.client.connection.pool.name": "db.example:27017"})
    'pool db.example:27017'
    """
    # The server that was contacted says more than what the client is configured with.
    peer = _joined(":", attributes, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT)
    namespace = _joined(".", attributes, DB_NAMESPACE, DB_COLLECTION_NAME)
    server = peer or _joined(":", attributes, SERVER_ADDRESS, SERVER_PORT)
    asked = " on ".join(filter(None, [namespace, server]))
    pool = attributes.get(POOL_NAME, server)
    return asked if pool == server else f"{asked}  pool {pool}".strip()


def without_operation(attributes: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Leave out the operation if the name tells it.

    >>> without_operation({"db.operation.name": "find"}, "find users")
    {}
    >>> without_operation({"db.operation.name": "find"}, "select server")
    {'db.operation.name': 'find'}
    """
    told = name.partition(" ")[0] == attributes.get(DB_OPERATION_NAME)
    return {k: v for k, v in attributes.items() if not (told and k == DB_OPERATION_NAME)}


def brief(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Write attributes of cluster events shorter, and what has changed as a change.

    >>> brief({"mongodb.client.server.type": "unknown", "mongodb.client.topology.writable": True})
    {'server.type': 'unknown', 'topology.writable': True}
    >>> brief({"mongodb.client.server.type": "a", "mongodb.client.server.previous_type": "b"})
    {'server.type': 'b → a'}
    """
    changes = {CHANGES[key]: before for key, before in attributes.items() if key in CHANGES}
    return {
        _short(key): f"{changes[key]} → {value}" if key in changes else value
        for key, value in attributes.items()
        if key not in CHANGES
    }


def _grow(
    tree: Tree,
    parent: str | None,
    children: Mapping[str | None, Sequence[Exported]],
    label: Callable[[Exported], RenderableType],
) -> None:
    for span in children.get(parent, ()):
        _grow(tree.add(label(span)), span["context"]["span_id"], children, label)


def _details(span: Exported, names: Mapping[str, str]) -> Iterator[RenderableType]:
    attributes = span["attributes"]
    if line := attributes_text(without_operation(attributes, span["name"])):
        yield line
    if text := attributes.get(DB_QUERY_TEXT):
        yield Text(text, "dim italic", no_wrap=True, overflow="ellipsis")
    if span["events"]:
        yield _events(span)
    for link in span["links"]:
        yield _link_text(link, names)


def _events(span: Exported) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=AFTER_WIDTH, justify="right", style="dim")
    grid.add_column()
    for event in span["events"]:
        after = moment(event["timestamp"]) - period(span).start
        grid.add_row(f"{'+' * (after >= 0)}{duration(after)}", _event_text(event, span))
    return grid


def _event_text(event: Exported, span: Exported) -> Text:
    known = {key: span["attributes"].get(key) for key in PLACES}
    attributes = {k: v for k, v in event["attributes"].items() if v != known.get(k)}
    name = Text(event["name"].removeprefix(MONGODB_CLIENT), "yellow")
    return _joined_texts(name, attributes_text(brief(attributes)))


def _link_text(link: Exported, names: Mapping[str, str]) -> Text:
    span_id = link["context"]["span_id"]
    name = Text(f"→ {names.get(span_id, f'span {span_id}')}", "magenta")
    return _joined_texts(name, attributes_text(link["attributes"]))


def _short(key: str) -> str:
    if key in TOLD_ELSEWHERE:
        return key
    return key.removeprefix(MONGODB_CLIENT).removeprefix(DB_CLIENT)


def _joined_texts(*texts: Text) -> Text:
    return Text("  ").join(filter(None, texts))


def _joined(separator: str, attributes: Mapping[str, Any], *keys: str) -> str:
    return separator.join(str(attributes[key]) for key in keys if key in attributes)
