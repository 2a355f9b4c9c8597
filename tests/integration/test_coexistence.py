"""Others who listen to PyMongo: nobody is in anybody's way."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import textwrap
import warnings
from contextlib import ExitStack

import pymongo
import pytest
from in_memory import InMemoryTelemetry
from local_dns import srv_of
from pymongo import monitoring
from pymongo.client_options import ClientOptions

from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client

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


OURS, THEIRS = "otel_mongo_apm", "opentelemetry.instrumentation.pymongo"


@in_any_order
def test_nobody_chose(telemetry, other, mongodb_uri, instrument, caplog, recwarn):
    """By default each command has one span, ours; that is said once, where it is seen."""
    warnings.simplefilter("always")
    instrument(telemetry, other)
    assert scopes(telemetry, mongodb_uri) == ([OURS], [1])
    scopes(telemetry, mongodb_uri)

    (record,) = (r for r in caplog.records if r.name == "otel_mongo_apm._setup.conflicts")
    assert [str(each.message) for each in recwarn if each.category is UserWarning] == [
        record.message
    ]
    assert "replaces its listener in each client" in record.message


def finds(telemetry, client):
    """Who makes the spans of a client's finds."""
    telemetry.forget()
    client.shop.users.find_one()
    return [span.instrumentation_scope.name for span in telemetry.spans if "find" in span.name]


@pytest.mark.filterwarnings("ignore:opentelemetry-instrumentation-pymongo:UserWarning")
def test_clients_of_all_ages(telemetry, other, mongodb_uri):
    """Whenever a client was made, it has one span for each command."""
    with ExitStack() as clients:

        def made(**keywords):
            return clients.enter_context(pymongo.MongoClient(mongodb_uri, **keywords))

        other.instrument(tracer_provider=telemetry.tracer_provider)
        theirs = made()
        passed = made(event_listeners=event_listeners(**telemetry.providers))
        existing = made()
        instrument_client(existing, **telemetry.providers)
        MongoInstrumentor().instrument(**telemetry.providers)
        ours = made()

        assert finds(telemetry, theirs) == [THEIRS]
        for client in (passed, existing, ours):
            assert finds(telemetry, client) == [OURS]
        MongoInstrumentor().uninstrument()
        assert finds(telemetry, made()) == finds(telemetry, theirs) == [THEIRS]


@pytest.mark.filterwarnings("ignore:opentelemetry-instrumentation-pymongo:UserWarning")
def test_instrumented_once_more(telemetry, other, mongodb_uri):
    """However often the other one comes back, our clients have one span for each command."""
    MongoInstrumentor().instrument(**telemetry.providers)
    for _ in range(2):
        other.instrument(tracer_provider=telemetry.tracer_provider)
        assert scopes(telemetry, mongodb_uri)[0] == [OURS]
        telemetry.forget()
        other.uninstrument()


@pytest.mark.skipif(pymongo.version_tuple < (4, 12), reason="it looks the name up at once")
@pytest.mark.filterwarnings("ignore:opentelemetry-instrumentation-pymongo:UserWarning")
def test_before_the_name_is_looked_up(telemetry, other, mongodb_uri):
    """A client whose SRV record is looked up later has one span for each command, too."""
    (_, port), *_ = pymongo.uri_parser.parse_uri(mongodb_uri)["nodelist"]
    other.instrument(tracer_provider=telemetry.tracer_provider)
    MongoInstrumentor().instrument(**telemetry.providers)
    with srv_of(port) as uri, pymongo.MongoClient(uri, connect=False) as client:
        assert finds(telemetry, client) == [OURS]


def test_without_command_spans(telemetry, other, mongodb_uri, caplog):
    """Where ours makes no spans of commands there is no conflict."""
    other.instrument(tracer_provider=telemetry.tracer_provider)
    MongoInstrumentor().instrument(**telemetry.providers, command_spans=False)

    assert scopes(telemetry, mongodb_uri) == ([THEIRS], [1])
    assert [r for r in caplog.records if r.name == "otel_mongo_apm._setup.conflicts"] == []


def test_warnings_that_are_errors(telemetry, other):
    """Where warnings are errors, this one raises nothing."""
    other.instrument(tracer_provider=telemetry.tracer_provider)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MongoInstrumentor().instrument(**telemetry.providers)


@in_any_order
@pytest.mark.filterwarnings("ignore:opentelemetry-instrumentation-pymongo:UserWarning")
def test_warn(telemetry, other, mongodb_uri, instrument, caplog):
    """With `warn` that every command has two spans is said once, with what to do about it."""
    instrument(telemetry, other, on_conflict="warn")

    assert scopes(telemetry, mongodb_uri) == ([THEIRS, OURS], [1])
    scopes(telemetry, mongodb_uri)
    (warning,) = (r for r in caplog.records if r.name == "otel_mongo_apm._setup.conflicts")
    assert warning.levelno == logging.WARNING
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pymongo" in warning.message


@in_any_order
def test_replace(telemetry, other, mongodb_uri, instrument, caplog):
    """With `replace` its listener is replaced in our clients, without a warning."""
    instrument(telemetry, other, on_conflict="replace")

    assert scopes(telemetry, mongodb_uri) == ([OURS], [1])
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


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


@pytest.mark.parametrize(
    ("on_conflict", "spans", "told"),
    [("", (0, 1), 1), ("warn", (1, 1), 1), ("replace", (0, 1), 0), ("defer", (1, 0), 0)],
)
def test_automatic(mongodb_uri, on_conflict, spans, told):
    """With what `opentelemetry-bootstrap` installs, in whichever order it is loaded.

    A handler of the root logger, as opentelemetry-instrumentation-logging adds one, does not hide
    the warning.
    """
    pytest.importorskip("opentelemetry.instrumentation.logging")
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
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
            "OTEL_PYTHON_MONGO_APM_ON_CONFLICT": on_conflict,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    theirs = process.stdout.count('"name": "shop.find"')
    ours = process.stdout.count('"name": "find users"')
    assert (theirs, ours) == spans
    assert process.stderr.count("DISABLED_INSTRUMENTATIONS=pymongo") == told, process.stderr


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
