"""How a piece of work ended, for callers that report errors instead of raising them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Outcome:
    """Catches and keeps the exception of a block of code.

    >>> with Outcome() as outcome:
    ...     int("one")
    >>> type(outcome.error)
    <class 'ValueError'>
    """

    error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
        return self.error is not None
