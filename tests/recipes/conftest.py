"""Recipes run with what `make test-recipes` installs, in a virtual environment of their own."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import local_mongodb
import pytest
from mongod import or_skip
from otlp_receiver import Received, otlp_receiver
from pymongo import MongoClient
from recipe import Recipe, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The group `recipes` alone has it.
collect_ignore_glob = [] if find_spec("django_mongodb_backend") else ["test_*.py"]


@pytest.fixture(scope="session")
def uri() -> Iterator[str]:
    """A server of this session's own, for the database `shop` is emptied."""
    with or_skip(), local_mongodb.standalone() as mongod:
        yield mongod.uri


@pytest.fixture
def received() -> Iterator[Received]:
    with otlp_receiver() as received:
        yield received


@pytest.fixture
def recipe(tmp_path: Path, uri: str, received: Received) -> Callable[[str, str], Recipe]:
    """Take a section of a page; its telemetry goes to `received`."""

    with MongoClient(uri) as client:
        client.drop_database("shop")

    def recipe(page: str, heading: str) -> Recipe:
        return Recipe(page, heading, tmp_path, environment(uri, received.endpoint, tmp_path))

    return recipe
