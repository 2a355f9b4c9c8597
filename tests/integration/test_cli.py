"""`python -m otel_mongo_apm`, as users run it: on real servers, on none, and without packages."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from urllib.parse import quote_plus

import pytest

import otel_mongo_apm

SOURCES = Path(otel_mongo_apm.__file__).parents[1]
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


def run(*arguments, options=(), **variables):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    # Neither a second instrumentation nor a collector that is not there is to be told.
    disabled = {
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pymongo",
        **{f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")},
    }
    return subprocess.run(
        [sys.executable, *options, "-m", "otel_mongo_apm", *arguments],
        env={**inherited, **disabled, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def diagnosis(*arguments, **keywords):
    """The exit status, and what was told."""
    process = run("--json", *arguments, **keywords)
    assert process.stderr == ""
    return process.returncode, json.loads(process.stdout)


def spans(found):
    return {span["name"]: span for span in found["trial"]["spans"]}


def points(found, name):
    """The points of a metric, each as its attributes and what was measured."""
    (metric,) = (m for m in found["trial"]["metrics"] if m["name"] == name)
    return [(point["attributes"], point["measured"]) for point in metric["points"]]


@pytest.fixture
def without(tmp_path):
    """All packages that are installed, but for some: for a Python without its site-packages."""

    def without(*names):
        for entry in SITE_PACKAGES.iterdir():
            if entry.name != "opentelemetry" and not entry.name.startswith(names):
                (tmp_path / entry.name).symlink_to(entry)
        (tmp_path / "opentelemetry").mkdir()
        for entry in (SITE_PACKAGES / "opentelemetry").iterdir():
            if f"opentelemetry_{entry.name}" not in names:
                (tmp_path / "opentelemetry" / entry.name).symlink_to(entry)
        path = os.pathsep.join([str(SOURCES), str(tmp_path)])
        return {"options": ["-S"], "PYTHONPATH": path}

    return without


def test_a_ping(standalone):
    """What a ping of a real server produces is shown, and nothing is wrong."""
    status, found = diagnosis(standalone.uri)
    host, port = standalone.address

    assert (status, found["problems"]) == (0, [])
    assert found["trial"]["servers"] == {standalone.host: "Standalone"}
    assert found["trial"]["milliseconds"] > 0
    assert {"ping admin", "mongodb.topology.discovery"} <= spans(found).keys()
    assert spans(found)["ping admin"]["attributes"] == {
        "db.system.name": "mongodb",
        "db.operation.name": "ping",
        "db.namespace": "admin",
        "server.address": host,
        "server.port": port,
        "network.peer.address": host,
        "network.peer.port": port,
        "db.query.text": '{"ping":"?","maxTimeMS":"?"}',
    }
    ((attributes, measured),) = points(found, "db.client.operation.duration")
    assert (attributes["db.operation.name"], measured["count"]) == ("ping", 1)
    assert points(found, "db.client.connection.count")


def test_a_ping_for_people(standalone):
    """The text has the ping's span, its attributes and the metrics, too."""
    process = run(standalone.uri)

    assert (process.returncode, process.stderr) == (0, "")
    assert re.search(
        r"^Spans$.*^  ping admin  CLIENT  UNSET  [\d.]+ ms\n      .*db\.operation\.name=ping.*"
        r"^Metrics$.*^  db\.client\.operation\.duration  s\n      count 1  sum .*=ping.*"
        r"^Problems\n  none$",
        process.stdout,
        re.MULTILINE | re.DOTALL,
    )


def test_settings_are_in_force(standalone):
    """The ping is instrumented as the settings have it; with `require_parent` it is in a trace."""
    status, found = diagnosis(
        standalone.uri,
        OTEL_PYTHON_MONGO_APM_METRICS="off",
        OTEL_PYTHON_MONGO_APM_QUERY_TEXT="raw",
        OTEL_PYTHON_MONGO_APM_REQUIRE_PARENT="on",
    )

    assert status == 0
    assert '"ping":1' in spans(found)["ping admin"]["attributes"]["db.query.text"]
    assert found["trial"]["metrics"] == []


