"""`otel-mongo-apm` without a URI: what is installed, what is set, what is wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from importlib.metadata import requires, version

import pymongo
import pytest
from packaging.requirements import Requirement
from pymongo.client_options import ClientOptions

import otel_mongo_apm
from otel_mongo_apm import MongoInstrumentor, Settings
from otel_mongo_apm._doctor import endpoint, installed, trial
from otel_mongo_apm._doctor.cli import main
from otel_mongo_apm._doctor.secrets import WITHHELD, Secrets
from otel_mongo_apm._driver.wrapping import replaced_methods
from otel_mongo_apm._settings.environment import DRIVERS_QUERY_TEXT_VARIABLE

OURS = 'file_format: "1.0"\ninstrumentation/development:\n  python:\n    mongo_apm: '
DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Nothing that this machine has or lacks concerns the tests."""
    monkeypatch.setenv(DISABLED, "pymongo")
    for variable in [each for each in os.environ if each.startswith("OTEL_") and each != DISABLED]:
        monkeypatch.delenv(variable)
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "console")


@pytest.fixture
def told(capsys):
    """Run the command; return its exit status and what it tells as JSON."""

    def told(*arguments):
        status = main(["--json", *arguments])
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, json.loads(printed.out)

    return told


def setting(found, name):
    return next((s["value"], s["source"]) for s in found["settings"] if s["name"] == name)


def test_all_is_well(told):
    """Where nothing is wrong, the status is 0."""
    status, found = told()

    assert (status, found["problems"]) == (0, [])
    assert found["conflict"] is None
    assert found["native_tracing"] == "this PyMongo has none"
    assert found["trial"] is None
    assert found["hooks"]["missing"] == []


def test_text(capsys):
    """For people there is a section for each subject, and the problems come last."""
    assert main([]) == 0
    printed = capsys.readouterr().out

    assert re.findall(r"^(?!otel-)\S.*", printed, re.MULTILINE) == [
        "Installed",
        "Instrumented",
        "PyMongo's own tracing",
        "Settings",
        "Exported under opentelemetry-instrument",
        "Others that trace PyMongo",
        "Problems",
    ]
    assert re.search(
        rf"^  pymongo +{pymongo.version} +supported \(>=4.7,<5\)$", printed, re.MULTILINE
    )
    assert re.search(r"^  exclude_commands +none +default$", printed, re.MULTILINE)
    assert printed.endswith("\nProblems\n  none\n")


def test_verbose(capsys):
    """`--verbose` adds what of PyMongo is wrapped, and what it lacks."""
    assert main(["--verbose"]) == 0
    printed = capsys.readouterr().out

    assert re.search(
        r"^Wrapped methods of PyMongo\n(  .+\n)*  .*MongoClient", printed, re.MULTILINE
    )
    assert re.search(r"^Missing in PyMongo\n  nothing$", printed, re.MULTILINE)


def test_version(capsys):
    """`--version` prints the package's version and nothing else."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"otel-mongo-apm {otel_mongo_apm.__version__}\n"


def test_supported_versions_are_the_required_ones():
    """What is called supported is what the package's metadata requires."""
    texts = [text for text in requires("otel-mongo-apm") if not text.endswith("extra == 'view'")]
    required = {(r := Requirement(text)).name: r.specifier for text in texts}

    assert "pymongo" in required
    assert {name: installed.SpecifierSet(installed.SUPPORTED[name]) for name in required} == (
        required
    )


def test_hooks(told):
    """What is wrapped while it is instrumented is told, and no client is instrumented any more."""
    _, found = told()

    MongoInstrumentor().instrument()
    assert found["hooks"]["found"] == replaced_methods()
    assert any(name.endswith(".MongoClient.__init__") for name in found["hooks"]["found"])
    MongoInstrumentor().uninstrument()
    assert pymongo.MongoClient(connect=False).options.event_listeners == []


def test_an_application_that_is_instrumented(told):
    """Under `opentelemetry-instrument` the command leaves all as it is."""
    MongoInstrumentor().instrument()
    status, _ = told()

    assert status == 0
    assert MongoInstrumentor().is_instrumented_by_opentelemetry


