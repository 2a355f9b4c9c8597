"""The `comment` of a command, with the trace context in it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.context import Context

_COMMENT = "comment"
_TEXT = "text"
_TRACEPARENT = "traceparent"

# Commands that MongoDB's manual documents with a `comment`. This is an allow-list, because a server
# rejects unknown fields.
COMMENTED_COMMANDS = frozenset(
    {
        "abortTransaction",
        "aggregate",
        "bulkWrite",
        "collMod",
        "commitTransaction",
        "count",
        "create",
        "createIndexes",
        "delete",
        "distinct",
        "drop",
        "dropDatabase",
        "dropIndexes",
        "find",
        "findAndModify",
        "findandmodify",
        "getMore",
        "insert",
        "listCollections",
        "listDatabases",
        "listIndexes",
        "renameCollection",
        "update",
    }
)

_propagator = TraceContextTextMapPropagator()


class TraceComment(dict[str, Any]):
    """A comment of ours. It remembers the user's comment, so a retry can make its own.

    Args:
        original: The user's comment; None if there was none.
    """

    def __init__(self, content: Mapping[str, Any], original: Any) -> None:
        super().__init__(content)
        self.original = original


def add_trace(command: MutableMapping[str, Any], context: Context | None) -> None:
    """Add a trace context to a command's comment, unless the user has added one.

    The comment becomes a document with ``traceparent``, ``tracestate`` if there is one, and the
    user's own string as ``text``. A user's document is copied, not modified. Comments of other
    types are not changed.

    Args:
        command: The command that will be encoded.
        context: The context of the span to name. Default: the current context.

    Source: the comment document of OpenTelemetry's draft convention for MongoDB.

    >>> add_trace(command := {"find": "users", "comment": "by age"}, None)
    >>> command
    {'find': 'users', 'comment': 'by age'}
    """
    comment = command.get(_COMMENT)
    if isinstance(comment, TraceComment):  # From an earlier attempt.
        comment = comment.original
    carrier: dict[str, Any] = {}
    _propagator.inject(carrier, context)
    document = _with_text(comment)
    if not carrier or document is None or _TRACEPARENT in document:
        _restore(command, comment)
        return
    command[_COMMENT] = TraceComment({**document, **carrier}, comment)


def _with_text(comment: Any) -> Mapping[str, Any] | None:
    """Return a comment as a document; None if its type does not allow this."""
    if comment is None:
        return {}
    if isinstance(comment, str):
        return {_TEXT: comment}
    return comment if isinstance(comment, Mapping) else None


def _restore(command: MutableMapping[str, Any], comment: Any) -> None:
    """Remove the trace context of an earlier attempt."""
    if isinstance(command.get(_COMMENT), TraceComment):
        if comment is None:
            del command[_COMMENT]
        else:
            command[_COMMENT] = comment


def without_trace(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a command as the application wrote it.

    >>> add_trace(command := {"find": "users"}, None)
    >>> without_trace(command)
    {'find': 'users'}
    """
    comment = command.get(_COMMENT)
    if not isinstance(comment, TraceComment):
        return command
    plain = {**command, _COMMENT: comment.original}
    if comment.original is None:
        del plain[_COMMENT]
    return plain
