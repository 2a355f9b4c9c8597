"""A look-alike of a MongoDB server, in threads of this process, that does as a test says.

    with ScriptedServer() as server:
        server.on("find", found({"_id": 1}))
        server.drop("find")
        pymongo.MongoClient(server.uri).shop.users.find_one()  # Dropped, then retried.

A script is a reply, a list of them, or a function from the command to either. A reply is a
document; bytes, if it is not to be BSON; or None to close the connection. Of a list, all but the
last say that more is to come, as an exhaust cursor's do. What has no script is answered with
``{"ok": 1}``. As no topology version is told, clients poll with their heartbeats.
"""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import bson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    Document = Mapping[str, Any]
    Reply = Document | bytes | None
    Script = Reply | Sequence[Reply] | Callable[[Document], Reply | Sequence[Reply]]

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_HEADER = struct.Struct("<iiii")  # Length, request ID, the ID responded to, operation code.
_INT32 = struct.Struct("<i")
_REPLY_FIELDS = struct.Struct("<iqii")  # Flags, cursor ID, position, number of documents.
_MORE_TO_COME = 1 << 1
_HELLO_COMMANDS = frozenset({"hello", "isMaster", "ismaster"})


def found(*documents: Document, cursor_id: int = 0, namespace: str = "shop.users") -> Document:
    """The reply to a `find`; with a cursor ID there is more."""
    return {"cursor": {"id": cursor_id, "ns": namespace, "firstBatch": documents}, "ok": 1}


def more(*documents: Document, cursor_id: int = 0, namespace: str = "shop.users") -> Document:
    """The reply to a `getMore`; with a cursor ID there is more."""
    return {"cursor": {"id": cursor_id, "ns": namespace, "nextBatch": documents}, "ok": 1}


def refused(code: int | None = None, code_name: str | None = None, **fields: Any) -> Document:
    """The reply to a command that failed."""
    told = {"code": code, "codeName": code_name, "errmsg": "refused", **fields}
    return {"ok": 0, **{key: value for key, value in told.items() if value is not None}}


class ScriptedServer:
    """A server on a port of the loopback interface, from `__enter__` to `__exit__`.

    Args:
        max_wire_version: 21 is MongoDB 7.0, 25 is 8.0.
        connection_id: Whether clients are told the ID of their connection.
        replica_set: The name of the replica set whose primary and only member it is.
    """

    def __init__(
        self,
        *,
        max_wire_version: int = 21,
        connection_id: bool = True,
        replica_set: str | None = None,
    ) -> None:
        # All that was received, in order; without the `hello`s, which come at any time.
        self.commands: list[dict[str, Any]] = []
        self.tells_connection_id = connection_id
        self._scripts: dict[str, Script] = {}
        self._interruptions: defaultdict[str, deque[Callable[[], object]]] = defaultdict(deque)
        self._listener = _Listener(self)
        self.host, self.port = self._listener.server_address
        # What it tells of itself; a test may change it.
        self.hello = {
            **_standalone_hello(max_wire_version),
            **(_primary_hello(replica_set, self.address) if replica_set else {}),
        }

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def uri(self) -> str:
        return f"mongodb://{self.address}"

    def received(self, command_name: str) -> list[dict[str, Any]]:
        """The commands of one name, first received first."""
        return [command for command in list(self.commands) if next(iter(command)) == command_name]

    def on(self, command_name: str, script: Script) -> None:
        """Answer a command so from now on. All kinds of `hello` go by that name."""
        self._scripts[command_name] = script

    def drop(self, command_name: str, times: int = 1) -> None:
        """Close the connection on receipt of the next such commands."""
        self._interruptions[command_name].extend([_hang_up] * times)

    def hang(self, command_name: str, seconds: float | None = None, times: int = 1) -> None:
        """Hold back the next such commands' replies; forever, if no time is given."""
        self._interruptions[command_name].extend([lambda: self._listener.wait(seconds)] * times)

    def refuse(self) -> None:
        """Hang up on everybody and refuse new connections."""
        self._listener.stop()

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._listener = _Listener(self, self.port)
        self._listener.start()

    def replies(self, command: dict[str, Any], connection_id: int) -> Sequence[Reply]:
        """What to answer; whoever asks is to hang up if this raises `_HangUpError`."""
        command_name = next(iter(command))
        if command_name in _HELLO_COMMANDS:
            command_name, script = "hello", self._hello(connection_id)
        else:
            self.commands.append(command)
            script = {"ok": 1}
        self._interrupt(command_name)
        return _as_replies(self._scripts.get(command_name, script), command)

    def _hello(self, connection_id: int) -> Document:
        if self.tells_connection_id:
            return {**self.hello, "connectionId": connection_id}
        return self.hello

    def _interrupt(self, command_name: str) -> None:
        with suppress(IndexError):  # Nothing, or nothing any more, is to be interrupted.
            self._interruptions[command_name].popleft()()