ANOTHER_SELECTION = """
topology, _ = next(iter(classes.topology_classes()))
topology.select_server = lambda self, wanted: wanted
"""
ANOTHER_CLIENT = """
class Client(pymongo.MongoClient):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in ("_topology", "_event_listeners"):
            vars(self)[f"{name}_of_tomorrow"] = vars(self).pop(name)

    def close(self):
        pass

    __del__ = close

pymongo.MongoClient = Client
"""


@pytest.mark.parametrize(
    ("change", "losses"),
    [
        (
            ANOTHER_SELECTION,
            ["select_server(selector, operation): waits for a server have no spans"],
        ),
        (
            ANOTHER_CLIENT,
            [
                "existing clients cannot be instrumented",
                "_topology: ",
            ],
        ),
    ],
)
def test_a_missing_hook(change, losses):
    """What PyMongo lacks is told with what it costs, and is wrong."""
    program = f"""
import sys, pymongo
from otel_mongo_apm._driver import classes
from otel_mongo_apm._doctor.cli import main
{change}
sys.exit(main(["--json"]))
"""
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    found = json.loads(process.stdout)

    assert (process.returncode, process.stderr) == (1, "")
    assert found["problems"] == found["hooks"]["missing"]
    assert all(told.startswith("PyMongo") for told in found["problems"])
    for loss in losses:
        assert sum(loss in told for told in found["problems"]) == 1


def test_sources(told, monkeypatch):
    """Each setting is told with its value and where that comes from."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TEXT", "OFF")
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_EXCLUDE_COMMANDS", "ping,find")
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_EVENTS", "")
    status, found = told()

    assert status == 0
    assert setting(found, "query_text") == ("off", "OTEL_PYTHON_MONGO_APM_QUERY_TEXT")
    assert setting(found, "exclude_commands") == (
        ["find", "ping"],
        "OTEL_PYTHON_MONGO_APM_EXCLUDE_COMMANDS",
    )
    assert setting(found, "events") == ("span", "default")


def test_every_setting_that_can_be_written_down(told):
    """Without variables every setting has its default."""
    _, found = told()
    defaults = {each["name"]: each["value"] for each in found["settings"]}

    assert {name: getattr(Settings(), name) for name in defaults} == {
        name: frozenset(value) if value == [] else value for name, value in defaults.items()
    }
    assert {each["source"] for each in found["settings"]} == {"default"}
    assert "query_text" in defaults
    assert "tracer_provider" not in defaults


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CAPTURE_STATEMENT": "true"}, ("raw", "CAPTURE_STATEMENT")),
        ({"CAPTURE_STATEMENT": "false"}, ("sanitized", None)),
        ({"CAPTURE_STATEMENT": "true", "QUERY_TEXT": "off"}, ("off", "QUERY_TEXT")),
    ],
)
def test_the_alias(told, monkeypatch, variables, expected):
    """The variable that is another word for raw text is told as its source, if it is."""
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_PYTHON_MONGO_APM_{name}", value)
    _, found = told()

    value, name = expected
    source = f"OTEL_PYTHON_MONGO_APM_{name}" if name else "default"
    assert setting(found, "query_text") == (value, source)


@pytest.mark.parametrize(
    ("length", "convention", "text", "source"),
    [
        (None, "mongodb", "off", "default"),
        ("99", "mongodb", "raw", DRIVERS_QUERY_TEXT_VARIABLE),
        ("0", "mongodb", "off", DRIVERS_QUERY_TEXT_VARIABLE),
        ("99", "semconv", "sanitized", "default"),
    ],
)
def test_the_variable_of_drivers(told, monkeypatch, length, convention, text, source):
    """Under the drivers' convention their own variable is a source, too."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_SPAN_CONVENTION", convention)
    if length:
        monkeypatch.setenv(DRIVERS_QUERY_TEXT_VARIABLE, length)
    _, found = told()

    assert setting(found, "query_text") == (text, source)


