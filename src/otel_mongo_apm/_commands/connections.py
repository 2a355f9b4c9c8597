"""Which connection a command goes out on; its event tells only what the server calls it."""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.documents import AUTHENTICATION_COMMANDS

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Address

    # The server, and the driver's ID of the connection.
    Connection = tuple[Address, int]
    # The same, and when it was checked out by the monotonic clock, if that is known.
    CheckedIn = tuple[Address, int, float | None]
    # The server, and its own ID of the connection; not all servers tell one.
    NamedByServer = tuple[Address, int | None]

MAX_CONNECTIONS = 10_000


class Connections:
    """The connections of one client, as far as commands went out on them."""

    def __init__(self) -> None:
        self._names: dict[Connection, NamedByServer] = {}
        self._named: dict[NamedByServer, Connection] = {}
        # Each has a number in this process, by which a context knows it.
        self._numbers: dict[Connection, int] = {}
        self._numbered: dict[int, Connection] = {}

    def __len__(self) -> int:
        return len(self._names)

    def start_anew(self) -> None:
        """Forget all; they are another process's."""
        for each in (self._names, self._named, self._numbers, self._numbered):
            each.clear()

    def of(self, command_name: str, named: NamedByServer) -> Connection | None:
        """The connection that a command goes out on, if it is known.

        Mostly that which its thread or task has checked out last. But an exhaust cursor keeps its
        own while others are used.

        Args:
            command_name: The command's name.
            named: What the server calls the connection.
        """
        connection = self._numbered.get(_checked_out.get())
        if connection is None:
            return self._named.get(named)
        name = self._names.get(connection)
        if name == named:
            return connection
        known = self._named.get(named) if name else None
        return known or self._learn(connection, named, command_name)

    def check_out(self, connection: Connection) -> None:
        """Learn what this thread or task has checked out."""
        _checked_out.set(self._numbers.get(connection) or self._number(connection))

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        if number := self._numbers.pop(connection, None):
            self._numbered.pop(number, None)
        self._unname(connection)

    def _number(self, connection: Connection) -> int:
        if len(self._numbers) >= MAX_CONNECTIONS:  # To start anew costs less than to keep an order.
            self.start_anew()
        number = self._numbers[connection] = next(_numbers)
        self._numbered[number] = connection
        return number

    def _unname(self, connection: Connection) -> None:
        name = self._names.pop(connection, None)
        # Behind a load balancer two servers may have given two connections the same name.
        if name and self._named.get(name) == connection:
            self._named.pop(name, None)

    def _learn(
        self, connection: Connection, named: NamedByServer, command_name: str
    ) -> Connection | None:
        """Take a connection that was checked out for the one that a server calls so."""
        if connection[0] != named[0] or command_name in AUTHENTICATION_COMMANDS:
            return None
        self._unname(connection)  # Another may have had its ID, which nobody has seen closed.
        if named[1] is not None:
            self._names[connection] = named
            self._named[named] = connection
        return connection


_numbers = count(1)

# The number of the connection that this thread or task has checked out last, of whatever client. A
# context is copied into the tasks that begin meanwhile, so it holds no more than a number.
_checked_out: ContextVar[int] = ContextVar("otel_mongo_apm_checked_out", default=0)
