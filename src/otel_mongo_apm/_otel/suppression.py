"""Whether OpenTelemetry is told to leave alone what happens in a context."""

from __future__ import annotations

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.instrumentation.utils import suppress_instrumentation


def _suppressing_keys() -> frozenset[str]:
    token = attach(Context())
    try:
        with suppress_instrumentation():
            return frozenset(get_current())
    finally:
        detach(token)


# Learnt, as they have no public names.
_KEYS = _suppressing_keys()


def is_suppressed(context: Context) -> bool:
    """The opposite of `is_instrumentation_enabled`, of a context that is at hand.

    >>> is_suppressed(Context())
    False
    """
    return not _KEYS.isdisjoint(context) and any(map(context.get, _KEYS))
