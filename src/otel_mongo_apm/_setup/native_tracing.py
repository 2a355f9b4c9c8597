"""The log message about clients whose spans PyMongo creates itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._driver.native_tracing import VARIABLE, is_traced_natively
from otel_mongo_apm._otel.shield import quietly_shielded

from .client import ours_among

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_mongo_apm._settings.settings import Settings

_logger = logging.getLogger(__name__)

_HOOKS = ("request_hook", "response_hook", "failed_hook")


@quietly_shielded
def tell_native_tracing(client: Any) -> None:
    """Log, once for each `instrument()`, that PyMongo creates the spans, and what this disables."""
    ours = ours_among(client.options.event_listeners)
    telemetry = ours[0].telemetry if ours else None
    if telemetry is None or telemetry.has_met_native_tracing or not is_traced_natively(client):
        return
    telemetry.has_met_native_tracing = True
    level = logging.INFO if telemetry.settings.on_conflict == "defer" else logging.WARNING
    _logger.log(level, "%s", " ".join(_sentences(telemetry.settings)))


def _sentences(settings: Settings) -> Iterator[str]:
    yield (
        "PyMongo's own tracing is on, so otel-mongo-apm creates no spans of commands, operations or"
        " transactions for this client. Metrics, wait spans and cluster telemetry continue."
    )
    unused = [name for name in _HOOKS if getattr(settings, name)]
    if settings.query_text != "off":
        unused.append("query_text")
    if unused:
        yield f"Without effect: {', '.join(unused)}."
    if settings.on_conflict == "replace":
        yield (
            "on_conflict='replace' cannot turn it off: remove the client's option `tracing` and"
            f" {VARIABLE}."
        )
