"""A connection that PyMongo provides for a call, and how that call ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class GivenConnection:
    """Provides a connection, and reports how the call ended that used it.

    Args:
        given: PyMongo's own context manager.
        ended: Called at the end with the exception, if there was one; must not raise.
    """

    def __init__(self, given: Any, ended: Callable[[BaseException | None], object]) -> None:
        self._given = given
        self._ended = ended

    def __enter__(self) -> Any:
        try:
            return self._given.__enter__()
        except BaseException as error:
            self._ended(error)
            raise

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Any:
        try:
            return self._given.__exit__(cls, error, tb)
        finally:
            self._ended(error)

    async def __aenter__(self) -> Any:
        try:
            return await self._given.__aenter__()
        except BaseException as error:
            self._ended(error)
            raise

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Any:
        try:
            return await self._given.__aexit__(cls, error, tb)
        finally:
            self._ended(error)
