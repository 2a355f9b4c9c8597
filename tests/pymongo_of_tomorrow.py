r"""PyMongo as it may be one day: its source is changed as it is imported.

    rewrite([("topology", r"\bselector\b", "wanted")])
    import pymongo

What is private of PyMongo can so be renamed wherever it occurs, and PyMongo still works.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    # In which module, or in any; a pattern of what is to be replaced there; by what.
    Change = tuple[str, str, str]

TOMORROW = "_of_tomorrow"

# How often each change was made.
made: Counter[str] = Counter()


def renamed(name: str, module: str = "") -> Change:
    """Give a name another wherever it occurs."""
    return module, rf"\b{name}\b", f"{name}{TOMORROW}"


def moved(module: str) -> Change:
    """Give a module another name, in PyMongo and in both of its halves."""
    return "", rf"(pymongo\.(?:a?synchronous\.)?){module}\b", rf"\1{module}{TOMORROW}"


def rewrite(changes: Sequence[Change], gone: Collection[str] = ()) -> None:
    """Change PyMongo's source from now on.

    Args:
        changes: What to change.
        gone: The modules that have moved.
    """
    original = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> Any:
        if not fullname.startswith("pymongo"):
            return original(self, fullname)
        source = self.get_source(fullname)
        for module, pattern, replacement in changes:
            if module in {"", fullname.rpartition(".")[2]}:
                source, times = re.subn(pattern, replacement, source)
                made[pattern] += times
        return compile(source, self.get_filename(fullname), "exec", dont_inherit=True)

    SourceFileLoader.get_code = get_code
    sys.meta_path.insert(0, _Moved(gone))


class _Moved:
    """Finds what has moved where it is now, and there only."""

    def __init__(self, gone: Collection[str]) -> None:
        self._gone = gone

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        today = fullname.removesuffix(TOMORROW)
        if today != fullname:
            spec = PathFinder.find_spec(today, path)
            return spec and spec_from_file_location(fullname, spec.origin)
        if fullname.startswith("pymongo.") and fullname.rpartition(".")[2] in self._gone:
            raise ModuleNotFoundError(fullname, name=fullname)
        return None
