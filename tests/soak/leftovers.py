"""What is left in a process at rest: its memory, and the objects and tables of ours."""

from __future__ import annotations

import ctypes
import gc
import linecache
import os
import platform
import statistics
import sys
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "otel_mongo_apm"
TABLES = (dict, set, list, deque, WeakKeyDictionary, WeakSet, WeakValueDictionary)
MIB = 1 << 20
IS_GLIBC = platform.libc_ver()[0] == "glibc"
# glibc's names for: from which size on a block is given back at once, by itself; how many arenas
# there may be. A fixed threshold keeps it from being raised by the largest block so far.
MALLOPT = {-3: 128 * 1024, -8: 1}


def objects() -> Counter[str]:
    """How many objects of ours there are, by their class."""
    return Counter(type(each).__name__ for each in _objects())


def tables() -> dict[str, int]:
    """How many entries there are in each table of ours, by where it is; of like ones, the most."""
    sizes: Counter[str] = Counter()
    for name, table in _tables():
        sizes[name] = max(sizes[name], len(table))
    return dict(sizes)


def _objects() -> Iterator[Any]:
    gc.collect()
    for each in gc.get_objects():
        if str(type(each).__module__).startswith(f"{OURS}."):
            yield each


def _tables() -> Iterator[tuple[str, Any]]:
    holders = [(type(each).__name__, each, _attributes(each)) for each in _objects()]
    modules = [(name, each) for name, each in sys.modules.items() if name.startswith(OURS)]
    holders += [(name.removeprefix(f"{OURS}."), each, vars(each)) for name, each in modules]
    for name, each, attributes in holders:
        if isinstance(each, TABLES):
            yield name, each
        for attribute, value in attributes.items():
            if isinstance(value, TABLES) and not attribute.startswith("__"):
                yield f"{name}.{attribute}", value


def _attributes(each: Any) -> dict[str, Any]:
    slots = (slot for cls in type(each).__mro__ for slot in getattr(cls, "__slots__", ()))
    return {slot: getattr(each, slot, None) for slot in slots} | getattr(each, "__dict__", {})


class _Mallinfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class Sample(NamedTuple):
    """What a process has in memory.

    Args:
        commands: How many were sent until then.
        resident: What is resident, in bytes.
        allocated: What is allocated, in bytes; without Python's own allocator this is exact.
    """

    commands: int
    resident: int
    allocated: int

    def __str__(self) -> str:
        resident, allocated = self.resident / MIB, self.allocated / MIB
        return f"{self.commands:9} commands {resident:8.2f} MiB {allocated:8.3f} allocated"


class Memory:
    """What this process has in memory each time that it is at rest; glibc alone can tell."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        if not IS_GLIBC:
            return
        self._libc: Any = ctypes.CDLL(None)
        self._libc.mallinfo2.restype = _Mallinfo
        for parameter, value in MALLOPT.items():
            self._libc.mallopt(parameter, value)

    def sample(self, commands: int) -> Sample | None:
        """Note what there is, without what is only kept for later."""
        if not IS_GLIBC:
            return None
        linecache.clearcache()  # The source in the tracebacks that PyMongo has printed.
        gc.collect()
        self._libc.malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        malloc = self._libc.mallinfo2()
        resident, allocated = pages * os.sysconf("SC_PAGE_SIZE"), malloc.uordblks + malloc.hblkhd
        self._samples.append(Sample(commands, resident, allocated))
        return self._samples[-1]

    def growth(self) -> dict[str, float]:
        """In MiB per million commands, from the second third to the last; the first warms up."""
        third = len(self._samples) // 3
        if not third:
            return {}
        before, after = _medians(self._samples[third:-third]), _medians(self._samples[-third:])
        commands = (after.commands - before.commands) / 1_000_000
        return {
            "resident": round((after.resident - before.resident) / MIB / commands, 3),
            "allocated": round((after.allocated - before.allocated) / MIB / commands, 3),
        }


def _medians(samples: list[Sample]) -> Sample:
    return Sample(*map(statistics.median, zip(*samples, strict=True)))
