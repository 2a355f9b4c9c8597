"""Whether anybody accepts connections at an address."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import cache
from threading import Thread
from typing import NamedTuple

# In seconds. To look up a name has no time-out of its own, so it is waited for as long again.
TIMEOUT = 1.0


class Endpoint(NamedTuple):
    """A host and a port.

    >>> str(Endpoint("::1", 4317))
    '[::1]:4317'
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@cache
def answers(endpoint: Endpoint) -> bool:
    """Try to connect, for two seconds at most; several signals mostly share one endpoint."""
    connected: list[bool] = []

    def connect() -> None:
        with suppress(OSError, UnicodeError), socket.create_connection(endpoint, TIMEOUT):
            connected.append(True)

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(2 * TIMEOUT)
    return bool(connected)
