"""Which connection a command goes out on; its event tells only what the server calls it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Address

    # The server, and the driver's ID of the connection.
    Connection = tuple[Address, int]
    # The same, and when it was checked out by the monotonic clock, if that is known.
    CheckedIn = tuple[Address, int, float | None]
    # The server, and its own ID of the connection; not all servers tell one.
    NamedByServer = tuple[Address, int | None]

MAX_CONNECTIONS = 10_000

# Commands to a connection that nobody has checked out yet.
_BEFORE_CHECK_OUT = frozenset({"authenticate", "saslContinue", "saslStart"})


class Connections:
    """The connections of one client, as far as commands went out on them."""

    def __init__(self) -> None:
        self._names: dict[Connection, NamedByServer] = {}
        self._named: dict[NamedByServer, Connection] = {}

    def __len__(self) -> int:
        return len(self._names)

    def start_anew(self) -> None:
        """Forget all; they are another process's."""
        self._names.clear()
        self._named.clear()

    def of(self, command_name: str, named: NamedByServer) -> Connection | None:
        """The connection that a command goes out on, if it is known.

        Mostly that which its thread or task has checked out last. But an exhaust cursor keeps its
        own while others are used.

        Args:
            command_name: The command's name.
            named: What the server calls the connection.
        """
        latest = _checked_out.get()
        if latest is None or latest[1] is not self:
            return self._named.get(named)
        connection = latest[0]
        name = self._names.get(connection)
        if name == named:
            return connection
        known = self._named.get(named) if name else None
        return known or self._learn(connection, named, command_name)

    def check_out(self, connection: Connection) -> None:
        """Learn what this thread or task has checked out."""
        _checked_out.set((connection, self))

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        name = self._names.pop(connection, None)
        # Behind a load balancer two servers may have given two connections the same name.
        if name and self._named.get(name) == connection:
            self._named.pop(name, None)

    def _learn(
        self, connection: Connection, named: NamedByServer, command_name: str
    ) -> Connection | None:
        """Take a connection that was checked out for the one that a server calls so."""
        if connection[0] != named[0] or command_name in _BEFORE_CHECK_OUT:
            return None
        self.forget(connection)  # Another may have had its ID, which nobody has seen closed.
        if named[1] is not None:
            if len(self) >= MAX_CONNECTIONS:  # To start anew costs less than to keep an order.
                self.start_anew()
            self._names[connection] = named
            self._named[named] = connection
        return connection


# The connection that this thread or task has checked out last, and of which client.
_checked_out: ContextVar[tuple[Connection, Connections] | None] = ContextVar(
    "otel_mongo_apm_checked_out", default=None
)
