"""What is called from PyMongo, and not shielded by it, must not raise into it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")


def shielded(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Wrap a function so that what it raises is logged."""

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            _logger.exception("%r failed.", function)

    return call
