"""Methods of PyMongo's classes, wrapped for as long as somebody needs it."""

from __future__ import annotations

import os
from collections import Counter
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Undo = Callable[[], None]
    # From the method, and whether the wrapper is in force, to the wrapper.
    Wrap = Callable[[Callable[..., Any], Callable[[], bool]], Callable[..., Any]]

_replaced: Counter[str] = Counter()


def replaced_methods() -> list[str]:
    """The full names of the methods that have a wrapper in their place."""
    return sorted(+_replaced)


def replace_method(cls: type[Any], name: str, wrap: Wrap) -> Undo:
    """Put a wrapper in a method's place; return what undoes it."""
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
        # Somebody may have wrapped the method after us; then ours stays, and does nothing.
        if getattr(cls, name) is wrapper:
            setattr(cls, name, original)

    return undo


class Wrapping:
    """Wrappers that several may need, and that are there once.

    Args:
        wrap_all: Wraps whatever there is to wrap; returns what undoes it.
    """

    def __init__(self, wrap_all: Callable[[], Iterable[Undo]]) -> None:
        self._wrap_all = wrap_all
        self._users = 0
        self._undos: list[Undo] = []
        self._start_anew()
        if hasattr(os, "register_at_fork"):  # Not on Windows.
            os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        # A child of a fork does not wait for a thread that only its parent has.
        self._changing = RLock()

    def begin(self) -> Undo:
        """Wrap, if nobody has yet; return what undoes it, once nobody else needs it."""
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
