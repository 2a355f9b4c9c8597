"""Who is calling, where greenlets may be."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from otel_mongo_apm._driver.callers import caller


def test_greenlets_that_come_midway(monkeypatch):
    """A thread stays who it is when somebody imports greenlet, however far that has got."""
    greenlet = pytest.importorskip("greenlet")
    monkeypatch.delitem(sys.modules, "greenlet")
    before = caller()
    monkeypatch.setitem(sys.modules, "greenlet", ModuleType("greenlet"))
    meanwhile = caller()
    monkeypatch.setitem(sys.modules, "greenlet", greenlet)

    assert before == meanwhile == caller()


def test_greenlets():
    """Greenlets of one thread are others than the thread, and than each other."""
    greenlet = pytest.importorskip("greenlet")
    greenlets = [greenlet.greenlet(lambda: {caller()}) for _ in range(3)]
    found = {caller()}.union(*(each.switch() for each in greenlets))

    assert len(found) == 4
