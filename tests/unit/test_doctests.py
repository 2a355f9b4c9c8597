"""What the package's docstrings show is so."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import otel_mongo_apm

PACKAGE = Path(otel_mongo_apm.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    """Every example in a docstring is as it would be typed, and answers as it says."""
    module = import_module(f"otel_mongo_apm.{module}")
    failed, attempted = doctest.testmod(module, optionflags=doctest.ELLIPSIS)

    assert (failed, attempted > 0) == (0, True)
