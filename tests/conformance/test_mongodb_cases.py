"""MongoDB's own cases of its drivers' OpenTelemetry specification.

They are not part of this project: `$MONGODB_OTEL_SPEC_TESTS` is the folder they are in.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from client_kinds import of_each_kind
from unified_format.cases import Case, Server, read_cases, reason_to_skip
from unified_format.runner import check_rules

FOLDER = os.environ.get("MONGODB_OTEL_SPEC_TESTS")
CASES = read_cases(FOLDER) if FOLDER else []
# That many there were on the day of the first of them; the specification only grows.
FILES, EXPECTED = 18, 21


# In CI that is a failure.
pytestmark = pytest.mark.skipif(
    not FOLDER and not os.environ.get("CI"),
    reason="$MONGODB_OTEL_SPEC_TESTS is not set: it is the folder of MongoDB's cases",
)


@pytest.fixture
def settings():
    """The convention alone: neither cluster spans nor, however slow a server is, those of waits."""
    return {"span_convention": "mongodb", "events": "none", "wait_span_threshold": 3600}


def test_all_cases_are_found():
    """Each file has a case, and there are no fewer than there were."""
    assert FOLDER, "$MONGODB_OTEL_SPEC_TESTS is not set"
    files = [*Path(FOLDER).rglob("*.json")]

    assert len(files) >= FILES
    assert len(CASES) >= EXPECTED
    assert len({id(case.file) for case in CASES}) == len(files)
    assert len({case.name for case in CASES}) == len(CASES)


@of_each_kind
@pytest.mark.parametrize("case", CASES or [None], ids=lambda case: case.name if case else "none")
def test_case(case: Case, runner, control, telemetry):
    """The spans are those that the case expects."""
    assert case, "There are no cases"
    if reason := reason_to_skip(case, Server.of(control)):
        pytest.skip(reason)

    runner.run(case)

    check_rules(telemetry.spans)
