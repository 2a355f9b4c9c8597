"""The client that a set of listeners belongs to."""

from __future__ import annotations

import weakref
from typing import Any


class ClientReference:
    """A client, held weakly.

    Args:
        client: The client, if it is known. Listeners that a user passes to one learn of it when it
            is made.
    """

    def __init__(self, client: weakref.ReferenceType[Any] | None = None) -> None:
        self._client = client

    def __call__(self) -> Any:
        """The client; none before it is known, and when it is gone."""
        return self._client and self._client()

    def belongs_to(self, client: Any) -> bool:
        """Whether it is a client's; the first that asks has it."""
        if self._client is None:
            self._client = weakref.ref(client)
        return self._client() is client

    @property
    def is_gone(self) -> bool:
        """Whether there was a client that nobody has any more."""
        return self._client is not None and self._client() is None
