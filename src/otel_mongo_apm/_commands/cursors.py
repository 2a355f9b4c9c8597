"""The open cursors of one client, so that a getMore can be linked to the command that opened it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanContext

MAX_CURSORS = 1_000


@dataclass(slots=True, eq=False)
class OpenCursor:
    """A cursor that has more results.

    Args:
        id: The server's ID of the cursor.
        span_context: The span context of the command that opened it.
        is_tail: Whether it stays open at its end, so that an empty getMore is not worth a span.
    """

    id: int
    span_context: SpanContext
    is_tail: bool


class OpenCursors:
    """Cursors by their IDs; if there are too many, the oldest are forgotten."""

    def __init__(self) -> None:
        # Without a lock, because each use is one dictionary operation.
        self._cursors: dict[int, OpenCursor] = {}

    def __len__(self) -> int:
        return len(self._cursors)

    def of(self, get_more: Mapping[str, Any]) -> OpenCursor | None:
        """Return the cursor that a getMore continues, if it is known."""
        cursor_id = get_more["getMore"]
        return self._cursors.get(cursor_id) if isinstance(cursor_id, int) else None

    def open(self, cursor: OpenCursor) -> None:
        """Keep a cursor that has more results after its first reply."""
        if len(self._cursors) >= MAX_CURSORS:
            self._cursors.pop(next(iter(list(self._cursors))), None)
        self._cursors[cursor.id] = cursor

    def close(self, cursor_ids: object) -> None:
        """Forget cursors that are exhausted or killed.

        Args:
            cursor_ids: Their IDs, or values of other types that the application has passed.
        """
        for cursor_id in cursor_ids if isinstance(cursor_ids, list | tuple) else ():
            if isinstance(cursor_id, int):
                self._cursors.pop(cursor_id, None)
