"""Asks a client's server something, with the settings that the application used."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.read_preferences import (
    Nearest,
    Primary,
    PrimaryPreferred,
    Secondary,
    SecondaryPreferred,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODES = {
    "nearest": Nearest,
    "primaryPreferred": PrimaryPreferred,
    "secondary": Secondary,
    "secondaryPreferred": SecondaryPreferred,
}


# A reply quotes the query, whose values Python may not have: dates after 9999, invalid UTF-8.
_REPLY_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)


def encoded(client: Any, command: Mapping[str, Any]) -> RawBSONDocument | None:
    """Encode a command with a client's codec options; None if that is not possible.

    Args:
        client: The client.
        command: The command, which is not kept.
    """
    options = client.codec_options
    if options.uuid_representation == UuidRepresentation.UNSPECIFIED:
        # The collection may have another one, but we cannot know it.
        options = options.with_options(uuid_representation=UuidRepresentation.STANDARD)
    try:
        return RawBSONDocument(bson.encode(command, codec_options=options))
    except (
        BSONError,
        ValueError,
        TypeError,
        OverflowError,
    ):  # The collection may have its own types, too.
        return None


def run_command(
    client: Any, database: str, command: Mapping[str, Any], read_preference: Any
) -> Any:
    """Run a command with a client; return its reply, or a coroutine of an asynchronous client.

    Args:
        client: The client.
        database: The database's name.
        command: The command.
        read_preference: The ``$readPreference`` of the application's command.
    """
    return client.get_database(database).command(
        command, read_preference=_read_preference(read_preference), codec_options=_REPLY_OPTIONS
    )


def is_asynchronous(client: Any) -> bool:
    """Whether a client's methods are coroutines."""
    return inspect.iscoroutinefunction(type(client).close)


def _read_preference(document: Mapping[str, Any] | None) -> Any:
    mode = _MODES.get((document or {}).get("mode", ""))
    if document is None or mode is None:
        return Primary()
    tags = document.get("tags")
    return mode(tag_sets=[dict(each) for each in tags] if tags else None)
