"""How a piece of work ended, for those who report rather than raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Outcome:
    """Keeps the exception of a block of code, which then does not leave the block.

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
