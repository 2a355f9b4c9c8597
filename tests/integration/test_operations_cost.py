"""What a call that fails costs with the convention `mongodb`."""

from __future__ import annotations

import time
from contextlib import suppress

import pymongo
import pytest
from opentelemetry.sdk.trace import TracerProvider
from pymongo.errors import OperationFailure

from otel_mongo_apm import event_listeners

pytestmark = [pytest.mark.usefixtures("shop"), pytest.mark.slow]

CALLS, BATCHES = 20, 100
MOST = 2.5


def seconds(users):
    """The CPU time of one batch of calls that fail."""
    began = time.thread_time()
    for _ in range(CALLS):
        with suppress(OperationFailure):
            users.find_one({"$wrong": 1})
    return time.thread_time() - began


def test_a_failure(mongodb_uri):
    """A call that fails takes at most two and a half times the CPU that it takes without us.

    The quickest batch of each counts: all others were disturbed.
    """
    # Without a processor, whose cost is not ours.
    provider = TracerProvider(shutdown_on_exit=False)
    ours = event_listeners(span_convention="mongodb", metrics=False, tracer_provider=provider)
    with (
        pymongo.MongoClient(mongodb_uri) as plain,
        pymongo.MongoClient(mongodb_uri, event_listeners=ours) as traced,
    ):
        seconds(plain.shop.users), seconds(traced.shop.users)
        without, with_us = [], []
        for _ in range(BATCHES):
            without.append(seconds(plain.shop.users))
            with_us.append(seconds(traced.shop.users))

    assert min(with_us) <= MOST * min(without)
