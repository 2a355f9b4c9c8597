"""How a case fails, and the errors that one may expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from pymongo.errors import PyMongoError

    from .matching import Matcher


class MismatchError(AssertionError):
    """Something is not what a case expects."""

    def __init__(self, where: str, expected: object, actual: object) -> None:
        super().__init__(f"{where}: expected {expected!r}, found {actual!r}")


class UnsupportedError(AssertionError):
    """A case asks for something that this runner does not know."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"unknown {what}: {name}")


def check_known(found: Iterable[str], known: Container[str], what: str) -> None:
    """Raise `UnsupportedError` unless all that is found is known."""
    if unknown := sorted(name for name in found if name not in known):
        raise UnsupportedError(", ".join(unknown), what)


def match_error(expected: Mapping[str, Any], error: PyMongoError, matcher: Matcher) -> None:
    """Compare an error with the one that an operation is expected to raise.

    Raises:
        MismatchError: They do not match.
        UnsupportedError: There is something that is not known.
    """
    details = getattr(error, "details", None) or {}
    found = {
        "isError": True,
        "isClientError": not isinstance(error, OperationFailure),
        "isTimeoutError": getattr(error, "timeout", False),
        "errorContains": str(error),
        "errorCode": getattr(error, "code", None),
        "errorCodeName": details.get("codeName"),
        "errorLabelsContain": details.get("errorLabels", ()),
        "errorLabelsOmit": details.get("errorLabels", ()),
        "errorResponse": details,
    }
    check_known(expected, found, "key of an expected error")
    for key, value in expected.items():
        if key == "errorResponse":
            matcher.match(value, details, key, root=True)
        elif not _agrees(key, value, found[key]):
            raise MismatchError(key, value, found[key])


def _agrees(key: str, expected: Any, found: Any) -> bool:
    match key:
        case "errorContains":
            return expected.lower() in found.lower()
        case "errorCodeName":
            return found is not None and expected.lower() == found.lower()
        case "errorLabelsContain":
            return set(expected) <= set(found)
        case "errorLabelsOmit":
            return not set(expected) & set(found)
        case _:
            return expected == found