def test_wrong_variables(told, monkeypatch):
    """A variable with a wrong value or a misspelt name is wrong, and what is right is named."""
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_METRICS", "maybe")
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TXT", "off")
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_X", "off")
    status, found = told()

    assert status == 1
    assert setting(found, "metrics") == (True, "default")
    unknown, x, wrong = found["problems"]
    assert unknown == (
        "There is no setting OTEL_PYTHON_MONGO_APM_QUERY_TXT."
        " Is it OTEL_PYTHON_MONGO_APM_QUERY_TEXT?"
    )
    assert x == "There is no setting OTEL_PYTHON_MONGO_APM_X."
    assert "OTEL_PYTHON_MONGO_APM_METRICS='maybe'. Accepted: True, False" in wrong


@pytest.mark.parametrize(
    ("on_conflict", "disabled", "status", "said"),
    [
        ("warn", "", 1, "every command has two spans"),
        ("warn", "flask", 1, "every command has two spans"),
        ("replace", "", 0, "its listener will be replaced"),
        ("", "", 0, "with a warning"),
        ("defer", "", 0, "it has the spans to itself"),
        ("warn", "flask, pymongo", 0, None),
        ("warn", "*", 0, None),
    ],
)
def test_conflicts(told, monkeypatch, on_conflict, disabled, status, said):
    """opentelemetry-instrumentation-pymongo beside us is wrong, unless it is settled."""
    pytest.importorskip("opentelemetry.instrumentation.pymongo")
    monkeypatch.setenv(DISABLED, disabled)
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_ON_CONFLICT", on_conflict)
    ended, found = told()

    assert ended == status
    assert said in found["conflict"] if said else found["conflict"] is None
    assert len(found["problems"]) == status


@pytest.mark.parametrize(
    ("variable", "on_conflict", "status", "said"),
    [
        ("", "warn", 0, "off, but for clients with the option `tracing`"),
        ("true", "warn", 1, "on, as OTEL_PYTHON_INSTRUMENTATION_MONGODB_ENABLED says"),
        ("true", "defer", 0, "on, as OTEL_PYTHON_INSTRUMENTATION_MONGODB_ENABLED says"),
    ],
)
def test_native_tracing(told, monkeypatch, variable, on_conflict, status, said):
    """Where PyMongo traces by itself, that is told, and that the text of queries is not ours."""
    monkeypatch.setattr(ClientOptions, "tracing", None, raising=False)
    monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_MONGODB_ENABLED", variable)
    monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_ON_CONFLICT", on_conflict)
    ended, found = told()

    assert ended == status
    assert found["native_tracing"].startswith(said)
    assert len(found["problems"]) == status
    assert all("Without effect: query_text." in problem for problem in found["problems"])


@pytest.mark.parametrize(
    ("disabled", "automatic"),
    [("pymongo", "loads it"), ("pymongo,mongo_apm", f"leaves it alone, as {DISABLED} says")],
)
def test_automatic(told, monkeypatch, disabled, automatic):
    """Whether `opentelemetry-instrument` loads the package is told."""
    monkeypatch.setenv(DISABLED, disabled)

    assert told()[1]["automatic"] == automatic


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"SDK_DISABLED": "True"}, "OTEL_SDK_DISABLED=true: there are no spans"),
        ({"TRACES_EXPORTER": "none"}, "OTEL_TRACES_EXPORTER=none: no traces are exported."),
        ({"TRACES_SAMPLER": "always_off"}, "OTEL_TRACES_SAMPLER=always_off: no span is sampled."),
        (
            {"TRACES_SAMPLER": "parentbased_always_off"},
            "OTEL_TRACES_SAMPLER=parentbased_always_off: no span is sampled unless its caller's",
        ),
        (
            {"TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "0.0"},
            "OTEL_TRACES_SAMPLER_ARG=0 for the sampler traceidratio: no span is sampled.",
        ),
        (
            {"TRACES_EXPORTER": "jaegr"},
            "OTEL_TRACES_EXPORTER: no installed package has an exporter of the name 'jaegr'.",
        ),
        (
            {"TRACES_EXPORTER": "otlp", "EXPORTER_OTLP_ENDPOINT": "http://ada:s3cr3t@h:port"},
            "The endpoint of traces is not a URL.",
        ),
    ],
)
def test_what_keeps_the_sdk_from_exporting(told, monkeypatch, variables, problem):
    """Variables of the SDK that leave nothing to see are wrong, and no secret is shown."""
    pytest.importorskip("opentelemetry.exporter.otlp")
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    status, found = told()

    assert status == 1
    (only,) = found["problems"]
    assert only.startswith(problem)
    assert "s3cr3t" not in json.dumps(found)