class _HangUpError(Exception):
    """The connection is to be closed."""


def _hang_up() -> None:
    raise _HangUpError


def _as_replies(script: Script, command: Document) -> Sequence[Reply]:
    if callable(script):
        script = script(command)
    return [script] if script is None or isinstance(script, Mapping | bytes) else script


def _standalone_hello(max_wire_version: int) -> dict[str, Any]:
    return {
        "helloOk": True,
        "ismaster": True,
        "isWritablePrimary": True,
        "maxBsonObjectSize": 16 * 1024 * 1024,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
        "minWireVersion": 0,
        "maxWireVersion": max_wire_version,
        "readOnly": False,
        "ok": 1,
    }


def _primary_hello(replica_set: str, address: str) -> dict[str, Any]:
    return {
        "setName": replica_set,
        "setVersion": 1,
        "electionId": bson.ObjectId(),
        "hosts": [address],
        "me": address,
        "primary": address,
        "secondary": False,
    }


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections; each has a thread."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, script: ScriptedServer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.script = script
        self.connection_ids = itertools.count(1)
        self._connections: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float | None) -> None:
        """Let time pass; hang up if it is stopped meanwhile."""
        if self._stopping.wait(seconds):
            raise _HangUpError

    def stop(self) -> None:
        self._stopping.set()
        self.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            with suppress(OSError):  # It is closed already.
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()  # Waits for the connections' threads, too.

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._connections.discard(request)


class _Connection(socketserver.StreamRequestHandler):
    """Reads commands and writes replies until either side has had enough."""

    server: _Listener
    disable_nagle_algorithm = True

    def handle(self) -> None:
        connection_id = next(self.server.connection_ids)
        with suppress(_HangUpError, ConnectionError):
            while request := _receive(self.rfile):
                replies = self.server.script.replies(request.command, connection_id)
                if not request.is_unacknowledged:
                    self.wfile.writelines(request.messages(replies))


@dataclass(frozen=True)
class _Request:
    """A command as it was sent."""

    request_id: int
    command: dict[str, Any]
    is_legacy: bool = False
    is_unacknowledged: bool = False

    def messages(self, replies: Sequence[Reply]) -> Iterator[bytes]:
        for position, reply in enumerate(replies, start=1):
            if reply is None:
                raise _HangUpError
            body = reply if isinstance(reply, bytes) else bson.encode(reply)
            yield self._message(body, more_to_come=position < len(replies))

    def _message(self, body: bytes, *, more_to_come: bool) -> bytes:
        if self.is_legacy:
            operation_code, fields = _OP_REPLY, _REPLY_FIELDS.pack(0, 0, 0, 1)
        else:
            flags = _MORE_TO_COME if more_to_come else 0
            operation_code, fields = _OP_MSG, _INT32.pack(flags) + b"\0"
        length = _HEADER.size + len(fields) + len(body)
        return _HEADER.pack(length, 0, self.request_id, operation_code) + fields + body


def _receive(stream: BinaryIO) -> _Request | None:
    """Read one message; none if the client has closed the connection."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, request_id, _, operation_code = _HEADER.unpack(header)
    payload = stream.read(length - _HEADER.size)
    if operation_code == _OP_QUERY:
        return _Request(request_id, _query_command(payload), is_legacy=True)
    (flags,) = _INT32.unpack_from(payload)
    return _Request(
        request_id, _message_command(payload), is_unacknowledged=bool(flags & _MORE_TO_COME)
    )


def _query_command(payload: bytes) -> dict[str, Any]:
    """Read an OP_QUERY: flags, a collection's name, two numbers, the command."""
    end_of_name = payload.index(b"\0", _INT32.size)
    return bson.decode(payload[end_of_name + 1 + 2 * _INT32.size :])


def _message_command(payload: bytes) -> dict[str, Any]:
    """Read an OP_MSG: flags, then sections, each of a kind and a size that includes itself."""
    command: dict[str, Any] = {}
    position = _INT32.size
    while position < len(payload):
        kind, position = payload[position], position + 1
        (size,) = _INT32.unpack_from(payload, position)
        section, position = payload[position : position + size], position + size
        if kind == 0:
            command.update(bson.decode(section))
        else:  # A list of documents that stands beside the command.
            name, _, documents = section[_INT32.size :].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
    return command
