"""The pools of one client."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.pools import held
from otel_mongo_apm._otel.addresses import written

from .names import identify
from .pool import Pool

if TYPE_CHECKING:
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._otel.addresses import Address

# How many closed pools are kept until their last connections are returned. There is a limit,
# because servers may come and go.
MAX_CLOSED = 16


class Pools(dict["Address", Pool]):
    """One client's pools by their servers."""

    def __init__(self, client: ClientReference) -> None:
        super().__init__()
        self._client = client

    def __missing__(self, address: Address) -> Pool:
        # In a forked child, several threads may create a pool at once; `setdefault` keeps only one.
        return self.setdefault(address, self._new(address))

    def identify(self, address: Address) -> Pool:
        """Return a pool, and name it after its client, which may be known by now."""
        pool = self[address]
        identify(pool, address, self._client())
        return pool

    def close(self, address: Address) -> None:
        """Stop observing a pool."""
        if pool := self.get(address):
            pool.is_closed = True
        closed = [each for each, pool in list(self.items()) if pool.is_closed]
        for each in closed[:-MAX_CLOSED]:
            self.pop(each, None)

    def reconcile(self) -> None:
        """Correct the used connections of all pools by those of PyMongo's own pools."""
        client = self._client()
        for address, pool in list(self.items()):
            if client is not None and not pool.is_closed:
                pool.reconcile(partial(held, client, address))

    def start_anew(self) -> None:
        """Forget all pools; a forked child has none of its parent's connections."""
        self.clear()

    def has_room(self, address: Address) -> bool:
        """Whether a pool has a free connection that nobody waits for; True if it is unknown."""
        pool = self.get(address)
        if pool is None:
            return True
        # PyMongo does not tell of everybody who waits no longer, or has given a connection back.
        pool.drop_the_silent()
        if (client := self._client()) is not None:
            pool.reconcile(partial(held, client, address))
        return not pool.pending and (not pool.max_size or len(pool.used) < pool.max_size)

    def create(self, address: Address) -> Pool:
        """Reset a pool."""
        pool = self[address] = self._new(address)
        return pool

    def _new(self, address: Address) -> Pool:
        pool = Pool(written(address))
        identify(pool, address, self._client())
        return pool
