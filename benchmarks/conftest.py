"""Each benchmark is one table, shown at the end; pytest-benchmark keeps it beside its own times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.table import Table
from rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rounds import Contender, Line, Times

_tables: list[Table] = []


@pytest.fixture
def show() -> Callable[[Table], None]:
    """Show a table when all is measured."""
    return _tables.append


@pytest.fixture
def tabulate(benchmark: Any, show: Callable[[Table], None]) -> Callable[..., None]:
    """Show, and keep, lines of what was measured."""

    def make(title: str, times: Times, lines: Sequence[Line]) -> None:
        for line in lines:
            found = {"us": times.microseconds(line.name), "ratio": times.ratio(line)}
            benchmark.extra_info[f"{title}: {line.text}"] = found
        show(_table(title, times, lines))

    return make


@pytest.fixture
def compare(benchmark: Any, tabulate: Callable[..., None]) -> Callable[..., None]:
    """Measure contenders in turns; show, and keep, the lines of a table.

    pytest-benchmark measures the whole of it, once: that each round has all contenders in it is
    what makes them comparable.
    """

    def measure(
        title: str,
        contenders: Mapping[str, Contender],
        lines: Sequence[Line],
        rounds: int,
        number: int,
    ) -> None:
        times = benchmark.pedantic(
            interleaved, (contenders, rounds, number), rounds=1, iterations=1
        )
        tabulate(title, times, lines)

    return measure


def _table(title: str, times: Times, lines: Sequence[Line]) -> Table:
    table = Table("", "µs", "beside", "µs", "ratio", "goal", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for line in lines:
        goal = f"{'≥' if line.is_throughput else '≤'} {line.goal:.2f}" if line.goal else ""
        table.add_row(
            line.text,
            f"{times.microseconds(line.name):.1f}",
            line.base,
            f"{times.microseconds(line.base):.1f}",
            f"{times.ratio(line):.2f}",
            goal,
        )
    return table


def pytest_terminal_summary() -> None:
    """Show the tables."""
    console = Console(width=120)
    for table in _tables:
        console.print()
        console.print(table)
