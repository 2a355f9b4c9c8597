"""`otel-mongo-apm run`, as users run it: real programs, a real server, real signals."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import local_mongodb
import pytest
from mongod import or_skip

PYTHON = Path(sys.executable)
RUN = [str(PYTHON.with_name("otel-mongo-apm")), "run"]
SETTINGS = ("OTEL_", "COLUMNS", "FORCE_COLOR", "TTY_")

CLIENT = """
import os, signal, sys, time
from pymongo import MongoClient
client = MongoClient(os.environ["MONGODB_URI"])
orders = client.shop.orders
"""
ENDLESS = f"""{CLIENT}
orders.find_one()
print("ready", flush=True)
time.sleep(60)
"""
FORKING = f"""{CLIENT}
orders.find_one()
client.close()
child = os.fork()
if not child:
    with MongoClient(os.environ["MONGODB_URI"]) as own:
        own.shop.children.find_one()
        time.sleep(1.5)
    os._exit(0)
os.waitpid(child, 0)
"""
STARTING = f"""{CLIENT}
import subprocess
subprocess.run([sys.executable, "-c", "import os; from pymongo import MongoClient;"
                "MongoClient(os.environ['MONGODB_URI']).shop.children.find_one()"], check=True)
orders.find_one()
"""
ASYNC = """
import asyncio, os
from pymongo import AsyncMongoClient

async def main():
    async with AsyncMongoClient(os.environ["MONGODB_URI"]) as client:
        await client.shop.orders.find_one()

asyncio.run(main())
"""
WEB = """
import os
from fastapi import FastAPI
from pymongo import MongoClient

app = FastAPI()
orders = MongoClient(os.environ["MONGODB_URI"]).shop.orders

@app.get("/orders")
def list_orders():
    return len(list(orders.find()))

@app.get("/health")
def health():
    return "ok"
"""
OWN_SDK = f"""{CLIENT}
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider())
with trace.get_tracer("app").start_as_current_span("by the global one"):
    with provider.get_tracer("app").start_as_current_span("by its own"):
        orders.find_one()
"""
TRACES = f"""{CLIENT}
from opentelemetry import trace
tracer = trace.get_tracer("app")
for n in range(25):
    with tracer.start_as_current_span(f"job {{n}}"):
        orders.find_one()
        time.sleep(0.001 * (n % 5))
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="The signals are those of POSIX.")


@pytest.fixture(scope="module")
def uri():
    with or_skip(), local_mongodb.standalone() as mongod:
        yield mongod.uri


@pytest.fixture
def environment(uri):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    return {**inherited, "MONGODB_URI": uri}


