"""Spans as trees, and whether they are those that a case expects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import MismatchError, check_known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from .matching import Matcher

ROOTS = "spans"
EXPECTED_KEYS = {"name", "attributes", "nested"}


@dataclass(slots=True)
class Node:
    """A span and those that it is the parent of, in the order in which they started."""

    span: ReadableSpan
    nested: list[Node] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"{self.span.name} {self.nested}" if self.nested else self.span.name


def trees(spans: Iterable[ReadableSpan]) -> list[Node]:
    """Spans that have ended, as the trees they make, in the order in which they started.

    Raises:
        MismatchError: A span's parent is not among them.
    """
    nodes = {
        span.context.span_id: Node(span) for span in sorted(spans, key=lambda span: span.start_time)
    }
    roots = []
    for node in nodes.values():
        parent = node.span.parent
        if parent is None:
            roots.append(node)
        elif parent.span_id in nodes:
            nodes[parent.span_id].nested.append(node)
        else:
            raise MismatchError(node.span.name, "a parent that has ended", "none")
    return roots


def match_spans(
    expected: Sequence[Mapping[str, Any]],
    roots: Sequence[Node],
    matcher: Matcher,
    *,
    ignore_extra: bool = False,
) -> None:
    """Compare trees of spans with those that a case expects.

    Args:
        expected: The spans of `expectTracingMessages`.
        roots: What there is.
        matcher: Compares the attributes; there may be some that are not expected.
        ignore_extra: Whether there may be other roots before, between and after the expected
            ones. There must be no others among those that are nested.

    Raises:
        MismatchError: They do not match.
        UnsupportedError: There is something that is not known.
    """
    if ignore_extra:
        roots = list(_wanted([each["name"] for each in expected], roots))
    _match_nodes(expected, roots, matcher, ROOTS)


def _wanted(names: Iterable[str], roots: Sequence[Node]) -> Iterable[Node]:
    """The next root of each name."""
    rest = iter(roots)
    for name in names:
        for node in rest:
            if node.span.name == name:
                yield node
                break
        else:
            raise MismatchError(ROOTS, name, list(roots))


def _match_nodes(
    expected: Sequence[Mapping[str, Any]], nodes: Sequence[Node], matcher: Matcher, where: str
) -> None:
    if [each["name"] for each in expected] != [node.span.name for node in nodes]:
        raise MismatchError(where, [each["name"] for each in expected], list(nodes))
    for number, (each, node) in enumerate(zip(expected, nodes, strict=True)):
        check_known(each, EXPECTED_KEYS, "key of a span")
        path = f"{where}[{number}]"
        attributes = dict(node.span.attributes or {})
        matcher.match(each.get("attributes", {}), attributes, f"{path}.attributes", root=True)
        _match_nodes(each.get("nested", ()), node.nested, matcher, f"{path}.nested")
