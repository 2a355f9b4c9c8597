"""What of the settings can change for a client that is there already."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

# The others decide which listeners a client has, and what those are made of.
CHANGEABLE = (
    "request_hook",
    "response_hook",
    "failed_hook",
    "query_text",
    "query_text_max_length",
    "query_text_keys",
    "error_messages",
    "exclude_commands",
    "exclude_databases",
    "exclude_collections",
    "require_parent",
    "wait_span_threshold",
)


def changed(old: Settings, new: Settings) -> Settings:
    """The old settings with what can change of the new ones."""
    return replace(old, **{name: getattr(new, name) for name in CHANGEABLE})
