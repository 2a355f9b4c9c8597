"""Asks a client's server something, with the settings that the application used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.binary import UuidRepresentation
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


def database_for_explain(
    client: Any, name: str, read_preference: Mapping[str, Any] | None
) -> tuple[Any, Any]:
    """Return a database of a client that decodes replies to plain dicts, and a read preference.

    Args:
        client: The client.
        name: The database's name.
        read_preference: The ``$readPreference`` of a command.
    """
    options = client.codec_options.with_options(document_class=dict)
    if options.uuid_representation == UuidRepresentation.UNSPECIFIED:
        # The collection may have another one, but we cannot know it.
        options = options.with_options(uuid_representation=UuidRepresentation.STANDARD)
    return client.get_database(name, codec_options=options), _read_preference(read_preference)


def _read_preference(document: Mapping[str, Any] | None) -> Any:
    mode = _MODES.get((document or {}).get("mode", ""))
    if document is None or mode is None:
        return Primary()
    tags = document.get("tags")
    return mode(tag_sets=[dict(each) for each in tags] if tags else None)
