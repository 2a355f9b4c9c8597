"""Contenders that are measured in turns: what else the machine does meets all of them alike."""

from __future__ import annotations

import gc
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Does something a number of times.
    Contender = Callable[[int], object]

MICROSECONDS = 1e6


@dataclass(frozen=True)
class Line:
    """A line of a table: one contender beside another.

    Args:
        name: The contender.
        base: The one that counts as 1.
        beyond: The one whose cost is taken off first, if only what is added is to be seen.
        goal: What the ratio should be at most; at least, if it `is_throughput`.
        is_throughput: Whether the ratio is that of the numbers per second, not of the times.
    """

    name: str
    base: str
    beyond: str | None = None
    goal: float | None = None
    is_throughput: bool = False

    @property
    def text(self) -> str:
        """What is measured."""
        return f"{self.name} beyond {self.beyond}" if self.beyond else self.name


@dataclass(frozen=True)
class Times:
    """What each contender took for one of what it does, in seconds, round by round."""

    rounds: list[Mapping[str, float]]

    def microseconds(self, name: str) -> float:
        """The median."""
        return statistics.median(each[name] for each in self.rounds) * MICROSECONDS

    def ratio(self, line: Line) -> float:
        """The median of the ratios within each round."""
        return statistics.median(_ratio(line, each) for each in self.rounds)


def _ratio(line: Line, times: Mapping[str, float]) -> float:
    if line.is_throughput:
        return times[line.base] / times[line.name]
    return (times[line.name] - (times[line.beyond] if line.beyond else 0.0)) / times[line.base]


def interleaved(contenders: Mapping[str, Contender], rounds: int, number: int) -> Times:
    """Let each contender do its work a number of times per round, in ever another order.

    Args:
        contenders: By their names.
        rounds: How many.
        number: How many times in each.
    """
    order = list(contenders)
    for contender in contenders.values():  # Caches are filled, code is specialized.
        contender(number)
    gc.collect()
    gc.freeze()
    times = []
    for _ in range(rounds):
        random.shuffle(order)
        times.append({name: _timed(contenders[name], number) for name in order})
    gc.unfreeze()
    return Times(times)


def _timed(contender: Contender, number: int) -> float:
    began = time.process_time()
    contender(number)
    return (time.process_time() - began) / number