@pytest.mark.parametrize(
    "variables",
    [
        {"TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "0.1"},
        {"TRACES_SAMPLER": "always_on"},
        {"SDK_DISABLED": "false"},
        {"METRICS_EXPORTER": "none", "LOGS_EXPORTER": "none"},
    ],
)
def test_what_does_not_keep_the_sdk_from_exporting_traces(told, monkeypatch, variables):
    """What leaves traces to see is not wrong."""
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)

    assert told()[1]["problems"] == []


class TestEndpoint:
    """Where telemetry is sent by OTLP."""

    @pytest.fixture
    def collector(self):
        """Somebody who accepts connections."""
        endpoint.answers.cache_clear()
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server.getsockname()[1]

    @pytest.fixture
    def nobody(self, collector):
        """A port where there is nobody."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            return server.getsockname()[1]

    @pytest.fixture(autouse=True)
    def _otlp(self, monkeypatch):
        pytest.importorskip("opentelemetry.exporter.otlp")
        monkeypatch.delenv("OTEL_TRACES_EXPORTER")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:{}", "127.0.0.1:{}", "http://a:b@127.0.0.1:{}/"]
    )
    def test_somebody(self, told, monkeypatch, collector, url):
        """An endpoint that accepts connections is told, and nothing is wrong."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.format(collector))
        status, found = told()

        assert (status, found["problems"]) == (0, [])
        assert found["exports"][0] == {
            "signal": "traces",
            "exporter": "otlp",
            "endpoint": f"127.0.0.1:{collector}",
            "problem": None,
        }

    def test_nobody(self, told, monkeypatch, nobody):
        """An endpoint that refuses connections is wrong; only its host and port are shown."""
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://a:s3cr3t@127.0.0.1:{nobody}/k3y"
        )
        status, found = told()

        assert status == 1
        assert found["problems"] == [
            f"Nothing answers at 127.0.0.1:{nobody}, the endpoint that telemetry is exported to."
        ]
        assert not re.search("s3cr3t|k3y", json.dumps(found))

    def test_an_unknown_name(self, told, monkeypatch, collector):
        """A host whose name is not known does not keep anybody waiting."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid:4318")
        began = time.monotonic()

        assert told()[0] == 1
        assert time.monotonic() - began < 20

    def test_silence(self, told, monkeypatch, collector):
        """An endpoint that does not even refuse is given up after two seconds."""
        with socket.socket() as server, contextlib.ExitStack() as full:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            for _ in range(3):  # Nobody accepts these, so there is no room for another.
                waiting = full.enter_context(socket.socket())
                waiting.settimeout(0)
                waiting.connect_ex(server.getsockname())
            monkeypatch.setenv(
                "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}"
            )
            status, found = told()

        assert status == 1
        assert found["problems"][0].startswith("Nothing answers at 127.0.0.1:")

    def test_a_proxy(self, told, monkeypatch, nobody):
        """Where there is a proxy, it is left to that to find the endpoint."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{nobody}")

        assert told()[1]["problems"] == []


def test_others(told):
    """Who else traces PyMongo is told, and is not wrong."""
    pytest.importorskip("sentry_sdk")
    status, found = told()

    assert status == 0
    sentry = f"sentry-sdk {version('sentry-sdk')} traces commands for Sentry, unless its "
    assert found["others"] == [f"{sentry}PyMongoIntegration is disabled"]


