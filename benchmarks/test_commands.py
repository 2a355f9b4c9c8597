"""What a command costs, without a server: our listeners beside the SDK's floor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from rounds import Line
from synthetic import (
    EXCHANGES,
    FIND,
    OFF,
    floor,
    insert,
    listener,
    listener_with_pool,
    providers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rounds import Contender

ROUNDS, NUMBER = 120, 100
THREADS = 8

FLOOR_SPAN = "floor: span"
FLOOR_BOTH = "floor: span, measured"
FLOOR_UNSAMPLED = "floor: unsampled"
FLOOR_UNSAMPLED_BOTH = "floor: unsampled, measured"


def floors(exchange):
    """What the SDK costs, as much of it as can be chosen."""
    return {
        FLOOR_SPAN: floor(exchange, metrics=False),
        FLOOR_BOTH: floor(exchange),
        FLOOR_UNSAMPLED: floor(exchange, ALWAYS_OFF, metrics=False),
        FLOOR_UNSAMPLED_BOTH: floor(exchange, ALWAYS_OFF),
    }


@pytest.mark.parametrize("name", EXCHANGES)
def test_kinds_of_commands(compare, name):
    """Each kind of command, as much of it told as can be chosen."""
    exchange = EXCHANGES[name]
    contenders = {
        **floors(exchange),
        "no SDK": listener(exchange, tracer_provider=None, meter_provider=None),
        "unsampled": listener(exchange, metrics=False, **providers(ALWAYS_OFF)),
        "unsampled, measured": listener(exchange, **providers(ALWAYS_OFF)),
        "span": listener(exchange, metrics=False, **OFF),
        "span, measured": listener(exchange, **OFF),
        "span, text": listener(exchange, metrics=False),
        "default: span, text, measured": listener(exchange),
    }
    lines = [
        Line("no SDK", FLOOR_SPAN, goal=0.14),
        Line("unsampled", FLOOR_UNSAMPLED, goal=1.30),
        Line("unsampled, measured", FLOOR_UNSAMPLED_BOTH, goal=1.0),
        Line("span", FLOOR_SPAN, goal=1.20),
        Line("span, measured", FLOOR_BOTH, goal=1.0),
        Line("span, text", FLOOR_SPAN, beyond="span", goal=0.25),
        Line("default: span, text, measured", FLOOR_BOTH),
    ]
    compare(name, contenders, lines, rounds=ROUNDS, number=NUMBER)


def test_texts(compare):
    """Each kind of text, of a find and of inserts; none where nobody records it."""
    one, hundred = insert(1), insert(100)
    contenders = {
        FLOOR_SPAN: floor(FIND, metrics=False),
        "find, off": listener(FIND, metrics=False, **OFF),
        "find, sanitized": listener(FIND, metrics=False),
        "find, masked": listener(FIND, metrics=False, query_text_keys="masked"),
        "find, raw": listener(FIND, metrics=False, query_text="raw"),
        "insert of 1, off": listener(one, metrics=False, **OFF),
        "insert of 1, sanitized": listener(one, metrics=False),
        "insert of 100, off": listener(hundred, metrics=False, **OFF),
        "insert of 100, sanitized": listener(hundred, metrics=False),
        "unsampled, off": listener(hundred, metrics=False, **providers(ALWAYS_OFF), **OFF),
        "unsampled, sanitized": listener(hundred, metrics=False, **providers(ALWAYS_OFF)),
    }
    lines = [
        Line("find, sanitized", FLOOR_SPAN, beyond="find, off", goal=0.25),
        Line("find, masked", FLOOR_SPAN, beyond="find, off"),
        Line("find, raw", FLOOR_SPAN, beyond="find, off"),
        Line("insert of 1, sanitized", FLOOR_SPAN, beyond="insert of 1, off"),
        Line("insert of 100, sanitized", FLOOR_SPAN, beyond="insert of 100, off"),
        Line("insert of 100, sanitized", "insert of 1, sanitized", goal=2.0),
        Line("unsampled, sanitized", "unsampled, off", goal=1.05),
    ]
    compare("query text", contenders, lines, rounds=ROUNDS, number=NUMBER)


def test_pools(compare):
    """The connection of a find is free: what its check-out and check-in add."""
    contenders = {
        FLOOR_SPAN: floor(FIND, metrics=False),
        FLOOR_BOTH: floor(FIND),
        "no pool": listener(FIND, **OFF),
        "pool, unmeasured": listener_with_pool(FIND, pool_metrics=False, **OFF),
        "pool": listener_with_pool(FIND, **OFF),
        "pool_use_time": listener_with_pool(FIND, pool_use_time=True, **OFF),
        "events none": listener(FIND, events="none", **OFF),
    }
    lines = [
        Line("pool, unmeasured", FLOOR_BOTH, beyond="no pool"),
        Line("pool", FLOOR_BOTH, beyond="no pool", goal=0.15),
        Line("pool_use_time", FLOOR_BOTH, beyond="no pool"),
        Line("no pool", "events none"),
    ]
    compare("pools and timeline", contenders, lines, rounds=ROUNDS, number=NUMBER)


def test_where_it_goes(compare):
    """What a find on a free connection costs by default: each line's part of the last."""
    default = "and its connection: the default"
    contenders = {
        FLOOR_SPAN: floor(FIND, metrics=False),
        FLOOR_BOTH: floor(FIND),
        "floor: and wait_time": floor(FIND, wait_time=True),
        "ours: span, measured": listener(FIND, **OFF),
        "and text": listener(FIND),
        default: listener_with_pool(FIND),
    }
    lines = [
        Line(FLOOR_SPAN, default),
        Line(FLOOR_BOTH, default, beyond=FLOOR_SPAN),
        Line("ours: span, measured", default, beyond=FLOOR_BOTH),
        Line("and text", default, beyond="ours: span, measured"),
        Line("floor: and wait_time", default, beyond=FLOOR_BOTH),
        Line(default, default, beyond="and text"),
    ]
    compare("where the time goes", contenders, lines, rounds=ROUNDS, number=NUMBER)


def test_threads(compare):
    """Eight threads at a time, each with its own commands, beside eight that pay the floor."""
    with ThreadPoolExecutor(THREADS) as threads:

        def at_once(contender: Contender) -> Callable[[int], None]:
            def send(number: int) -> None:
                list(threads.map(contender, [number // THREADS] * THREADS))

            return send

        contenders = {
            "floor, 1 thread": floor(FIND),
            "1 thread": listener(FIND, **OFF),
            "floor, 8 threads": at_once(floor(FIND)),
            "8 threads": at_once(listener(FIND, **OFF)),
        }
        lines = [
            Line("1 thread", "floor, 1 thread", goal=1.10),
            Line("8 threads", "floor, 8 threads", goal=1.10),
        ]
        compare("threads", contenders, lines, rounds=ROUNDS, number=NUMBER * THREADS)
