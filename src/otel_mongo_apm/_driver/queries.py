"""What it takes to ask a client's server something, as the application asked it before."""

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
    """A database of a client, whose replies are plain documents, and a read preference.

    Args:
        client: The client.
        name: The database's name.
        read_preference: As a command has it in ``$readPreference``.
    """
    options = client.codec_options.with_options(document_class=dict)
    if options.uuid_representation == UuidRepresentation.UNSPECIFIED:
        # The collection may have been given another, which nobody tells.
        options = options.with_options(uuid_representation=UuidRepresentation.STANDARD)
    return client.get_database(name, codec_options=options), _read_preference(read_preference)


def _read_preference(document: Mapping[str, Any] | None) -> Any:
    mode = _MODES.get((document or {}).get("mode", ""))
    if document is None or mode is None:
        return Primary()
    tags = document.get("tags")
    return mode(tag_sets=[dict(each) for each in tags] if tags else None)
