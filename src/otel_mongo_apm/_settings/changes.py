"""Which settings can still change for a client that already exists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

# The other settings decide which listeners a client has and how they are built.
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
    """Return the old settings, with the new values of those that can change."""
    return replace(old, **{name: getattr(new, name) for name in CHANGEABLE})
