"""Fields of PyMongo's events, read without its properties."""

from __future__ import annotations

import datetime as dt

import pytest
from bson.objectid import ObjectId
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandStartedEvent,
    CommandSucceededEvent,
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutStartedEvent,
)

from otel_mongo_apm._driver.event_fields import fields, slot

ADDRESS = ("db.example", 27017)
TOOK = dt.timedelta(milliseconds=3)
EVENTS = [
    CommandStartedEvent({"ping": 1}, "admin", 4711, ADDRESS, 7, ObjectId(), 12),
    CommandSucceededEvent(TOOK, {"ok": 1}, "ping", 4711, ADDRESS, 7, ObjectId(), "admin", 12),
    CommandFailedEvent(TOOK, {"ok": 0}, "ping", 4711, ADDRESS, 7, ObjectId(), "admin", 12),
    ConnectionCheckOutStartedEvent(ADDRESS),
    ConnectionCheckedOutEvent(ADDRESS, 3, 0.25),
    ConnectionCheckedInEvent(ADDRESS, 3),
]


def properties(event: type) -> list[str]:
    return [name for name in dir(event) if isinstance(getattr(event, name), property)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_read(event):
    """What is read of an event is what its properties return, all of which only return a slot."""
    names = properties(type(event))

    for name in names:
        assert fields(type(event), name)(event) is getattr(event, name)
    assert None not in {slot(type(event), name) for name in names}


class Base:
    __slots__ = ("_name", "place")

    def __init__(self):
        self._name, self.place = "Alice", "Rome"

    @property
    def name(self):
        return self._name

    @property
    def called(self):
        return self._name

    @property
    def loud(self):
        return self._name.upper()

    @property
    def initial(self):
        return self._name[0]

    @property
    def by_another(self):
        return self.name


class Derived(Base):
    @property
    def name(self):
        return super().name

    @property
    def called(self):
        return super().name

    @property
    def surname(self):
        return self.unknown


class Property(property):
    """It does more than its getter."""


class Special(Base):
    name = Property(lambda self: self._name)


class Overridden(Base):
    @property
    def name(self):
        return f"{super().name}!"


@pytest.mark.parametrize(
    ("cls", "name", "expected"),
    [
        (Base, "name", "_name"),
        (Derived, "name", "_name"),
        (Derived, "called", None),
        (Overridden, "name", None),
        (Special, "name", None),
        (Base, "loud", None),
        (Base, "initial", None),
        (Base, "by_another", None),
        (Base, "place", None),
        (Base, "unknown", None),
        (Derived, "surname", None),
    ],
)
def test_properties_that_do_more(cls, name, expected):
    """A property that does anything but return a slot is called."""
    assert slot(cls, name) == expected


def test_another_property():
    """A property that returns that of another name is read as itself."""
    assert fields(Derived, "name", "called", "loud", "place")(Derived()) == (
        "Alice",
        "Alice",
        "ALICE",
        "Rome",
    )
    assert fields(Overridden, "name")(Overridden()) == "Alice!"
