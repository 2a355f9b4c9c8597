"""Wraps methods of PyMongo's classes for as long as somebody needs it."""

from __future__ import annotations

import os
from collections import Counter
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Undo = Callable[[], None]
    # Returns a wrapper, given the method and a function that says whether the wrapper is in force.
    Wrap = Callable[[Callable[..., Any], Callable[[], bool]], Callable[..., Any]]

_replaced: Counter[str] = Counter()


def replaced_methods() -> list[str]:
    """Return the full names of the methods that are wrapped."""
    return sorted(+_replaced)


def replace_method(cls: type[Any], name: str, wrap: Wrap) -> Undo:
    """Replace a method by a wrapper; return what undoes this."""
    original = getattr(cls, name)
    full_name = f"{cls.__module__}.{cls.__qualname__}.{name}"
    _replaced[full_name] += 1
    is_in_force = True
    wrapper = wrap(original, lambda: is_in_force)
    setattr(cls, name, wrapper)

    def undo() -> None:
        nonlocal is_in_force
        is_in_force = False
        _replaced[full_name] -= 1
        # If somebody else has wrapped the method after us, our wrapper stays, but does nothing.
        if getattr(cls, name) is wrapper:
            setattr(cls, name, original)

    return undo


class Wrapping:
    """Wrappers that are shared by everyone who needs them.

    Args:
        wrap_all: Wraps everything; returns what undoes this.
    """

    def __init__(self, wrap_all: Callable[[], Iterable[Undo]]) -> None:
        self._wrap_all = wrap_all
        self._users = 0
        self._undos: list[Undo] = []
        self._start_anew()
        if hasattr(os, "register_at_fork"):  # Not on Windows.
            os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        # A forked child needs a new lock: a thread of the parent may hold the old one.
        self._changing = RLock()

    def begin(self) -> Undo:
        """Wrap, if not done yet; return what undoes this when nobody else needs it."""
        with self._changing:
            if not self._users:
                self._undos = list(self._wrap_all())
            self._users += 1
        return self._end

    def _end(self) -> None:
        with self._changing:
            self._users -= 1
            if not self._users:
                for undo in self._undos:
                    undo()
