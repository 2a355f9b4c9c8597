"""The client that a set of listeners belongs to."""

from __future__ import annotations

import weakref
from typing import Any

from .clients import check
from .listeners import clients_with


class ClientReference:
    """A client, held weakly. Listeners that a user passes learn of theirs only when it is there.

    Args:
        client: The client, if it is known.
    """

    def __init__(self, client: weakref.ReferenceType[Any] | None = None) -> None:
        self._client = client

    def __call__(self) -> Any:
        """The client; none before it is known, and when it is gone."""
        if self._client is None:
            self._client = self._found()
        return self._client and self._client()

    @property
    def is_gone(self) -> bool:
        """Whether there was a client that nobody has any more."""
        return self._client is not None and self._client() is None

    def _found(self) -> weakref.ReferenceType[Any] | None:
        clients = clients_with(lambda listener: getattr(listener, "client", None) is self)
        # If a set is shared, what one client knows must not be taken for what another does.
        if len(clients) != 1:
            return None
        check(clients[0])
        return weakref.ref(clients[0])
