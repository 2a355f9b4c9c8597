"""Others that trace PyMongo and are installed, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .installed import installed_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What each does with PyMongo, and how to tell it not to.
OTHERS: Mapping[str, str] = {
    "ddtrace": "traces commands for Datadog, unless DD_TRACE_PYMONGO_ENABLED=false",
    "elastic-apm": "traces commands for Elastic, where its agent is started",
    "newrelic": "traces commands for New Relic, where its agent is started",
    "sentry-sdk": "traces commands for Sentry, unless its PyMongoIntegration is disabled",
}


def others() -> Iterator[str]:
    """Yield each that is installed, with its version and what it does."""
    for name, does in OTHERS.items():
        if version := installed_version(name):
            yield f"{name} {version} {does}"
