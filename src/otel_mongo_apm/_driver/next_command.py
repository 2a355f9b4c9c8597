"""Which command a caller is about to send, from the variables of PyMongo's running functions."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .call_stack import calling_frame, is_go_between
from .classes import client_classes
from .documents import collection_in, plain
from .private_names import class_named, packages, warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PARAMETER = "operation"
_LOSS = "`check out connection` does not say for which command"
# There are never more frames between a call of the API and the check-out of a connection.
_DEEPEST = 50


class NextCommand(NamedTuple):
    """What is known about a command before it is sent.

    Args:
        operation: What PyMongo calls the operation that it is for.
        database: The database's name.
        collection: The collection's name, if it is sent to one.
    """

    operation: str | None = None
    database: str | None = None
    collection: str | None = None


@cache
def can_tell() -> bool:
    """Whether PyMongo's functions have the parameter that names the operation."""
    for cls in client_classes():
        retry = getattr(cls, "_retry_internal", None)
        if retry is None or _PARAMETER not in inspect.signature(retry).parameters:
            warn_of_loss(f"MongoClient._retry_internal({_PARAMETER})", _LOSS)
            return False
    return True


def next_command() -> NextCommand:
    """Describe the command that a caller is about to send when it checks out a connection.

    This reads the variables of running functions, which takes some microseconds. So it is called
    only for callers who had to wait.
    """
    if not can_tell():
        return NextCommand()
    operation: str | None = None
    place: tuple[str | None, str | None] = (None, None)
    for variables in _variables():
        given = variables.get(_PARAMETER)
        if operation is None and isinstance(given, str):
            operation = str(getattr(given, "value", given))  # An enumeration's member, perhaps.
        if found := _place(variables.get("self")):
            place = found
            break
    return NextCommand(operation, *place)


def _variables() -> Iterator[Mapping[str, Any]]:
    """Yield the variables of PyMongo's running functions, up to where the application called it."""
    frame = calling_frame().f_back
    for _ in range(_DEEPEST):
        if frame is None or not is_go_between(frame):
            return
        yield frame.f_locals
        frame = frame.f_back


def _place(owner: object) -> tuple[str, str | None] | None:
    """The database and the collection that a method of the API is called on."""
    if isinstance(owner, _classes("Cursor")):
        owner = owner.collection
    if isinstance(owner, _classes("Collection")):
        database = plain(owner.database.name)
        return database, collection_in(database, plain(owner.name))
    if isinstance(owner, _classes("Database")):
        return plain(owner.name), None
    return None


@cache
def _classes(name: str) -> tuple[type[Any], ...]:
    found = (
        class_named(f"{package}.{name.lower()}", f"Async{name}" if is_async else name)
        for package, is_async in packages().items()
    )
    return tuple(cls for cls in found if cls)