def test_nothing_is_sent(standalone):
    """An SDK that cannot be configured, or that drops all, is not the application's one."""
    status, found = diagnosis(standalone.uri, OTEL_TRACES_SAMPLER="always_off")

    assert status == 1
    assert "ping admin" in spans(found)


def test_credentials(with_auth):
    """A server that asks for a password has it, and nobody else."""
    process = run(with_auth.uri)

    assert process.returncode == 0
    assert with_auth.password not in process.stdout + process.stderr


@pytest.mark.parametrize("password", ["wr0ngW0rd", "wr/0ng@W0rd%"])
def test_refused_credentials(with_auth, password):
    """Refused credentials are wrong; the reason is shown, the credentials are not."""
    uri = f"mongodb://adalovelace:{quote_plus(password)}@{with_auth.host}/"
    process = run("--json", uri)
    found = json.loads(process.stdout)

    assert process.returncode == 1
    assert found["problems"][0].startswith("The ping failed. OperationFailure: Auth")
    assert spans(found)["check out connection"]["status"].startswith("ERROR")
    everything = process.stdout + process.stderr
    for secret in ("adalovelace", "W0rd", password, quote_plus(password)):
        assert secret not in everything


def test_an_unreachable_server_for_people():
    """Why the ping failed is told under its heading, and first among the problems."""
    printed = run("--timeout", "0.5", "mongodb://127.0.0.1:1/", OTEL_TRACES_EXPORTER="none").stdout
    ping, problems = (printed.partition(f"\n{each}\n  ")[2] for each in ("Ping", "Problems"))

    assert ping.startswith("The ping failed. ServerSelectionTimeoutError: ")
    assert problems.startswith("The ping failed. ServerSelectionTimeoutError: ")


def test_an_unreachable_server():
    """A server that is not there is wrong, and the span of the failed wait is shown."""
    status, found = diagnosis("--timeout", "0.5", "mongodb://127.0.0.1:1/")

    assert status == 1
    (problem,) = found["problems"]
    assert re.match(r"The ping failed. ServerSelectionTimeoutError: .*refused", problem)
    assert spans(found)["select server"]["status"] == "ERROR ServerSelectionTimeoutError"
    assert found["trial"]["servers"] == {"127.0.0.1:1": "Unknown"}
    assert found["trial"]["milliseconds"] is None


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "1e300", "soon"])
def test_a_wrong_timeout(timeout):
    """What is no time to wait is refused at once, with what would be one."""
    process = run("--timeout", timeout, "mongodb://127.0.0.1:1/")

    assert process.returncode == 2
    assert "--timeout: a number of seconds is needed, more than 0 and at most" in process.stderr


