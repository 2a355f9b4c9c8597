"""Operations of the convention `mongodb` whose server does what a real one seldom does."""

from __future__ import annotations

import pymongo
import pytest
from opentelemetry.trace import StatusCode
from scripted_server import refused

from otel_mongo_apm import MongoInstrumentor


@pytest.fixture
def client(telemetry, server):
    MongoInstrumentor().instrument(
        span_convention="mongodb", wait_span_threshold=60.0, events="none", **telemetry.providers
    )
    with pymongo.MongoClient(server.uri) as client:
        yield client


@pytest.mark.parametrize("script", [refused(251, "NoSuchTransaction"), None])
def test_an_abort_that_fails(client, server, telemetry, script):
    """A transaction whose abort fails, which PyMongo ignores, is aborted and no ERROR."""
    server.on("abortTransaction", script)
    with client.start_session() as session:
        session.start_transaction()
        client.shop.users.insert_one({}, session=session)
        session.abort_transaction()

    (abort,) = telemetry.named("abortTransaction admin")
    (transaction,) = telemetry.named("transaction")
    assert abort.status.status_code is StatusCode.ERROR
    assert transaction.status.status_code is StatusCode.UNSET


def test_a_commit_that_fails(client, server, telemetry):
    """One whose commit fails is an ERROR."""
    server.on("commitTransaction", refused(251, "NoSuchTransaction"))
    with client.start_session() as session:
        session.start_transaction()
        client.shop.users.insert_one({}, session=session)
        with pytest.raises(pymongo.errors.OperationFailure):
            session.commit_transaction()

    (transaction,) = telemetry.named("transaction")
    assert transaction.status.status_code is StatusCode.ERROR
