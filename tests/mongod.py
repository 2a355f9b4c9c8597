"""Where there is no mongod to start."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from installed_mongod import MongoDBUnavailableError, mongod_path

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip where there is no mongod; in CI that is a failure."""
    try:
        yield
    except MongoDBUnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def need_mongod() -> None:
    """Skip where there is none to start."""
    with or_skip():
        mongod_path()
