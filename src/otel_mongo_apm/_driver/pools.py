"""Reads PyMongo's own connection pools, because they do not publish every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .clients import topology_of
from .private_names import warn_of_loss

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Address

_LOSS = "connections whose check-in is not published are counted as used"


class Held(NamedTuple):
    """The connections of one pool.

    Args:
        idle: The driver's IDs of the idle connections.
        used: How many are checked out or being created.
    """

    idle: frozenset[int]
    used: int


def held(client: Any, address: Address) -> Held | None:
    """Return the current connections of a client's pool for a server, if they can be read."""
    # `has_servers` warns if `_servers` is missing.
    server = (getattr(topology_of(client), "_servers", None) or {}).get(address)
    pool = getattr(server, "pool", None)
    if pool is None:
        return None
    connections, used = getattr(pool, "conns", None), getattr(pool, "active_sockets", None)
    if connections is None:
        warn_of_loss("Pool.conns", _LOSS)
    elif used is None:
        warn_of_loss("Pool.active_sockets", _LOSS)
    else:
        # The copy is atomic.
        return Held(frozenset(each.id for each in list(connections)), used)
    return None
