"""Settings from environment variables; invalid values are ignored with one warning."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from .kinds import LENGTH, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_logger = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "OTEL_PYTHON_MONGO_APM_"


# The variable of MongoDB's drivers, read with their convention: 0 for no text, or its length.
DRIVERS_QUERY_TEXT_VARIABLE = "OTEL_PYTHON_INSTRUMENTATION_MONGODB_QUERY_TEXT_MAX_LENGTH"


def as_drivers_do() -> dict[str, Any]:
    """Read MongoDB's own variable for the query text: raw text if it is a length, or else none."""
    text = os.environ.get(DRIVERS_QUERY_TEXT_VARIABLE, "").strip() or "0"
    try:
        length = int(text) if text.isdecimal() else None
    except ValueError:  # The number has too many digits.
        length = None
    if length is None:
        warn_once(
            f"Ignoring {DRIVERS_QUERY_TEXT_VARIABLE}={text!r}. Accepted: {LENGTH.accepted}, or 0."
        )
    if not length:
        return {"query_text": "off"}
    return {"query_text": "raw", "query_text_max_length": length}


def variable(name: str) -> str:
    """The variable of a setting.

    >>> variable("query_text")
    'OTEL_PYTHON_MONGO_APM_QUERY_TEXT'
    """
    return ENVIRONMENT_PREFIX + name.upper()


def from_environment(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the valid settings in environment variables, by keyword; warn once of invalid ones.

    Args:
        kinds: What each keyword accepts.
    """
    return dict(_parsed_variables(kinds))


def _parsed_variables(kinds: Mapping[str, Kind]) -> Iterable[tuple[str, Any]]:
    for name, kind in kinds.items():
        text = os.environ.get(variable(name), "").strip()
        if not text or kind.parse is None:
            continue
        try:
            yield name, kind.parse(text)
        except (LookupError, TypeError, ValueError):
            warn_once(f"Ignoring {variable(name)}={text!r}. Accepted: {kind.accepted}.")


_warnings_given: set[str] = set()


def warn_once(message: str) -> None:
    """Log a warning, but each text only once per process."""
    if message not in _warnings_given:
        _warnings_given.add(message)
        _logger.warning(message)
