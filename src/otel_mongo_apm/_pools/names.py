"""The names of pools, each its own within the process."""

from __future__ import annotations

from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING
from weakref import ref

from otel_mongo_apm._otel.addresses import written

from .pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_mongo_apm._otel.addresses import Address

# Each until it is closed or gone. Not a WeakValueDictionary: of two threads that call its
# `setdefault` at once, both may be told that the name is theirs.
_pools_by_name: dict[str, ref[Pool]] = {}


def _has_own_name(pool: Pool) -> bool:
    """Let a pool have its name, if no other has it."""
    reference = ref(pool, partial(_free, pool.name))
    return _pools_by_name.setdefault(pool.name, reference) is reference


def _free(name: str, reference: ref[Pool]) -> None:
    if _pools_by_name.get(name) is reference:
        _pools_by_name.pop(name, None)


def named_pool(address: Address, application: str | None) -> Pool:
    """Make a pool with a name that no other of this process has."""
    server = written(address)
    suffixes: Iterator[object] = chain([application] if application else [], count(2))
    names = chain([server], (f"{server}/{suffix}" for suffix in suffixes))
    return next(pool for pool in map(Pool, names) if _has_own_name(pool))


def free_name(pool: Pool) -> None:
    """Let another pool have the name of one that is closed."""
    _pools_by_name.pop(pool.name, None)


def forget_names() -> None:
    """Know no names; the child of a fork has none of its parent's pools."""
    _pools_by_name.clear()
