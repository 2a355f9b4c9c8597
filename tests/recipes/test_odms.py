"""ODMs and ORMs: their calls, as commands."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("heading", "commands", "printed"),
    [
        ("Beanie", {"insert orders", "find orders"}, "total=120"),
        ("MongoEngine", {"insert orders", "find orders"}, "[120"),
        ("ODMantic", {"update orders", "aggregate orders"}, "total=120"),
    ],
)
def test_odm(recipe, received, heading, commands, printed):
    """What an ODM writes and finds has a span for each command, and works as before."""
    said = recipe("odms", heading).run()
    spans = {span.name: span for span in received.spans}

    assert printed in said
    assert commands <= spans.keys()
    assert {spans[name].attributes["db.namespace"] for name in commands} == {"shop"}


def test_django_mongodb_backend(recipe, received):
    """A QuerySet is an aggregation inside of the request's span."""
    site = recipe("odms", "django-mongodb-backend")
    with site.served("/orders"):
        [aggregate, *_] = received.wait_for("aggregate orders")
        request = received.parent(aggregate)

    assert request.name == "GET orders"
    assert '"total":{"$gt":"?"}' in aggregate.attributes["db.query.text"]
