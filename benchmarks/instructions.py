"""Instructions per command, counted by callgrind: unlike times, they do not depend on the load.

    python benchmarks/instructions.py [CONTENDER ...]

It needs valgrind. Without arguments it counts all of the contenders of `make bench` that have a
goal here: a `find_one` on a real MongoDB, and commands without a server beside the SDK's floor.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from database import filled_mongodb
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from synthetic import FIND, OFF, floor, listener, listener_with_pool, providers
from worker import CONTRIB, MEASURED_BY_HAND, NOTHING, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rounds import Contender

HERE = Path(__file__).parent
WARM, NUMBER = 300, 300
# A function of libc that nothing else calls. Before each call callgrind writes what it has counted.
MARK = "getloadavg"
SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Goal:
    """One contender's instructions beside another's.

    Args:
        name: The contender.
        base: The one that counts as 1.
        most: What the ratio should be at most.
        beyond: The one whose instructions are taken off first.
    """

    name: str
    base: str
    most: float | None = None
    beyond: str | None = None

    def ratio(self, counts: Mapping[str, float]) -> float:
        """How many times the base's."""
        own = counts[self.name] - (counts[self.beyond] if self.beyond else 0)
        return own / counts[self.base]


END_TO_END = (
    Goal(NOTHING, CONTRIB),
    Goal(MEASURED_BY_HAND, CONTRIB),
    Goal("ours", CONTRIB, 1.32),
    Goal("ours", MEASURED_BY_HAND),
    Goal("ours, no metrics", CONTRIB, 1.03),
    Goal("ours, no metrics or text", CONTRIB, 1.00),
)
FLOOR, SPAN = "floor: span", "span"
SYNTHETIC = (
    Goal("span", FLOOR, 1.11),
    Goal("unsampled", "floor: unsampled", 1.30),
    Goal("span, text", FLOOR, 0.25, beyond=SPAN),
    Goal("span, measured", "floor: span, measured"),
    Goal("default, with its connection", "floor: span, measured, wait"),
)


def counted(arguments: Sequence[str], told: str, marks: int) -> list[int]:
    """The instructions of a program between each two of its marks."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--dump-before={MARK}",
            f"--callgrind-out-file={folder}/out",
            sys.executable,
            *arguments,
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run(
            command, input=told, text=True, check=True, capture_output=True, env=environment
        )
        # The first is what came before the first mark.
        dumps = [Path(folder, f"out.{number}") for number in range(2, marks + 1)]
        return [
            int(SUMMARY.findall(dump.read_text(encoding="utf-8", errors="replace"))[0])
            for dump in dumps
        ]


def end_to_end(contenders: Sequence[str]) -> dict[str, float]:
    """The instructions of a `find_one` with each of the contenders."""
    told = f"find_one {WARM}\nmark 1\nfind_one {NUMBER}\nmark 1\n"
    worker = str(HERE / "worker.py")
    with filled_mongodb() as uri:
        return {name: counted([worker, name, uri], told, 2)[0] / NUMBER for name in contenders}


def synthetic_contenders() -> dict[str, Callable[[], Contender]]:
    """Commands without a server, each made when its turn has come."""
    return {
        FLOOR: lambda: floor(FIND, metrics=False),
        "floor: span, measured": lambda: floor(FIND),
        "floor: unsampled": lambda: floor(FIND, ALWAYS_OFF, metrics=False),
        "unsampled": lambda: listener(FIND, metrics=False, **providers(ALWAYS_OFF)),
        SPAN: lambda: listener(FIND, metrics=False, **OFF),
        "span, text": lambda: listener(FIND, metrics=False),
        "span, measured": lambda: listener(FIND, **OFF),
        "default, with its connection": lambda: listener_with_pool(FIND),
        "floor: span, measured, wait": lambda: floor(FIND, wait_time=True),
    }


def send_each() -> None:
    """Let each of the contenders without a server do its work between two marks."""
    for make in synthetic_contenders().values():
        contender = make()
        contender(WARM)
        os.getloadavg()
        contender(NUMBER)
        os.getloadavg()


def synthetic() -> dict[str, float]:
    """The instructions of a find with each of the contenders that have no server."""
    names = list(synthetic_contenders())
    between = counted([str(Path(__file__)), "--send"], "", 2 * len(names))
    # What comes between two contenders is the making of the next.
    return {name: count / NUMBER for name, count in zip(names, between[::2], strict=True)}


def table(title: str, goals: Sequence[Goal], counts: Mapping[str, float]) -> Table:
    """What was counted, beside what it is compared with."""
    found = Table("", "thousands", "beside", "ratio", "goal", title=title, title_justify="left")
    for goal in goals:
        if goal.name in counts and goal.base in counts:
            found.add_row(
                f"{goal.name} beyond {goal.beyond}" if goal.beyond else goal.name,
                f"{counts[goal.name] / 1000:.1f}",
                goal.base,
                f"{goal.ratio(counts):.3f}",
                f"≤ {goal.most:.2f}" if goal.most else "",
            )
    return found


def main() -> None:
    """Count, and show the tables."""
    if sys.argv[1:] == ["--send"]:
        send_each()
        return
    console = Console(width=120)
    if sys.argv[1:] != ["--end-to-end"]:
        console.print(table("instructions per command", SYNTHETIC, synthetic()))
    if sys.argv[1:] != ["--synthetic"]:
        names = [NOTHING, CONTRIB, MEASURED_BY_HAND, *list(OURS)[:3]]
        console.print(table("instructions per find_one", END_TO_END, end_to_end(names)))


if __name__ == "__main__":
    main()
