"""PyMongo's own events, as the driver would publish them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS = ("db.example", 27017)
REQUEST_ID = 1804289383
CONNECTION_ID = 42
MILLISECOND = dt.timedelta(milliseconds=1)


def started(
    command: Mapping[str, Any],
    database: str = "shop",
    *,
    request_id: int = REQUEST_ID,
    operation_id: int | None = None,
    address: tuple[str, int | None] = ADDRESS,
) -> CommandStartedEvent:
    return CommandStartedEvent(
        command,
        database,
        request_id,
        address,
        operation_id or request_id,
        server_connection_id=CONNECTION_ID,
    )


def succeeded(
    command_name: str,
    reply: Mapping[str, Any] | None = None,
    *,
    request_id: int = REQUEST_ID,
    duration: dt.timedelta = MILLISECOND,
) -> CommandSucceededEvent:
    return CommandSucceededEvent(
        duration,
        {"ok": 1.0} if reply is None else reply,
        command_name,
        request_id,
        ADDRESS,
        request_id,
        server_connection_id=CONNECTION_ID,
        database_name="shop",
    )


def failed(
    command_name: str,
    failure: Mapping[str, Any],
    *,
    request_id: int = REQUEST_ID,
    operation_id: int | None = None,
    duration: dt.timedelta = MILLISECOND,
) -> CommandFailedEvent:
    return CommandFailedEvent(
        duration,
        failure,
        command_name,
        request_id,
        ADDRESS,
        operation_id or request_id,
        server_connection_id=CONNECTION_ID,
        database_name="shop",
    )
