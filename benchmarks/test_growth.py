"""What grows with an application: collections, servers, clients, the number of commands."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from rich.table import Table
from rounds import Line
from synthetic import FIND, OFF, Exchange, providers

from otel_mongo_apm import event_listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rounds import Contender

STATM = Path("/proc/self/statm")
ROUNDS, NUMBER = 60, 200
COLLECTIONS, SERVERS, CLIENTS, COMMANDS = 10_000, 50, 1_000, 1_000_000


def collections(number: int) -> list[Exchange]:
    """Finds in so many collections."""
    return [
        replace(FIND, command={**FIND.command, "find": f"users{each}"}) for each in range(number)
    ]


def servers(number: int) -> list[Exchange]:
    """Finds on so many servers."""
    return [replace(FIND, address=(f"db{each}.example", 27017)) for each in range(number)]


def telling(exchanges: list[Exchange], sets: list[Any]) -> Contender:
    """Each next command through the next set of listeners."""
    events = cycle([(each.started(), each.ended()) for each in exchanges])
    commands = cycle([listeners[0] for listeners in sets])

    def send(number: int) -> None:
        for _, (started, ended), listener in zip(range(number), events, commands, strict=False):
            listener.started(started)
            listener.succeeded(ended)

    return send


def floor(exchanges: list[Exchange]) -> Contender:
    """What the SDK costs for as many different attributes."""
    tracer = providers()["tracer_provider"].get_tracer("floor")
    all_attributes = cycle([each.attributes for each in exchanges])
    client = SpanKind.CLIENT

    def send(number: int) -> None:
        for _, attributes in zip(range(number), all_attributes, strict=False):
            span = tracer.start_span("find", kind=client, attributes=attributes)
            span.set_attribute("db.response.returned_rows", 10)
            span.end()

    return send


def one_set(**settings: Any) -> list[Any]:
    """One client's listeners."""
    return [event_listeners(**providers(), metrics=False, **OFF, **settings)]


def test_growth(compare):
    """A command costs the same among many collections, servers and clients as among few."""
    sdk = providers()
    many_clients = [event_listeners(**sdk, metrics=False, **OFF) for _ in range(CLIENTS)]
    few, many = [FIND], collections(COLLECTIONS)
    contenders = {
        "floor, 1 collection": floor(few),
        "1 collection": telling(few, one_set()),
        "floor, 10,000 collections": floor(many),
        "10,000 collections": telling(many, one_set()),
        "floor, 50 servers": floor(servers(SERVERS)),
        "50 servers": telling(servers(SERVERS), one_set()),
        "1,000 clients": telling(few, many_clients),
    }
    lines = [
        Line("1 collection", "floor, 1 collection"),
        Line("10,000 collections", "floor, 10,000 collections"),
        Line("50 servers", "floor, 50 servers"),
        Line("1,000 clients", "floor, 1 collection"),
    ]
    for contender in contenders.values():  # Each command is met once.
        contender(COLLECTIONS)
    compare("growth: spans", contenders, lines, rounds=ROUNDS, number=NUMBER)


def megabytes() -> float:
    """How much memory this process has."""
    pages = int(STATM.read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def sizes(send: Contender) -> Iterator[tuple[int, float]]:
    """How much memory there is before, and after ever more commands."""
    sent = 0
    for target in (0, COLLECTIONS, COMMANDS // 10, COMMANDS // 2, COMMANDS):
        send(target - sent)
        sent = target
        gc.collect()
        yield sent, megabytes()


@pytest.mark.skipif(not STATM.exists(), reason="Linux alone tells of memory in /proc.")
def test_memory(benchmark: Any, show: Callable[[Table], None]) -> None:
    """A million commands to 10,000 collections take no more memory than 10,000 of them did."""
    listeners = [event_listeners(**providers(ALWAYS_OFF))]
    send = telling(collections(COLLECTIONS), listeners)
    found = benchmark.pedantic(lambda: list(sizes(send)), rounds=1, iterations=1)
    table = Table("commands", "RSS, MB", title="memory: 10,000 collections, measured")
    for commands, size in found:
        table.add_row(f"{commands:,}", f"{size:.1f}")
    benchmark.extra_info.update({f"{commands}": size for commands, size in found})
    show(table)


ENDURANCE = 100_000


def endurance(contender: str, number: int) -> dict[str, Any]:
    """What many commands do to the memory of a process, and its collector to its time."""
    program = Path(__file__).with_name("endurance.py")
    arguments = [sys.executable, str(program), contender, str(number)]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def test_endurance(benchmark: Any, show: Callable[[Table], None]) -> None:
    """Memory and pauses of the collector over many commands, beside the other package's."""
    title = f"memory and garbage collection: {ENDURANCE:,} commands, spans in batches"
    table = Table("", "RSS before, after", "collections", "longest, ms", "all, ms", title=title)
    found = benchmark.pedantic(
        lambda: {each: endurance(each, ENDURANCE) for each in ("contrib", "ours")},
        rounds=1,
        iterations=1,
    )
    for contender, each in found.items():
        table.add_row(contender, *(str(value) for value in each.values()))
    benchmark.extra_info.update(found)
    show(table)
