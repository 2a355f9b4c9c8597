"""Log lines that have the ID of the trace they belong to."""

from __future__ import annotations

import re

TRACE = re.compile(r"trace_id=(\w{32}) span_id=(\w{16}).*? - (.*)")


def test_log_correlation(recipe, received):
    """A line in a request has its trace; the span is the request's, not the command's."""
    printed = recipe("logs", "Trace IDs in log lines").run()
    [line] = [found for found in TRACE.findall(printed) if found[2] == "There are 0 orders"]
    [command] = received.named("aggregate orders")

    assert line[:2] == (command.trace_id, command.parent_id)


def test_own_log_of_pymongo(recipe, received):
    """Lines of PyMongo's about a command have its trace, and show the query's values."""
    printed = recipe("logs", "PyMongo's own log").run()
    lines = [found for found in TRACE.findall(printed) if "aggregate" in found[2]]
    [command] = received.named("aggregate orders")

    assert {line[0] for line in lines} == {command.trace_id}
    assert "Ada" in printed
    assert "Ada" not in command.attributes["db.query.text"]
