"""What the package's docstrings show is so."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import otel_mongo_apm

MODULES = [
    path.stem
    for path in sorted(Path(otel_mongo_apm.__file__).parent.glob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    """Every example in a docstring is as it would be typed, and answers as it says."""
    module = import_module(f"otel_mongo_apm.{module}")
    failed, attempted = doctest.testmod(module, optionflags=doctest.ELLIPSIS)

    assert (failed, attempted > 0) == (0, True)
