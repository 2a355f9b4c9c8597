"""The client that a set of listeners belongs to."""

from __future__ import annotations

import weakref
from typing import Any


class ClientReference:
    """A client, held weakly.

    Args:
        client: The client, if it is known. Listeners that a user passes to a client learn of it
            when the client is created.
    """

    def __init__(self, client: weakref.ReferenceType[Any] | None = None) -> None:
        self._client = client

    def __call__(self) -> Any:
        """Return the client; None before it is known and after it is gone."""
        return self._client and self._client()

    def belongs_to(self, client: Any) -> bool:
        """Whether this reference belongs to a client; the first client that asks gets it."""
        if self._client is None:
            self._client = weakref.ref(client)
        return self._client() is client

    @property
    def is_gone(self) -> bool:
        """Whether the client was garbage-collected."""
        return self._client is not None and self._client() is None
