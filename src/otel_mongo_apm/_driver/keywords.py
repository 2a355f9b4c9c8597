"""How PyMongo stores, shows and reuses the keyword ``event_listeners`` of a client."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from .clients import topology_of
from .private_names import warn_of_loss

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

KEYWORD = "event_listeners"


def keyword_among(keywords: Mapping[str, Any]) -> str:
    """Return the keyword as the user has written it; PyMongo ignores its case.

    >>> keyword_among({"tz_aware": True, "Event_Listeners": []})
    'Event_Listeners'
    """
    return next((name for name in keywords if name.lower() == KEYWORD), KEYWORD)


class WithOurs(list[Any]):
    """A client's listeners including ours; its `repr` shows only those of the user.

    Args:
        listeners: All listeners.
        given: The listeners of the user, if any.
    """

    def __init__(self, listeners: Iterable[Any], given: Sequence[Any] | None) -> None:
        super().__init__(listeners)
        self.given = given

    def __repr__(self) -> str:
        return repr(self.given or [])


def hide_ours(client: Any) -> None:
    """Make the `repr` of a client show only the listeners of the user, if any."""
    options = getattr(client.options, "_options", None)
    if not isinstance(options, MutableMapping):
        warn_of_loss("ClientOptions._options", "the repr() of clients shows our listeners")
        return
    listeners = options.get(KEYWORD)
    if isinstance(listeners, WithOurs):
        if listeners.given is None:
            del options[KEYWORD]
        else:
            options[KEYWORD] = listeners.given


def change_keyword(client: Any, old: Collection[object], new: Iterable[object]) -> bool:
    """Replace the listeners that a client will have after its SRV record is looked up.

    PyMongo then reads the keywords again and creates new options from them. Return False, with a
    warning, if they cannot be changed.
    """
    if topology_of(client) is not None:
        return True
    look_up = vars(client).get("_resolve_srv_info")
    if look_up is None and "_topology" not in vars(client):
        return True  # Without `_topology`, a pending lookup is unknown; a warning has said so.
    keywords = look_up.get("keyword_opts") if isinstance(look_up, Mapping) else None
    if not isinstance(keywords, MutableMapping):
        warn_of_loss(
            "client._resolve_srv_info",
            "clients cannot be instrumented before their SRV record is looked up",
        )
        return False
    now = keywords.get(KEYWORD)
    kept = [each for each in now or () if each not in old]
    given = now.given if isinstance(now, WithOurs) else now
    keywords[KEYWORD] = WithOurs([*kept, *new], given)
    return True
