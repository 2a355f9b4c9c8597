"""Real MongoDB servers, started and stopped on this machine for tests and examples.

    with replica_set(members=3) as servers:
        client = MongoClient(servers.uri)
        servers.kill_primary()

The servers die with this process, whatever ends it. To ask them who is primary this module uses
PyMongo clients that live for one command; where PyMongo is instrumented they are seen too.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from installed_mongod import mongod_path
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Found = TypeVar("Found")

HOST = "127.0.0.1"
# Below every system's ephemeral ports: a client that reconnects to a dead server's ephemeral port
# may be given that port itself, and then it talks to itself.
PORTS = range(20_000, 30_000)
LISTENING = '"msg":"Waiting for connections"'
# As it begins mongod finds it out and exits; later, when it wants to listen, it aborts.
ADDRESS_IN_USE = "Address already in use"
PATIENCE = 30.0  # Seconds; a start takes one or two.
LOG_TAIL = 20  # Lines.
GUARD = """
import contextlib, os, shutil, sys, time
if not sys.stdin.readline():
    with contextlib.suppress(OSError):
        os.kill(int(sys.argv[1]), 9)
    time.sleep(1)
    shutil.rmtree(sys.argv[2], ignore_errors=True)
"""
# Ctrl-C is for us, and then we stop what we have started.
APART: dict[str, Any] = {"start_new_session": True}
if sys.platform == "win32":
    APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


class MongodStartError(RuntimeError):
    """A mongod is here and did not start."""


def free_port() -> int:
    """Choose a port that nobody listens on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind((HOST, port))
            return port


def eventually(found: Callable[[], Found | None], what: str, timeout: float = PATIENCE) -> Found:
    """Ask until there is an answer."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.02)
    message = f"Waited {timeout:g} s in vain for {what}"
    raise TimeoutError(message)


def wait_for_ctrl_c() -> None:
    """Wait until `KeyboardInterrupt`; Windows has no `signal.pause`."""
    while True:
        time.sleep(3600)


class Guard:
    """A process that kills a server as soon as this one has died without dismissing it.

    Linux could do so by itself (PR_SET_PDEATHSIG), but already when the thread ends that started
    the server.
    """

    def __init__(self, pid: int, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", GUARD, str(pid), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **APART,
        )

    def dismiss(self) -> None:
        """Let the server's fate be ours again."""
        self._process.communicate(b"\n")