@pytest.fixture
def run(environment, tmp_path):
    """Run a command to its end."""

    def run(*command, options=(), **variables):
        return subprocess.run(
            [*RUN, *options, "--", *map(str, command)],
            env={**environment, **variables},
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            input=variables.get("INPUT", ""),
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def running(environment):
    """Run a program until it says that it is ready; yield the process of `run`."""

    @contextlib.contextmanager
    def running(source, *options, **keywords):
        process = subprocess.Popen(
            [*RUN, *options, str(PYTHON), "-c", source],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            **keywords,
        )
        with process:
            try:
                assert process.stdout.readline() == "ready\n"
                yield process
            finally:
                process.kill()

    return running


def spans(drawn):
    """The names of the spans that are drawn, in their order."""
    return re.findall(r"^[│ ]*[└├]── (.+?)  (?:OK|ERROR)", drawn, re.MULTILINE)


def test_an_application(run):
    """Its output and exit status stay its own; its traces and metrics are drawn after it."""
    ended = run(
        PYTHON, "-c", f"{CLIENT}\norders.find_one()\nprint(input())\nsys.exit(3)", INPUT="ok"
    )

    assert (ended.stdout, ended.returncode) == ("ok\n", 3)
    assert re.fullmatch(
        r"\nTraces\n.*\nCluster  .*\nMetrics  .*", ended.stderr.replace("\n\n", "\n"), re.DOTALL
    )
    assert "find orders" in spans(ended.stderr)
    assert re.search(r"^ db\.client\.operation\.duration  s ", ended.stderr, re.MULTILINE)
    assert "mongodb.client.topology.writable" in ended.stderr
    assert "mongodb.client.retries" not in ended.stderr  # It is 0.


def test_a_module_by_its_name(run, tmp_path):
    """`python -m` works, and the trace has the module's name for its service."""
    (tmp_path / "job.py").write_text(f"{CLIENT}\norders.find_one()", encoding="utf-8")
    ended = run(PYTHON, "-m", "job")

    assert ended.returncode == 0
    assert re.search(r"^Trace \w{32}  job  \d span", ended.stderr, re.MULTILINE)


def test_an_asynchronous_application(run):
    """asyncio applications are recorded, too."""
    pytest.importorskip("pymongo", minversion="4.11")
    ended = run(PYTHON, "-c", ASYNC)

    assert ended.returncode == 0
    assert "find orders" in spans(ended.stderr)


def test_a_crash(run):
    """An application that crashes prints its own traceback; its traces are drawn all the same."""
    ended = run(PYTHON, "-c", f"{CLIENT}\norders.find_one()\n1 / 0")

    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert "ZeroDivisionError: division by zero\n\nTraces\n" in ended.stderr
    assert "find orders" in spans(ended.stderr)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGABRT"])
def test_a_violent_end(run, name):
    """An application that a signal kills loses no span that had ended; `run` ends by that, too."""
    number = getattr(signal, name)
    ended = run(PYTHON, "-c", f"{CLIENT}\norders.find_one()\nos.kill(os.getpid(), {int(number)})")

    assert ended.returncode == -number
    assert "find orders" in spans(ended.stderr)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signals_are_passed_on(running, name):
    """A signal that is sent to `run` is the application's."""
    handler = f"signal.signal(signal.{name}, lambda *_: sys.exit(7))"
    with running(f"{CLIENT}\n{handler}\n{ENDLESS}") as process:
        process.send_signal(getattr(signal, name))
        _, drawn = process.communicate(timeout=30)

    assert process.returncode == 7
    assert "find orders" in spans(drawn)


def test_sigterm_by_default(running):
    """SIGTERM ends the application as it would without `run`, and then its traces are drawn."""
    with running(ENDLESS) as process:
        process.terminate()
        _, drawn = process.communicate(timeout=30)

    assert process.returncode == -signal.SIGTERM
    assert "find orders" in spans(drawn)


def test_ignored_signals(running):
    """What is ignored when `run` starts, as under nohup, is ignored by the application as well."""

    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with running(ENDLESS, preexec_fn=ignore) as process:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)


def test_ctrl_c_in_a_terminal(environment):
    """Ctrl-C interrupts the application once; then its traces are drawn."""
    source = f"""{CLIENT}
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
orders.find_one()
print("ready", flush=True)
while not heard:
    time.sleep(0.01)
time.sleep(0.5)
print("heard", len(heard), flush=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.raise_signal(signal.SIGINT)
"""
    child, terminal = pty.fork()
    if not child:
        os.execve(RUN[0], [*RUN, str(PYTHON), "-c", source], environment)
    shown = read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    shown += read_until(terminal, None)
    _, status = os.waitpid(child, 0)
    os.close(terminal)

    assert os.waitstatus_to_exitcode(status) == -signal.SIGINT
    assert b"heard 1\r\n" in shown
    assert shown.index(b"KeyboardInterrupt") < shown.index(b"find orders")


def read_until(terminal, wanted):
    """What a terminal shows until a text is there, or to its end."""
    shown = b""
    deadline = time.monotonic() + 30
    while not (wanted and wanted in shown):
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], shown
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux has it that a terminal without a process cannot be read.
            break
        if not part:
            break
        shown += part
    return shown


