"""The shape of a command: all that its sanitized text depends on, and no value that is hidden.

Applications send the same few commands with ever other values. A text is remembered by the shape of
its command, as a shape is quicker to tell than a text is to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arguments import EXPLAINED, arguments
from .json_text import LEFT_OUT, SAMPLE, SCALAR_TYPES
from .positions import COLLECTION, Position, is_no_operator

if TYPE_CHECKING:
    from collections.abc import Mapping

    # Parts in the order of what they are of. That of a scalar is what is shown of it, or nothing;
    # that of a document a tuple: of its keys if it has hidden scalars only, or else of the tuple of
    # its keys and the parts of its values; that of a list `True` if it is written as one hidden
    # value, or else a tuple of `False` and the parts of its items. So no two shapes look alike.
    Part = str | bool | tuple[Any, ...] | None
    Shape = tuple[Any, ...]

# Larger commands have no shape. The size of their documents and lists counts fields and items, and
# a few more for each document and each list.
_MAX_ARGUMENTS = 24
_MAX_SIZE = 160
_SIZE_OF_CONTAINER = 4
_MAX_NAME = 256  # Characters of a name.
_MAX_KEYS = 1_024  # Characters of all arguments' names.

# How many sets of arguments are remembered with their positions.
_MAX_PLANS = 1_000

_all_scalars = SCALAR_TYPES.issuperset


class TooMuchError(Exception):
    """A command whose shape is not told: it is too large, or has types of the application's."""


class Shapes:
    """Tells the shapes of commands."""

    def __init__(self) -> None:
        # The arguments that are written, with their positions, by the names of all arguments.
        self._plans: dict[tuple[str, ...], tuple[tuple[str, Position | None], ...]] = {}

    def of(self, command: Mapping[str, Any]) -> Shape | None:
        """The shape of a command, if that is quickly told.

        >>> shapes, find = Shapes(), {"find": "users", "filter": {"age": {"$gt": 30}}}
        >>> shapes.of(find) == shapes.of({"find": "users", "filter": {"age": {"$gt": 40}}})
        True
        >>> shapes.of(find) == shapes.of({"find": "users", "filter": {"age": 40}})
        False
        """
        keys = tuple(command)
        parts: list[Any] = [keys]
        room = [_MAX_SIZE]
        try:
            for key, position in self._plans.get(keys) or self._plan(keys, command):
                value = command[key]
                kind = type(value)
                if position is None and kind in SCALAR_TYPES:
                    parts.append(None)
                elif position is COLLECTION and kind is str and len(value) < _MAX_NAME:
                    parts.append(value)
                elif key == "documents" and kind is list and value:
                    parts.append((len(value), _part(value[0], None, room)))
                else:
                    parts.append(_part(value, position, room))
        except TooMuchError:
            return None
        return tuple(parts)

    def _plan(
        self, keys: tuple[str, ...], command: Mapping[str, Any]
    ) -> tuple[tuple[str, Position | None], ...]:
        if len(keys) > _MAX_ARGUMENTS or sum(map(len, map(str, keys))) > _MAX_KEYS:
            raise TooMuchError
        position = arguments(command)
        fields = position.fields if position else {}
        plan = tuple((key, fields.get(key)) for key in keys if key not in LEFT_OUT)
        if len(self._plans) >= _MAX_PLANS:  # To start anew costs less than to keep an order.
            self._plans.clear()
        self._plans[keys] = plan
        return plan


def _part(value: Any, position: Position | None, room: list[int]) -> Part:
    kind = type(value)
    if kind in SCALAR_TYPES:
        return None if position is None or position.shown is None else _shown(value, position)
    if kind is dict:
        return _document(value, position, room)
    if kind is list:
        return _list(value, position, room)
    raise TooMuchError


def _take(room: list[int], size: int) -> None:
    room[0] -= _SIZE_OF_CONTAINER + size
    if room[0] < 0:
        raise TooMuchError


def _shown(value: Any, position: Position) -> str | None:
    shown = position.shown and position.shown(value, _MAX_NAME)
    if shown and len(shown) >= _MAX_NAME:  # Not all of a longer name is in what is shown.
        raise TooMuchError
    return shown


def _document(document: dict[str, Any], position: Position | None, room: list[int]) -> Part:
    _take(room, len(document))
    if position is EXPLAINED:
        position = arguments(document)
    if position is None or (
        position.others is None and position.fields.keys().isdisjoint(document)
    ):
        values = document.values()
        if _all_scalars(map(type, values)):
            return tuple(document)
        parts = [None if type(v) in SCALAR_TYPES else _part(v, None, room) for v in values]
        return (tuple(document), *parts)
    parts, fields, others = [], position.fields, position.others
    for key, value in document.items():
        inner = fields.get(key)
        if inner is None and others is not None and is_no_operator(key):
            inner = others
        parts.append(_part(value, inner, room))
    return (tuple(document), *parts)


def _list(items: list[Any], position: Position | None, room: list[int]) -> Part:
    inner, sample = position and position.items, items[:SAMPLE]
    if sample and _all_scalars(map(type, sample)):
        if inner is None or inner.shown is None:
            return True
        if not any(_shown(item, inner) for item in sample):
            return True
    _take(room, len(items))
    return (False, *[_part(item, inner, room) for item in items])
