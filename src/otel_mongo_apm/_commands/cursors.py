"""The open cursors of one client, so that a getMore knows where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanContext

MAX_CURSORS = 1_000


@dataclass(slots=True, eq=False)
class OpenCursor:
    """A cursor that has more to give.

    Args:
        id: The server's number for it.
        span_context: That of the command that opened it.
        is_tail: Whether it stays open at its end, so that a getMore without documents says nothing.
    """

    id: int
    span_context: SpanContext
    is_tail: bool


class OpenCursors:
    """Cursors by their IDs; of too many, the oldest are forgotten."""

    def __init__(self) -> None:
        # Without a lock: each use is one dictionary operation.
        self._cursors: dict[int, OpenCursor] = {}

    def __len__(self) -> int:
        return len(self._cursors)

    def of(self, get_more: Mapping[str, Any]) -> OpenCursor | None:
        """The cursor that a getMore goes on with, if it is known."""
        cursor_id = get_more["getMore"]
        return self._cursors.get(cursor_id) if isinstance(cursor_id, int) else None

    def open(self, cursor: OpenCursor) -> None:
        """Keep a cursor whose first reply was not all."""
        if len(self._cursors) >= MAX_CURSORS:
            self._cursors.pop(next(iter(list(self._cursors))), None)
        self._cursors[cursor.id] = cursor

    def close(self, cursor_ids: object) -> None:
        """Forget cursors that have no more to give, or that nobody wants any more.

        Args:
            cursor_ids: Their IDs, or whatever else the application has written in their place.
        """
        for cursor_id in cursor_ids if isinstance(cursor_ids, list | tuple) else ():
            if isinstance(cursor_id, int):
                self._cursors.pop(cursor_id, None)
