"""Which connection a command uses. Its event contains only the server's ID of the connection."""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.documents import AUTHENTICATION_COMMANDS

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Address

    # The server, and the driver's ID of the connection.
    Connection = tuple[Address, int]
    # The same, and the monotonic time of its check-out, if that is known.
    CheckedIn = tuple[Address, int, float | None]
    # The server, and its own ID of the connection, which not all servers report.
    NamedByServer = tuple[Address, int | None]

MAX_CONNECTIONS = 10_000


class Connections:
    """The connections of one client that commands have used."""

    def __init__(self) -> None:
        self._names: dict[Connection, NamedByServer] = {}
        self._named: dict[NamedByServer, Connection] = {}
        # Each connection has a number in this process, which contexts store.
        self._numbers: dict[Connection, int] = {}
        self._numbered: dict[int, Connection] = {}

    def __len__(self) -> int:
        return len(self._names)

    def start_anew(self) -> None:
        """Forget everything in a forked child, because it belongs to the parent."""
        for each in (self._names, self._named, self._numbers, self._numbered):
            each.clear()

    def of(self, command_name: str, named: NamedByServer) -> Connection | None:
        """Return the connection that a command uses, if it is known.

        Mostly this is the last one that its thread or task has checked out. But an exhaust cursor
        keeps its own connection while others are used.

        Args:
            command_name: The command's name.
            named: The server and its ID of the connection.
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
        """Note the connection that this thread or task has checked out."""
        _checked_out.set(self._numbers.get(connection) or self._number(connection))

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        if number := self._numbers.pop(connection, None):
            self._numbered.pop(number, None)
        self._unname(connection)

    def _number(self, connection: Connection) -> int:
        if len(self._numbers) >= MAX_CONNECTIONS:  # Clearing is cheaper than tracking the oldest.
            self.start_anew()
        number = self._numbers[connection] = next(_numbers)
        self._numbered[number] = connection
        return number

    def _unname(self, connection: Connection) -> None:
        name = self._names.pop(connection, None)
        # Behind a load balancer, two servers may have given two connections the same ID.
        if name and self._named.get(name) == connection:
            self._named.pop(name, None)

    def _learn(
        self, connection: Connection, named: NamedByServer, command_name: str
    ) -> Connection | None:
        """Associate a checked-out connection with the server's ID of it."""
        if connection[0] != named[0] or command_name in AUTHENTICATION_COMMANDS:
            return None
        self._unname(connection)  # An earlier connection with its ID may not have been closed.
        if named[1] is not None:
            self._names[connection] = named
            self._named[named] = connection
        return connection


_numbers = count(1)

# The number of the last connection that this thread or task has checked out, of any client. A
# context is copied into new tasks, so it only contains a number.
_checked_out: ContextVar[int] = ContextVar("otel_mongo_apm_checked_out", default=0)