def test_withheld(monkeypatch):
    """An exception that quotes a secret is told without its message."""
    uri = "mongodb://ada:s3cr%2Ft@127.0.0.1:1/"
    for quoted in ("s3cr%2Ft", "s3cr/t", "ada", uri):
        monkeypatch.setattr(trial, "_run", raises(ValueError(f"not {quoted!r}")))

        assert trial.trial(uri, 1, {}).failure == f"The ping failed. ValueError: {WITHHELD}"
    monkeypatch.setattr(trial, "_run", raises(ValueError("no port")))
    assert trial.trial(uri, 1, {}).failure == "The ping failed. ValueError: no port"


def raises(error):
    def raises(*_):
        raise error

    return raises


def test_secrets_as_exceptions_quote_them():
    """A secret is found in whatever way it is written: decoded, or as a literal."""
    secrets = Secrets("mongodb://ada:%27p%C3%A4ss+word%5C@127.0.0.1/")

    for password in ("'päss+word\\", "'päss word\\"):
        for quoted in (password, repr(password), ascii(password)):
            assert secrets.withheld(f"not {quoted}") == WITHHELD


def test_logs_are_given_back(told, caplog):
    """After the command everything is logged as before."""
    told()
    logging.getLogger("otel_mongo_apm").warning("as before")

    assert "as before" in caplog.text


class TestFile:
    """A file of declarative configuration."""

    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        """Write a file, and name it in the variable."""
        pytest.importorskip("opentelemetry.configuration")

        def file(text):
            path = tmp_path / "otel.yaml"
            path.write_text(text, encoding="utf-8")
            monkeypatch.setenv("OTEL_CONFIG_FILE", str(path))

        return file

    def test_values(self, told, file, monkeypatch):
        """What a file says is told with the file as its source; it beats a variable."""
        monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_QUERY_TEXT", "raw")
        monkeypatch.setenv("OTEL_PYTHON_MONGO_APM_METRICS", "off")
        file(f"{OURS}{{query_text: off, exclude_commands: [ping]}}")
        status, found = told()

        assert status == 0
        assert setting(found, "query_text") == ("off", "OTEL_CONFIG_FILE")
        assert setting(found, "exclude_commands") == (["ping"], "OTEL_CONFIG_FILE")
        assert setting(found, "metrics") == (False, "OTEL_PYTHON_MONGO_APM_METRICS")

    @pytest.mark.parametrize(
        "text",
        [
            'file_format: "1.0"\n',
            'file_format: "1.0"\ninstrumentation/development: {python: {}}\n',
            f"disabled: true\n{OURS}{{metrics: false}}\n",
            f"{OURS}{{enabled: false, metrics: false}}\n",
        ],
    )
    def test_no_values(self, told, file, text):
        """A file that says nothing of this package, or is not in force, changes nothing."""
        file(text)
        status, found = told()

        assert status == 0
        assert setting(found, "metrics") == (True, "default")

    def test_a_wrong_value(self, told, file):
        """What is ignored in a file is wrong."""
        file(f"{OURS}{{metrics: maybe}}")
        status, found = told()

        assert status == 1
        assert "mongo_apm.metrics: 'maybe' in the configuration file" in found["problems"][0]

    @pytest.mark.parametrize(
        "text", ["file_format: 1", "a: [", 'file_format: mongodb://ada:s3cr3t@h/"']
    )
    def test_a_broken_file(self, told, file, text):
        """A file that cannot be read is wrong, and no traceback is printed."""
        file(text)
        status, found = told()

        assert status == 1
        (problem,) = found["problems"]
        assert problem.startswith("OTEL_CONFIG_FILE cannot be used. ConfigurationError: ")
        assert "s3cr3t" not in problem

    def test_no_reader(self, told, monkeypatch):
        """Without opentelemetry-configuration a file is wrong."""
        monkeypatch.setitem(sys.modules, "opentelemetry.configuration", None)
        monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
        status, found = told()

        assert status == 1
        assert found["problems"] == [
            "OTEL_CONFIG_FILE is set: install opentelemetry-configuration."
        ]
