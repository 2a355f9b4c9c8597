"""Reads several fields of one of PyMongo's events at once."""

from __future__ import annotations

from operator import attrgetter
from types import CodeType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def fields(event: type[Any], *names: str) -> Callable[[Any], Any]:
    """Return a function that reads fields of events; it returns a tuple if there are several.

    The fields of PyMongo's events are properties, and each costs a call of a Python function. Most
    only return a slot, so that is read in their place, which takes a sixth of the time. A property
    that somebody replaces later, or in a subclass of the event, is not called.

    >>> from pymongo.monitoring import ConnectionCheckedInEvent
    >>> read = fields(ConnectionCheckedInEvent, "address", "connection_id")
    >>> read(ConnectionCheckedInEvent(("db.example", 27017), 3))
    (('db.example', 27017), 3)

    Args:
        event: The class of the events.
        names: The names of their properties.
    """
    return attrgetter(*(slot(event, name) or name for name in names))


def slot(event: type[Any], name: str) -> str | None:
    """Return the slot that a property returns; None if it does anything else."""
    for cls in event.__mro__:
        if name not in vars(cls):
            continue
        found = vars(cls)[name]
        code = getattr(found.fget, "__code__", None) if type(found) is property else None
        if not isinstance(code, CodeType) or code.co_argcount != 1:
            return None
        if code.co_code == _RETURNS_ATTRIBUTE:
            attribute = code.co_names[0]
            is_slot = isinstance(getattr(cls, attribute, None), MemberDescriptorType)
            return attribute if is_slot else None
        if code.co_code != _RETURNS_ATTRIBUTE_OF_BASE or code.co_names[-1] != name:
            return None
    return None


class _Examples:
    """Properties whose code is compared with that of PyMongo's properties."""

    @property
    def returns_attribute(self) -> Any:
        return self.attribute  # type: ignore[attr-defined]

    @property
    def returns_attribute_of_base(self) -> Any:
        return super().attribute  # type: ignore[misc]


def _code(example: Any) -> bytes:
    code: bytes = example.fget.__code__.co_code
    return code


_RETURNS_ATTRIBUTE = _code(_Examples.returns_attribute)
_RETURNS_ATTRIBUTE_OF_BASE = _code(_Examples.returns_attribute_of_base)
