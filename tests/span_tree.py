"""Spans as a tree of their names, for tests that say what is inside of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.trace import ReadableSpan


def tree(spans: Iterable[ReadableSpan]) -> list[Any]:
    """The roots, in the order in which they began; each as its name or `{name: [inside]}`."""
    in_order = sorted(spans, key=lambda span: span.start_time or 0)
    known = {span.context.span_id for span in in_order}
    inside: dict[int | None, list[ReadableSpan]] = {}
    for span in in_order:
        parent = span.parent.span_id if span.parent and span.parent.span_id in known else None
        inside.setdefault(parent, []).append(span)
    return _shown(inside, None)


def _shown(inside: dict[int | None, list[ReadableSpan]], parent: int | None) -> list[Any]:
    return [
        {span.name: _shown(inside, span.context.span_id)}
        if span.context.span_id in inside
        else span.name
        for span in inside.get(parent, [])
    ]


def parent(child: ReadableSpan, spans: Iterable[ReadableSpan]) -> ReadableSpan | None:
    """What a span is inside of."""
    span_id = child.parent and child.parent.span_id
    return next((span for span in spans if span.context.span_id == span_id), None)
