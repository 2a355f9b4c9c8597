"""Others who listen to PyMongo: nobody is in anybody's way."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import textwrap

import pymongo
import pytest
from in_memory import InMemoryTelemetry
from pymongo import monitoring
from pymongo.client_options import ClientOptions

from otel_mongo_apm import MongoInstrumentor

contrib = pytest.importorskip("opentelemetry.instrumentation.pymongo")
sentry_sdk = pytest.importorskip("sentry_sdk")
sentry = pytest.importorskip("sentry_sdk.integrations.pymongo")


@pytest.fixture(autouse=True)
def other(monkeypatch):
    """opentelemetry-instrumentation-pymongo, which leaves nothing behind."""
    nobody = monitoring._Listeners(*([] for _ in monitoring._LISTENERS))
    monkeypatch.setattr(monitoring, "_LISTENERS", nobody)
    monkeypatch.setattr(contrib.PymongoInstrumentor, "_instance", None)
    instrumentor = contrib.PymongoInstrumentor()
    monkeypatch.setattr(instrumentor, "_commandtracer_instance", None, raising=False)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def ours_first(telemetry, other, **settings):
    MongoInstrumentor().instrument(**telemetry.providers, **settings)
    other.instrument(tracer_provider=telemetry.tracer_provider)


def ours_last(telemetry, other, **settings):
    other.instrument(tracer_provider=telemetry.tracer_provider)
    MongoInstrumentor().instrument(**telemetry.providers, **settings)


in_any_order = pytest.mark.parametrize("instrument", [ours_first, ours_last])


def scopes(telemetry, mongodb_uri):
    """Whose spans a command has, and how often it was measured."""
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.find_one()
    finds = [span for span in telemetry.spans if "find" in span.name]
    measured = [
        point.data.count
        for point in telemetry.points("db.client.operation.duration")
        if point.attributes["db.operation.name"] == "find"
    ]
    return sorted(span.instrumentation_scope.name for span in finds), measured


@in_any_order
def test_warn(telemetry, other, mongodb_uri, instrument, caplog):
    """That every command has two spans is said once, with what to do about it."""
    instrument(telemetry, other)

    assert scopes(telemetry, mongodb_uri) == (
        ["opentelemetry.instrumentation.pymongo", "otel_mongo_apm"],
        [1],
    )
    scopes(telemetry, mongodb_uri)
    (warning,) = (r for r in caplog.records if r.name == "otel_mongo_apm._setup.conflicts")
    assert warning.levelno == logging.WARNING
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo" in warning.message


@in_any_order
def test_replace(telemetry, other, mongodb_uri, instrument):
    """With `replace` the other one is uninstrumented."""
    instrument(telemetry, other, on_conflict="replace")

    assert scopes(telemetry, mongodb_uri) == (["otel_mongo_apm"], [1])
    assert not other.is_instrumented_by_opentelemetry


@in_any_order
def test_defer(telemetry, other, mongodb_uri, instrument):
    """With `defer` the other one has the spans to itself; metrics stay ours."""
    instrument(telemetry, other, on_conflict="defer")

    assert scopes(telemetry, mongodb_uri) == (["opentelemetry.instrumentation.pymongo"], [1])
    assert {span.instrumentation_scope.name for span in telemetry.spans} == {
        "opentelemetry.instrumentation.pymongo"
    }


def test_nobody_else(telemetry, other, mongodb_uri, caplog):
    """Where the other one is installed and not active, nothing is said."""
    MongoInstrumentor().instrument(**telemetry.providers)

    assert scopes(telemetry, mongodb_uri) == (["otel_mongo_apm"], [1])
    assert [r for r in caplog.records if r.name == "otel_mongo_apm._setup.conflicts"] == []


@pytest.mark.parametrize(("on_conflict", "warnings"), [("warn", 1), ("replace", 0), ("defer", 0)])
def test_automatic(mongodb_uri, on_conflict, warnings):
    """Under `opentelemetry-instrument` it is decided once all is loaded, in whichever order."""
    program = (
        "import os, pymongo; client = pymongo.MongoClient(os.environ['URI']);"
        "client.shop.users.find_one(); client.close()"
    )
    process = subprocess.run(
        ["opentelemetry-instrument", sys.executable, "-c", program],
        env={
            "PATH": f"{sys.prefix}/bin",
            "URI": mongodb_uri,
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_PYTHON_MONGO_APM_ON_CONFLICT": on_conflict,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    theirs = process.stdout.count('"name": "shop.find"')
    ours = process.stdout.count('"name": "find users"')
    assert (theirs, ours) == {"warn": (1, 1), "replace": (0, 1), "defer": (1, 0)}[on_conflict]
    told = process.stderr.count("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo")
    assert told == warnings, process.stderr


def test_their_documented_example(mongodb_uri, monkeypatch):
    """What contrib documents works with another import: hooks, and `capture_statement`."""
    (example,) = re.findall(r"for example:\n\n.*?::? python\n\n(.*)", contrib.__doc__, re.DOTALL)
    program = textwrap.dedent(example).replace(
        "from opentelemetry.instrumentation.pymongo import PymongoInstrumentor",
        "from otel_mongo_apm import MongoInstrumentor as PymongoInstrumentor",
    )
    calls = []
    program = program.replace("pass", "calls.append((span, event))").replace(
        "MongoClient()", "MongoClient(mongodb_uri)"
    )
    telemetry = InMemoryTelemetry()
    program = program.replace(".instrument(", ".instrument(**providers, capture_statement=True, ")
    names = {"calls": calls, "mongodb_uri": mongodb_uri, "providers": telemetry.providers}
    exec(program, names)
    names["client"].close()

    (span,) = (s for s in telemetry.commands if s.name == "find MongoDB_Collection")
    assert '"find":"MongoDB_Collection"' in span.attributes["db.query.text"]
    assert '"limit":1' in span.attributes["db.query.text"]
    assert [type(event).__name__ for _, event in calls][:2] == [
        "CommandStartedEvent",
        "CommandSucceededEvent",
    ]


def test_sentry(telemetry, mongodb_uri):
    """Sentry's listener hears what it would hear without us, and so do we."""
    transactions = []
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:1/1",
        integrations=[sentry.PyMongoIntegration()],
        default_integrations=False,
        traces_sample_rate=1.0,
        before_send_transaction=lambda event, _: transactions.append(event),
    )
    try:
        MongoInstrumentor().instrument(**telemetry.providers)
        with (
            sentry_sdk.start_transaction(name="request"),
            pymongo.MongoClient(mongodb_uri) as client,
        ):
            client.shop.users.find_one()
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.init()

    (transaction,) = transactions
    assert any("find" in span["description"] for span in transaction["spans"])
    assert len(telemetry.named("find users")) == 1


@pytest.mark.parametrize("convention", ["semconv", "mongodb"])
def test_native_tracing(telemetry, mongodb_uri, monkeypatch, convention):
    """A client that makes spans by itself has none of ours but the cluster's, and all else."""
    monkeypatch.setattr(ClientOptions, "tracing", {"enabled": True}, raising=False)
    MongoInstrumentor().instrument(span_convention=convention, **telemetry.providers)
    with pymongo.MongoClient(mongodb_uri) as client:
        client.shop.users.find_one()
        with client.start_session() as session, session.start_transaction():
            client.shop.users.find_one(session=session)

        spans = {span.name for span in telemetry.spans}
        assert spans - {"select server", "check out connection"} == {"mongodb.topology.discovery"}
        metrics = telemetry.metrics()
        assert metrics["db.client.operation.duration"]
        assert metrics["db.client.connection.count"]
        assert metrics["mongodb.client.server.status"]