def test_seconds(run):
    """`--seconds` ends an application that would go on, which is a success."""
    began = time.monotonic()
    ended = run(PYTHON, "-c", ENDLESS, options=["--seconds", "8"])

    assert ended.returncode == 0
    assert 8 <= time.monotonic() - began < 40
    assert "find orders" in spans(ended.stderr)


def test_seconds_of_an_application_that_ignores_ctrl_c(run):
    """If it does not end by Ctrl-C, it is terminated."""
    source = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{ENDLESS}"
    ended = run(PYTHON, "-c", source, options=["--seconds", "8"])

    assert ended.returncode == 0
    assert "find orders" in spans(ended.stderr)


@pytest.mark.parametrize("source", [FORKING, STARTING])
def test_child_processes(run, source):
    """Children that are forked or started are recorded, too, without a word about threads."""
    ended = run(PYTHON, "-c", source)

    assert (ended.returncode, ended.stdout) == (0, "")
    assert {"find orders", "find children"} <= set(spans(ended.stderr))
    assert ended.stderr.startswith("\nTraces\n")
    assert len(re.findall(r"^Metrics  ", ended.stderr, re.MULTILINE)) == 2


def test_a_web_server(environment, tmp_path):
    """A console script that serves: requests are the roots of traces, and can be picked by name."""
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    (tmp_path / "web.py").write_text(WEB, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    uvicorn = [str(PYTHON.with_name("uvicorn")), "--port", str(port), "web:app"]
    process = subprocess.Popen(
        [*RUN, "--root", "GET /orders*", "--", *uvicorn, "--app-dir", str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        try:
            answered(f"http://127.0.0.1:{port}/health")
            answered(f"http://127.0.0.1:{port}/orders")
            process.terminate()
            _, drawn = process.communicate(timeout=30)
        finally:
            process.kill()

    assert spans(drawn)[0] == "GET /orders"
    assert "find orders" in spans(drawn)
    assert not any("health" in name or "topology" in name for name in spans(drawn))


def answered(url):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
            return response.read()
        time.sleep(0.1)
    pytest.fail(f"{url} does not answer.")


def test_an_sdk_of_its_own(run):
    """The spans of an application's own SDK are shown with the others; that it has one is said."""
    ended = run(PYTHON, "-c", OWN_SDK)

    assert ended.returncode == 0
    assert [name for name in spans(ended.stderr) if name[:2] in {"by", "fi"}] == [
        "by the global one",
        "by its own",
        "find orders",
    ]
    assert ended.stderr.count("The application sets up a TracerProvider of its own.") == 1
    assert ended.stderr.count("The application sets up a MeterProvider of its own.") == 1
    assert ended.stderr.startswith("\nTraces\n")


def test_a_disabled_sdk(run):
    """OTEL_SDK_DISABLED, which concerns the application's SDK, does not keep anything from view."""
    source = f"{CLIENT}\norders.find_one()\nprint(os.environ['OTEL_SDK_DISABLED'])"
    ended = run(PYTHON, "-c", source, OTEL_SDK_DISABLED="true")

    assert ended.stdout == "true\n"
    assert "find orders" in spans(ended.stderr)


def test_instrumented_by_itself(run):
    """An application that calls `instrument()` itself is not told that it is instrumented."""
    source = "from otel_mongo_apm import MongoInstrumentor\nMongoInstrumentor().instrument()\n"
    ended = run(PYTHON, "-c", f"{source}{CLIENT}\norders.find_one()")

    assert ended.stderr.startswith("\nTraces\n")
    assert spans(ended.stderr).count("find orders") == 1


def test_the_slowest(run):
    """By default the 20 slowest traces are drawn, slowest first; it is said how many there were."""
    ended = run(PYTHON, "-c", TRACES)
    few = run(PYTHON, "-c", TRACES, options=["--slowest", "3"])
    all_of_them = run(PYTHON, "-c", TRACES, options=["--slowest", "0"])

    assert "Traces  the 20 slowest of 25\n" in ended.stderr
    assert sum(name.startswith("job ") for name in spans(ended.stderr)) == 20
    assert "Traces  the 3 slowest of 25\n" in few.stderr
    lengths = re.findall(r"^Trace .*  \d+ spans  ([\d.]+) ms", few.stderr, re.MULTILINE)
    assert lengths == sorted(lengths, key=float, reverse=True)
    assert len(lengths) == 3
    assert sum(name.startswith("job ") for name in spans(all_of_them.stderr)) == 25
    assert "Traces\n" in all_of_them.stderr


def test_the_root(run):
    """`--root` picks traces by the name of their first span."""
    ended = run(PYTHON, "-c", TRACES, options=["--root", "job 1?"])

    assert [name for name in spans(ended.stderr) if name.startswith("job")] == [
        f"job {n}" for n in range(10, 20)
    ]
    assert "Cluster" not in ended.stderr.partition("Metrics")[0]


def test_a_long_trace(run):
    """Of a trace with very many spans the first are drawn, and that is said."""
    source = f"""{CLIENT}
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("import"):
    for n in range(250):
        orders.find_one()
"""
    ended = run(PYTHON, "-c", source)

    assert "Traces  the first 200 spans of each\n" in ended.stderr
    assert "  200 spans  " in ended.stderr
    assert 190 < spans(ended.stderr).count("find orders") < 200


def test_what_the_application_sees(run, tmp_path):
    """Its own sitecustomize is imported, and its module path is as it would be without `run`."""
    customized = "import sys\nif sys.orig_argv[1] == '-c':\n    print('customized')"
    (tmp_path / "sitecustomize.py").write_text(customized, encoding="utf-8")
    see = "import sys; print(sys.path, 'sitecustomize' in sys.modules)"
    ended = run(PYTHON, "-c", see, PYTHONPATH=str(tmp_path))
    alone = subprocess.run(
        [PYTHON, "-c", see],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    assert ended.stdout == alone.stdout
    assert ended.stdout.startswith("customized\n")


def test_nothing_recorded(run):
    """Where no Python was started that can record, that is said instead of an empty report."""
    for command in ([PYTHON, "-I", "-c", "print('ok')"], ["echo", "ok"]):
        ended = run(*command)

        assert (ended.stdout, ended.returncode) == ("ok\n", 0)
        assert ended.stderr.startswith("\nNo telemetry: no Python with otel-mongo-apm was started.")


def test_no_spans(run):
    """An application that has called no server is told so."""
    ended = run(PYTHON, "-c", "print('ok')")

    assert ended.stdout == "ok\n"
    assert "No spans: the application has called no MongoDB server." in ended.stderr


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ([], 2, "a command is needed, such as: python app.py"),
        (["opentelemetry-instrument", "python", "app.py"], 2, "Leave out opentelemetry-instrument"),
        (["no-such-program"], 127, "no-such-program cannot be run: No such file or directory"),
        (["/"], 126, "/ cannot be run: Permission denied"),
    ],
)
def test_wrong_commands(run, command, status, message):
    """A command that cannot be run ends as it would in a shell, with a message."""
    ended = run(*command)

    assert (ended.stdout, ended.returncode) == ("", status)
    assert message in ended.stderr


@pytest.mark.parametrize("options", [["--slowest", "-1"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_wrong_options(run, options):
    """A wrong option names what would be right."""
    ended = run(PYTHON, "-c", "", options=options)

    assert ended.returncode == 2
    assert "is needed" in ended.stderr


def test_no_collector_to_wait_for(run):
    """With the variables of a collector that is not there, an application ends as soon as ever."""
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "otlp"}
    took = []
    for variables in ({}, nowhere):
        began = time.monotonic()
        ended = run(PYTHON, "-c", f"{CLIENT}\norders.find_one()\nclient.close()", **variables)
        took.append(time.monotonic() - began)

        assert ended.returncode == 0
        assert ended.stderr.startswith("\nTraces\n")
    # Exporters would go on trying for more than ten seconds.
    assert took[1] < took[0] + 8
