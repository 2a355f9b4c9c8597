"""What matches what, by the rules of the unified test format."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import Binary, Decimal128, Int64, ObjectId, Timestamp, UuidRepresentation, json_util

from .errors import MismatchError, UnsupportedError, check_known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPERATOR = "$$"
UNSET: Any = object()  # The value of what is not there.

JSON_OPTIONS = json_util.JSONOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)


def from_json(text: str) -> Any:
    """What extended JSON stands for."""
    return json_util.loads(text, json_options=JSON_OPTIONS)


def is_integer(value: object, bits: int) -> bool:
    # Not by a range: whether an Int64 is in one takes as long as to count that far.
    bound = 1 << (bits - 1)
    return isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list | tuple),
    "binData": lambda value: isinstance(value, bytes | Binary),
    "bool": lambda value: isinstance(value, bool),
    "date": lambda value: isinstance(value, datetime),
    "decimal": lambda value: isinstance(value, Decimal128),
    "double": lambda value: isinstance(value, float),
    # Python's integers are of one type; what fits may be either.
    "int": lambda value: is_integer(value, 32) and not isinstance(value, Int64),
    "long": lambda value: is_integer(value, 64),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, Mapping),
    "objectId": lambda value: isinstance(value, ObjectId),
    "string": lambda value: isinstance(value, str),
    "timestamp": lambda value: isinstance(value, Timestamp),
}


class Matcher:
    """Compares what a case expects with what there is; raises where they differ.

    Args:
        sessions: The IDs of logical sessions, as documents, by the names of their entities.
    """

    def __init__(self, sessions: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._sessions = sessions or {}

    def match(self, expected: Any, actual: Any, where: str, *, root: bool = False) -> None:
        """Compare two values.

        Args:
            expected: What the case has.
            actual: What there is, or `UNSET`.
            where: The path to it, for people.
            root: Whether a document may have keys that are not expected.

        Raises:
            MismatchError: They do not match.
            UnsupportedError: There is an operator that is not known.
        """
        if operator := _operator(expected):
            self._apply(operator, expected[operator], actual, where)
        elif actual is UNSET:
            raise MismatchError(where, expected, "nothing")
        elif isinstance(expected, Mapping):
            self._match_documents(expected, actual, where, root=root)
        elif isinstance(expected, list):
            self._match_arrays(expected, actual, where)
        elif not _equal(expected, actual):
            raise MismatchError(where, expected, actual)

    def match_result(self, expected: Any, actual: Any, where: str) -> None:
        """Compare an operation's result: it, or what is in it if it is an array, is a root."""
        if not isinstance(expected, list):
            self.match(expected, actual, where, root=True)
            return
        self._match_lengths(expected, actual, where)
        for number, (each, found) in enumerate(zip(expected, actual, strict=True)):
            self.match(each, found, f"{where}[{number}]", root=True)

    def _match_documents(
        self, expected: Mapping[str, Any], actual: Any, where: str, *, root: bool
    ) -> None:
        if not isinstance(actual, Mapping):
            raise MismatchError(where, expected, actual)
        for key, value in expected.items():
            self.match(value, actual.get(key, UNSET), f"{where}.{key}")
        if not root and (extra := actual.keys() - expected.keys()):
            raise MismatchError(where, f"only {sorted(expected)}", f"also {sorted(extra)}")

    def _match_arrays(self, expected: Sequence[Any], actual: Any, where: str) -> None:
        self._match_lengths(expected, actual, where)
        for number, (each, found) in enumerate(zip(expected, actual, strict=True)):
            self.match(each, found, f"{where}[{number}]")

    def _match_lengths(self, expected: Sequence[Any], actual: Any, where: str) -> None:
        if not isinstance(actual, list | tuple) or len(actual) != len(expected):
            raise MismatchError(where, expected, actual)

    def _apply(self, operator: str, operand: Any, actual: Any, where: str) -> None:
        name = operator.removeprefix(OPERATOR)
        apply = self._OPERATORS.get(name)
        if apply is None:
            raise UnsupportedError(operator, "operator")
        apply(self, operand, actual, f"{where}.{operator}")

    def _exists(self, operand: bool, actual: Any, where: str) -> None:  # noqa: FBT001
        if operand is not (actual is not UNSET):
            raise MismatchError(where, operand, "nothing" if actual is UNSET else actual)

    def _type(self, operand: str | list[str], actual: Any, where: str) -> None:
        names = operand if isinstance(operand, list) else [operand]
        check_known(names, TYPES, "type")
        if actual is UNSET or not any(TYPES[name](actual) for name in names):
            raise MismatchError(where, operand, "nothing" if actual is UNSET else actual)

    def _unset_or_matches(self, operand: Any, actual: Any, where: str) -> None:
        if actual is not UNSET:
            self.match(operand, actual, where)

    def _match_as_document(self, operand: Any, actual: Any, where: str) -> None:
        if not isinstance(actual, str):
            raise MismatchError(where, "extended JSON", "nothing" if actual is UNSET else actual)
        try:
            document = from_json(actual)
        except ValueError:
            raise MismatchError(where, "extended JSON", actual) from None
        self.match(operand, document, where)

    def _match_as_root(self, operand: Any, actual: Any, where: str) -> None:
        self.match(operand, actual, where, root=True)

    def _session_lsid(self, operand: str, actual: Any, where: str) -> None:
        """Compare the ID of a session, which an attribute has as a UUID's text."""
        if operand not in self._sessions:
            raise UnsupportedError(operand, "session")
        session_id = self._sessions[operand]
        expected = str(session_id["id"].as_uuid()) if isinstance(actual, str) else session_id
        if actual is UNSET or actual != expected:
            raise MismatchError(where, expected, "nothing" if actual is UNSET else actual)

    _OPERATORS: Mapping[str, Callable[[Matcher, Any, Any, str], None]] = {
        "exists": _exists,
        "matchAsDocument": _match_as_document,
        "matchAsRoot": _match_as_root,
        "sessionLsid": _session_lsid,
        "type": _type,
        "unsetOrMatches": _unset_or_matches,
    }


def _operator(expected: Any) -> str | None:
    if not isinstance(expected, Mapping):
        return None
    operators = [key for key in expected if key.startswith(OPERATOR)]
    if operators and len(expected) > 1:
        raise UnsupportedError(", ".join(operators), "operator beside other keys")
    return operators[0] if operators else None


def _equal(expected: Any, actual: Any) -> bool:
    """Whether two plain values are the same; numbers of different types may be."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float):
        return isinstance(actual, int | float) and expected == actual
    return type(expected) is type(actual) and expected == actual