class Mongod:
    """One server. It keeps its port and its data when started again, until it is closed.

    Args:
        replica_set: The name of the replica set it is to belong to.
        auth: Ask for `username` and `password`; they are in its `uri`.
    """

    username = "root"

    def __init__(self, *, replica_set: str | None = None, auth: bool = False) -> None:
        self.replica_set = replica_set
        self.password = secrets.token_hex(8) if auth else None
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="mongod-"))
        self.log = self.directory / "log"
        self.paused = False
        self._started_before = False
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._owner = os.getpid()
        atexit.register(self.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}>"

    @property
    def address(self) -> tuple[str, int]:
        """The address as PyMongo has it."""
        return HOST, self.port

    @property
    def host(self) -> str:
        """The address as a replica set's configuration has it."""
        return f"{HOST}:{self.port}"

    @property
    def unix_socket(self) -> str:
        """The path of its Unix socket."""
        return str(self.directory / f"mongodb-{self.port}.sock")

    @property
    def uri(self) -> str:
        """The URI of this server alone."""
        credentials = f"{self.username}:{self.password}@" if self.password else ""
        return f"mongodb://{credentials}{self.host}/?directConnection=true"

    @property
    def running(self) -> bool:
        """Whether it has a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The ID of its process."""
        return self._running_process().pid

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        while not self._start():
            self.port = free_port()
        if self.password and not self._started_before:
            self._create_user(self.password)
        self._started_before = True

    def stop(self) -> None:
        """Ask it to shut down; if it will not, kill it."""
        self.resume()
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._end(subprocess.Popen.kill)

    def pause(self) -> None:
        """Make it hang: it keeps its connections and does not answer. Not on Windows."""
        self._running_process().send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it answer again."""
        if self.paused and self.running:
            self._running_process().send_signal(signal.SIGCONT)
        self.paused = False

    def close(self) -> None:
        """Stop it for good and delete its data."""
        if os.getpid() != self._owner:  # A fork has inherited the call from atexit.
            return
        atexit.unregister(self.close)
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, name: str, value: Any = 1, **arguments: Any) -> dict[str, Any]:
        """Run a command on its admin database."""
        client: MongoClient[dict[str, Any]] = MongoClient(
            self.uri, serverSelectionTimeoutMS=5000, socketTimeoutMS=10_000
        )
        with client:
            return client.admin.command(name, value, **arguments)

    def hello(self) -> dict[str, Any]:
        """Ask what it is in its replica set; it says nothing when it cannot answer."""
        if not self.running or self.paused:
            return {}
        try:
            return self.command("hello")
        except PyMongoError:
            return {}

    def _start(self) -> bool:
        """Start it; it is false if another program was quicker to take the port."""
        said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [mongod_path(), *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **APART,
            )
        self._guard = Guard(process.pid, self.directory)
        with contextlib.suppress(TimeoutError):
            eventually(lambda: process.poll() is not None or self._listens(said), "a start")
        if self.running and self._listens(said):
            return True
        self.kill()
        if self._says(ADDRESS_IN_USE, said) and not self._started_before:
            return False
        raise MongodStartError(self._failure(process.returncode))

    def _arguments(self) -> Iterator[str]:
        yield from ("--bind_ip", HOST, "--port", str(self.port))
        yield from ("--dbpath", str(self.directory))
        if sys.platform != "win32":  # No mongod has Unix sockets there.
            yield from ("--unixSocketPrefix", str(self.directory))
        yield from ("--wiredTigerCacheSizeGB", "0.25")
        # Else each server allocates 300 MB for its journal.
        yield from ("--wiredTigerEngineConfigString", "log=(file_max=4MB)")
        yield from ("--setParameter", "enableTestCommands=1")
        yield from ("--setParameter", "diagnosticDataCollectionEnabled=false")
        # Else a member of a replica set lingers for 15 seconds.
        yield from ("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100")
        if self.replica_set:
            yield from ("--replSet", self.replica_set, "--oplogSize", "16")
        if self.password:
            yield "--auth"

    def _listens(self, said: int) -> bool:
        """Tell from its log, since on the port someone else might answer."""
        return self._says(LISTENING, said)

    def _says(self, text: str, said: int) -> bool:
        with self.log.open("rb") as log:
            log.seek(said)  # It may have become long meanwhile.
            return text in log.read().decode(errors="replace")

    def _failure(self, status: int) -> str:
        tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return "\n".join(
            [f"mongod ended with {status}; it said the following. (Or set $MONGODB_URI.)", *tail]
        )

    def _create_user(self, password: str) -> None:
        """Create the first user, which a client on the same machine may do without being one."""
        client: MongoClient[dict[str, Any]] = MongoClient(HOST, self.port, directConnection=True)
        with client:
            client.admin.command(
                "createUser",
                self.username,
                pwd=password,
                roles=["root"],
                writeConcern={"w": 1, "j": True},  # The user is to survive a kill.
            )

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or not self.running:
            message = f"{self!r} is not running"
            raise RuntimeError(message)
        return self._process

    def _end(self, ask: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is None:
            return
        ask(self._process)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._guard:
            self._guard.dismiss()
        self._process = self._guard = None
        self.paused = False


class ReplicaSet:
    """Servers that replicate; with three of them, one may die."""

    def __init__(self, members: int, name: str, election_timeout: float) -> None:
        self.name = name
        self.members = [Mongod(replica_set=name) for _ in range(members)]
        self._election_timeout = election_timeout

    @property
    def uri(self) -> str:
        """The URI of all its members."""
        hosts = ",".join(member.host for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    def start(self) -> None:
        """Start the servers, make them a replica set, wait until each can vote and write."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Mongod.start, self.members))
        self.members[0].command("replSetInitiate", self._configuration())
        self.wait_for_primary()
        self.wait_for_secondaries()

    def close(self) -> None:
        """Stop all servers for good and delete their data."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Mongod.close, self.members))

    def primary(self) -> Mongod:
        """Name the primary of this moment; raise `LookupError` if there is none."""
        replies = [(member, member.hello()) for member in self.members]
        primaries = [(m, reply) for m, reply in replies if reply.get("isWritablePrimary")]
        if not primaries:
            message = f"{self.name} has no primary"
            raise LookupError(message)
        # One that was paused does not know yet that another was elected after it.
        return max(primaries, key=lambda found: found[1]["electionId"])[0]

    def secondaries(self) -> list[Mongod]:
        """List the secondaries of this moment."""
        return [member for member in self.members if member.hello().get("secondary")]

    def wait_for_primary(self, timeout: float = PATIENCE) -> Mongod:
        """Wait until there is a primary."""

        def primary() -> Mongod | None:
            with contextlib.suppress(LookupError):
                return self.primary()
            return None

        return eventually(primary, f"a primary of {self.name}", timeout)

    def wait_for_secondaries(self, timeout: float = PATIENCE) -> list[Mongod]:
        """Wait until all running members but the primary are secondaries."""
        running = [member for member in self.members if member.running and not member.paused]
        if len(running) == 1:
            return []

        def all_secondaries() -> list[Mongod] | None:
            secondaries = self.secondaries()
            return secondaries if len(secondaries) == len(running) - 1 else None

        return eventually(all_secondaries, f"the secondaries of {self.name}", timeout)

    def kill_primary(self) -> Mongod:
        """Kill the primary, and return it."""
        primary = self.wait_for_primary()
        primary.kill()
        return primary

    def step_down(self, seconds: int = 5, *, force: bool = True) -> Mongod:
        """Make the primary a secondary for that time at least, and return it.

        Unforced, it hands over to another at once. Forced, there is no primary for about a second.
        """
        primary = self.wait_for_primary()
        patience = seconds - 1 if len(self.members) > 1 else 0
        primary.command(
            "replSetStepDown", seconds, force=force, secondaryCatchUpPeriodSecs=patience
        )
        return primary

    def add(self) -> Mongod:
        """Start one more member, and wait until it is a secondary."""
        member = Mongod(replica_set=self.name)
        self.members.append(member)
        member.start()
        self._reconfigure(lambda members: [*members, self._entry(member, members)])
        eventually(lambda: member.hello().get("secondary"), f"{member!r} to be a secondary")
        return member

    def remove(self, member: Mongod) -> None:
        """Take a member out of the configuration, and close it."""
        self._reconfigure(lambda members: [m for m in members if m["host"] != member.host])
        self.members.remove(member)
        member.close()

    def _reconfigure(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Change its members; again, if meanwhile the servers have changed the configuration."""

        def reconfigured() -> bool:
            primary = self.wait_for_primary()
            configuration = primary.command("replSetGetConfig")["config"]
            configuration["version"] += 1
            configuration["members"] = change(configuration["members"])
            with contextlib.suppress(OperationFailure):
                primary.command("replSetReconfig", configuration)
                return True
            return False

        eventually(reconfigured, f"another configuration of {self.name}")

    def _configuration(self) -> dict[str, Any]:
        members: list[dict[str, Any]] = []
        for member in self.members:
            members.append(self._entry(member, members))
        settings = {
            "electionTimeoutMillis": round(self._election_timeout * 1000),
            "heartbeatIntervalMillis": 500,
        }
        return {"_id": self.name, "members": members, "settings": settings}

    def _entry(self, member: Mongod, others: list[dict[str, Any]]) -> dict[str, Any]:
        return {"_id": max((o["_id"] for o in others), default=-1) + 1, "host": member.host}


@contextlib.contextmanager
def standalone(*, auth: bool = False) -> Iterator[Mongod]:
    """Run one server that belongs to no replica set."""
    with contextlib.closing(Mongod(auth=auth)) as mongod:
        mongod.start()
        yield mongod


@contextlib.contextmanager
def replica_set(
    members: int = 1, name: str = "rs0", *, election_timeout: float = 1.0
) -> Iterator[ReplicaSet]:
    """Run a replica set whose secondaries miss a primary after *election_timeout* seconds."""
    with contextlib.closing(ReplicaSet(members, name, election_timeout)) as servers:
        servers.start()
        yield servers


def main() -> None:
    """Run a replica set until Ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--members", type=int, choices=range(1, 8), default=1)
    with contextlib.suppress(KeyboardInterrupt), replica_set(parser.parse_args().members) as rs:
        print(f"MONGODB_URI='{rs.uri}'", flush=True)
        wait_for_ctrl_c()


if __name__ == "__main__":
    main()
