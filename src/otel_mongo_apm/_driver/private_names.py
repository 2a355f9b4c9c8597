"""Checks that PyMongo has the private names that we use; warns once of each that is missing."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pymongo

if TYPE_CHECKING:
    from types import ModuleType

# Documented, because users filter by it.
LOGGER = "otel_mongo_apm._compat"
_logger = logging.getLogger(LOGGER)

NO_WAITS = "waits for a server have no spans"


def packages() -> dict[str, bool]:
    """Return PyMongo's packages with clients, and whether they are asynchronous."""
    if pymongo.version_tuple < (4, 9):
        return {"pymongo": False}
    return {"pymongo.synchronous": False, "pymongo.asynchronous": True}


def class_named(module: str, name: str) -> type[Any] | None:
    """Return a class of PyMongo, if it exists."""
    return getattr(_module(module), name, None)


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


@functools.cache
def is_there(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: its package is a stub without a `__spec__`.
        return False


def takes(function: Any, *parameters: str, only: bool = False) -> bool:
    """Whether a function exists and these are its first parameters after `self`."""
    if not callable(function):
        return False
    taken = tuple(inspect.signature(function).parameters)[1:]
    return (taken if only else taken[: len(parameters)]) == parameters


@functools.cache  # To warn once.
def warn_of_loss(name: str, loss: str) -> None:
    """Warn that PyMongo lacks a private name, and what is lost without it."""
    _logger.warning("PyMongo %s lacks %s: %s.", pymongo.version, name, loss)