def test_a_server_that_says_nothing():
    """A server that accepts connections and never answers keeps nobody waiting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        status, found = diagnosis(
            "--timeout", "0.5", f"mongodb://127.0.0.1:{server.getsockname()[1]}/"
        )

    assert status == 1
    assert found["problems"][0].startswith("The ping failed. ServerSelectionTimeoutError: ")


def test_no_sdk(standalone, without):
    """Without the SDK the ping is run, and it is said why there is nothing to show."""
    status, found = diagnosis(standalone.uri, **without("opentelemetry_sdk"))

    assert (status, found["problems"]) == (0, [])
    assert found["trial"]["milliseconds"] > 0
    assert found["trial"]["note"].startswith("opentelemetry-sdk is not installed")
    assert (found["trial"]["spans"], found["trial"]["metrics"]) == ([], [])


def test_no_sdk_for_people(standalone, without):
    """The text says so, too."""
    process = run(standalone.uri, **without("opentelemetry_sdk"))

    assert (process.returncode, process.stderr) == (0, "")
    assert "Spans and metrics\n  opentelemetry-sdk is not installed" in process.stdout


def test_no_pymongo(without):
    """Without PyMongo all else is told, and that it is missing is wrong."""
    status, found = diagnosis("mongodb://127.0.0.1:1/", **without("pymongo", "bson", "gridfs"))

    assert status == 1
    assert found["problems"] == [
        "PyMongo is not installed, so there is nothing to instrument.",
        "The URI was not tried, for want of a PyMongo that is supported.",
    ]
    assert found["settings"]
    assert (found["instrumented"], found["hooks"], found["trial"]) == ([], None, None)


def test_an_unsupported_pymongo(without, tmp_path):
    """A PyMongo that is too old is wrong, and is left alone."""
    variables = without("pymongo", "bson", "gridfs")
    (tmp_path / "pymongo-4.6.3.dist-info").mkdir()
    (tmp_path / "pymongo-4.6.3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pymongo\nVersion: 4.6.3\n", encoding="utf-8"
    )
    status, found = diagnosis(**variables)

    assert status == 1
    assert found["problems"] == ["pymongo 4.6.3 is not supported; >=4.7,<5 is."]
    assert run(**variables).stdout.count("NOT SUPPORTED (>=4.7,<5)") == 1


def test_a_pymongo_that_is_broken(without, tmp_path):
    """A PyMongo that cannot be imported is wrong, and nothing else fails with it."""
    variables = without("bson")
    status, found = diagnosis(**variables)

    assert status == 1
    (problem,) = found["problems"]
    assert problem == (
        "PyMongo cannot be instrumented. ModuleNotFoundError: No module named 'bson'"
    )


@pytest.mark.parametrize(
    ("names", "encoding", "shown"),
    [("caf\u00e9", "ascii", "caf\\xe9"), ("caf\udce9", "utf-8", "caf\\udce9")],
)
def test_names_that_cannot_be_printed(names, encoding, shown):
    """What the standard output cannot show, even a byte that is no character, is escaped."""
    process = run(OTEL_PYTHON_MONGO_APM_EXCLUDE_COLLECTIONS=names, PYTHONIOENCODING=encoding)

    assert process.stderr == ""
    assert re.search(rf"exclude_collections +{re.escape(shown)} ", process.stdout)


def test_help():
    """The help says what it does and when it ends with 1."""
    process = run("--help")

    assert process.returncode == 0
    assert "usage: otel-mongo-apm" in process.stdout
    assert "The exit status is 1 if" in process.stdout


SIGNALS = ("TRACES", "METRICS", "LOGS")


def test_no_distro(without):
    """Without opentelemetry-distro, `opentelemetry-instrument` sets up no SDK, and that is told."""
    nothing = {f"OTEL_{signal}_EXPORTER": "none" for signal in SIGNALS}
    process = run(**nothing, **without("opentelemetry_distro"))
    told = process.stdout.partition("\nExported under opentelemetry-instrument\n  ")[2]

    assert (process.returncode, process.stderr) == (0, "")
    assert told.splitlines()[0] == (
        "nothing, unless the application sets up the SDK:"
        " opentelemetry-distro, which would do it, is not installed"
    )
    assert told.endswith("\nProblems\n  none\n")


def test_a_sampler_without_a_distro(without):
    """The SDK reads the variable of the sampler whoever sets it up."""
    nothing = {f"OTEL_{signal}_EXPORTER": "none" for signal in SIGNALS}
    sampler = {"OTEL_TRACES_SAMPLER": "always_off"}
    status, found = diagnosis(**nothing, **sampler, **without("opentelemetry_distro"))

    assert (status, found["problems"]) == (
        1,
        ["OTEL_TRACES_SAMPLER=always_off: no span is sampled."],
    )


def test_variables_without_effect(without):
    """A variable that only a distribution reads is wrong without one."""
    status, found = diagnosis(**without("opentelemetry_distro"))

    assert (status, found["lacks_distro"], found["exports"]) == (1, True, [])
    why = "install opentelemetry-distro, which sets up the SDK."
    assert found["problems"] == [
        f"OTEL_{signal}_EXPORTER has no effect under opentelemetry-instrument: {why}"
        for signal in SIGNALS
    ]
