"""Cases in MongoDB's unified test format: where they are, and which servers can run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UnsupportedError, check_known
from .matching import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo import MongoClient

    Version = tuple[int, ...]

FILE_KEYS = {
    "description",
    "schemaVersion",
    "runOnRequirements",
    "createEntities",
    "initialData",
    "tests",
    "_yamlAnchors",
}
TEST_KEYS = {"description", "runOnRequirements", "operations", "expectTracingMessages", "outcome"}
MAJOR_VERSION = 1  # Of the format. What a minor one adds is known, or its use is an error.
# What no supported PyMongo has any more.
REMOVED = {"mapReduce": "PyMongo 4 has no mapReduce"}


@dataclass(frozen=True)
class Case:
    """One test of one file.

    Args:
        name: The file's name and the test's description.
        file: All of the file.
        test: The test's own part of it.
    """

    name: str
    file: Mapping[str, Any]
    test: Mapping[str, Any]

    @property
    def operations(self) -> list[Mapping[str, Any]]:
        return self.test["operations"]


@dataclass(frozen=True)
class Server:
    """What requirements ask of a server."""

    version: Version
    topology: str
    auth: bool

    @classmethod
    def of(cls, client: MongoClient[Any]) -> Server:
        hello = client.admin.command("hello")
        status = client.admin.command("connectionStatus")
        return cls(
            _version(client.server_info()["version"]),
            _topology(hello),
            bool(status["authInfo"]["authenticatedUsers"]),
        )


def _topology(hello: Mapping[str, Any]) -> str:
    if hello.get("msg") == "isdbgrid":
        return "sharded"
    return "replicaset" if "setName" in hello else "single"


def _version(text: str) -> Version:
    """The first three numbers of a version, as a pre-release may have more; 0 if left out."""
    numbers = [int(number) for number in text.partition("-")[0].split(".")[:3]]
    return (*numbers, 0, 0)[:3]


def read_cases(folder: Path | str) -> list[Case]:
    """All cases in a folder and those in it."""
    folder = Path(folder)
    return [case for path in sorted(folder.rglob("*.json")) for case in _in_file(path, folder)]


def _in_file(path: Path, folder: Path) -> Iterator[Case]:
    file = from_json(path.read_text(encoding="utf-8"))
    name = path.relative_to(folder).with_suffix("").as_posix()
    for test in file["tests"]:
        yield Case(f"{name}: {test['description']}", file, test)


def check_format(case: Case) -> None:
    """Raise `UnsupportedError` if there is something at a case's top that is not known."""
    check_known(case.file, FILE_KEYS, "key of a file")
    check_known(case.test, TEST_KEYS, "key of a test")
    if _version(case.file["schemaVersion"])[0] != MAJOR_VERSION:
        raise UnsupportedError(case.file["schemaVersion"], "version of the format")


def reason_to_skip(case: Case, server: Server) -> str | None:
    """Why a case cannot be run, if so: for the server's sake, or for what PyMongo has no more."""
    for requirements in (case.file.get("runOnRequirements"), case.test.get("runOnRequirements")):
        if requirements and not any(_is_met(each, server) for each in requirements):
            version = ".".join(map(str, server.version))
            return f"runOnRequirements: MongoDB {version}, {server.topology}: {requirements}"
    return next((REMOVED[op["name"]] for op in case.operations if op["name"] in REMOVED), None)


def _is_met(requirement: Mapping[str, Any], server: Server) -> bool:
    return all(_one_is_met(key, value, server) for key, value in requirement.items())


def _one_is_met(key: str, value: Any, server: Server) -> bool:
    match key:
        case "minServerVersion":
            return server.version >= _version(value)
        case "maxServerVersion":
            return server.version <= _version(value)
        case "topologies":
            return server.topology in value
        case "auth":
            return server.auth is value
        case "serverless":
            return value != "require"
        case _:
            raise UnsupportedError(key, "requirement")
