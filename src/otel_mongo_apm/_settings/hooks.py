"""The types of hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

    RequestHook = Callable[[Span, CommandStartedEvent], None]
    ResponseHook = Callable[[Span, CommandSucceededEvent], None]
    FailedHook = Callable[[Span, CommandFailedEvent], None]
else:
    # PyMongo is an extra and may be missing, but the names of these types are public.
    RequestHook = ResponseHook = FailedHook = Callable[[Any, Any], None]
