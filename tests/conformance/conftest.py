"""A client that nothing observes, and the runner of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from unified_format.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def control(mongodb_uri: str) -> Iterator[pymongo.MongoClient[Any]]:
    """A client that is there before anything is instrumented."""
    with pymongo.MongoClient(mongodb_uri) as client:
        yield client


@pytest.fixture
def runner(kind, mongodb_uri, control, telemetry, settings) -> Runner:
    """Runs cases with a kind of client that is instrumented in the test's way."""
    return Runner(kind, mongodb_uri, control, telemetry, settings)
