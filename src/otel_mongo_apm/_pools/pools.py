"""The pools of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_mongo_apm._driver.clients import app_name

from .names import forget_names, free_name, named_pool
from .pool import Pool

if TYPE_CHECKING:
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._otel.addresses import Address


class Pools(dict["Address", Pool]):
    """One client's pools by their servers."""

    def __init__(self, client: ClientReference) -> None:
        super().__init__()
        self._client = client

    def __missing__(self, address: Address) -> Pool:
        # In the child of a fork many threads may be the first to meet one; then all take the same.
        return self.setdefault(address, self._new(address))

    def close(self, address: Address) -> None:
        """Close a pool, and let another have its name."""
        if (pool := self.get(address)) and not pool.is_closed:
            pool.is_closed = True
            free_name(pool)

    def start_anew(self) -> None:
        """Know no pools; the child of a fork has none of its parent's connections."""
        self.clear()
        forget_names()

    def has_room(self, address: Address) -> bool:
        """Whether a server's pool has a connection free that nobody waits for; if it is known."""
        pool = self.get(address)
        if pool is None:
            return True
        return not pool.pending and (not pool.max_size or len(pool.used) < pool.max_size)

    def create(self, address: Address) -> Pool:
        """Begin a pool anew."""
        self.close(address)
        pool = self[address] = self._new(address)
        return pool

    def _new(self, address: Address) -> Pool:
        client = self._client()
        return named_pool(address, None if client is None else app_name(client))
