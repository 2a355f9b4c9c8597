"""Which functions of PyMongo are wrapped because they publish no event, and for how long."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from otel_mongo_apm._commands.propagation import wrap_connections
from otel_mongo_apm._operations.calls import wrap_calls
from otel_mongo_apm._operations.transactions import wrap_transactions
from otel_mongo_apm._waits.failed_calls import wrap_failed_calls
from otel_mongo_apm._waits.lookups import wrap_lookups
from otel_mongo_apm._waits.selection import wrap_server_selection

from .closing import wrap_close
from .construction import wrap_constructors

if TYPE_CHECKING:
    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._settings.telemetry import Telemetry


def wrap(*, traces_operations: bool, propagates_comments: bool) -> list[Undo]:
    """Wrap the functions that publish no event; return what undoes this."""
    undos = [wrap_constructors(), wrap_server_selection(), wrap_lookups(), wrap_failed_calls()]
    undos.append(wrap_close())
    if traces_operations:
        undos += [wrap_transactions(), wrap_calls()]
    if propagates_comments:
        undos.append(wrap_connections())
    return undos[::-1]  # Two of them wrap the same methods, one around the other.


def wrap_for(telemetry: Telemetry) -> list[Undo]:
    """Wrap what the settings require; return what undoes this."""
    return wrap(
        traces_operations=telemetry.traces_operations,
        propagates_comments=telemetry.propagates_comments,
    )


def keep_wrapped(telemetry: Telemetry) -> None:
    """Wrap it permanently, because nothing reports when the last client is gone."""
    _keep_wrapped(telemetry.traces_operations, telemetry.propagates_comments)


@functools.cache
def _keep_wrapped(traces_operations: bool, propagates_comments: bool) -> None:  # noqa: FBT001 - The cache's key.
    wrap(traces_operations=traces_operations, propagates_comments=propagates_comments)
