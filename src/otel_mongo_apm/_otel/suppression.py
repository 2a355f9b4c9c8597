"""Whether instrumentation is suppressed in a context."""

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


# Determined at import, because these keys have no public names.
_KEYS = _suppressing_keys()


def is_suppressed(context: Context) -> bool:
    """Return the opposite of `is_instrumentation_enabled`, for a context that we already have.

    >>> is_suppressed(Context())
    False
    """
    return not _KEYS.isdisjoint(context) and any(map(context.get, _KEYS))
