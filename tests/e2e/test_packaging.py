"""The wheel and the sdist: what is in them, and that they do where there is little else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

pytest.importorskip("build")
pytest.importorskip("twine")
pytest.importorskip("hatchling")
pytest.importorskip("hatch_fancy_pypi_readme")
markdown = pytest.importorskip("readme_renderer.markdown")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
API = ROOT / "tests" / "typing" / "api.py"
SOURCES = {str(path.relative_to(ROOT / "src")) for path in ROOT.glob("src/**/*.py")}

# What is imported anyway: what the package stands on, and how it learns PyMongo's version.
DEPENDENCIES = """
import importlib.metadata
import opentelemetry._logs, opentelemetry.metrics, opentelemetry.trace
import opentelemetry.instrumentation.instrumentor
importlib.metadata.version("pymongo")
"""
WITHOUT_SDK = """
import sys
from pymongo import MongoClient
from otel_mongo_apm import MongoInstrumentor, event_listeners, instrument_client

early = MongoClient(connect=False)
instrument_client(early, query_text="off")
MongoInstrumentor().instrument()
client = MongoClient(connect=False)
print(len(client.options.event_listeners), len(event_listeners()))
print("opentelemetry.sdk" in sys.modules)
MongoInstrumentor().uninstrument()
"""


def run(*command, **keywords):
    """Run a command as if nothing was set, and nothing of this directory could be imported."""
    mine = ("PYTHON", "OTEL_", "VIRTUAL_ENV")
    process = subprocess.run(
        [str(part) for part in command],
        env={k: v for k, v in os.environ.items() if not k.startswith(mine)},
        capture_output=True,
        encoding="utf-8",
        check=False,
        **keywords,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process


def build(source, directory, *formats):
    run(sys.executable, "-m", "build", "--no-isolation", *formats, "--outdir", directory, source)
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel: those that are in $DIST, or else both built of the sources."""
    if directory := os.environ.get("DIST"):
        found = list((ROOT / directory).iterdir())
    else:
        found = build(ROOT, tmp_path_factory.mktemp("dist"), "--sdist", "--wheel")
    sdist, wheel = sorted(found, key=lambda path: path.suffix == ".whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def sdist(built):
    return built[0]


@pytest.fixture(scope="module")
def wheel(built):
    return built[1]


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an environment where the wheel is installed, with PyMongo and no more."""
    return python_with(tmp_path_factory.mktemp("environment"), wheel, "pymongo")


@pytest.fixture(scope="module")
def python_with_motor(wheel, tmp_path_factory):
    """The Python of an environment where Motor is installed, too, and brings PyMongo."""
    return python_with(tmp_path_factory.mktemp("motor"), wheel, "motor")


def python_with(environment, *packages):
    """Make an environment and install packages there."""
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *packages)
    return python


def contents(wheel):
    """Each file in a wheel, by its name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel):
    (text,) = (text for name, text in contents(wheel).items() if name.endswith("/METADATA"))
    return message_from_bytes(text)


def test_twine(built):
    """PyPI would take both, and show the README."""
    assert run(sys.executable, "-m", "twine", "check", "--strict", *built).stdout.count(
        "PASSED"
    ) == len(built)


def test_wheel(wheel):
    """The wheel has the sources, the types' marker, the license, and nothing else."""
    files = contents(wheel).keys()
    (information,) = {name.partition("/")[0] for name in files if ".dist-info/" in name}
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")

    assert set(files) == {
        *SOURCES,
        "otel_mongo_apm/py.typed",
        *(f"{information}/{name}" for name in about),
    }


def test_sdist(sdist):
    """The sdist has what is needed to build, and no tests."""
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    beside = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}

    assert files == {"src/otel_mongo_apm/py.typed", *(f"src/{name}" for name in SOURCES), *beside}


def test_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    """A wheel that is built from the sdist is the wheel, byte for byte."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    (rebuilt,) = build(unpacked, tmp_path / "dist", "--wheel")

    assert contents(rebuilt) == contents(wheel)


def test_metadata(wheel):
    """The metadata says what it is, under which license, and what it needs at run time."""
    about = metadata(wheel)

    assert about["Name"] == "otel-mongo-apm"
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.10"
    assert {re.split(r"[<>=;\s]", text)[0] for text in about.get_all("Requires-Dist")} == {
        "opentelemetry-api",
        "opentelemetry-instrumentation",
        "opentelemetry-sdk",
        "opentelemetry-semantic-conventions",
        "pymongo",
        "rich",
    }
    (driver,) = (text for text in about.get_all("Requires-Dist") if text.startswith("pymongo"))
    assert driver.endswith("extra == 'instruments'")
    assert about.get_payload().startswith("# otel-mongo-apm\n")


# What the release workflow replaces.
HOME = "https://otel-mongo-apm.example"


def test_readme(wheel):
    """The README that PyPI shows is all of ours, and renders; what it leads to is there."""
    shown = metadata(wheel).get_payload()
    html = markdown.render(shown)
    targets = re.findall(r'(?:href|src)="(?!#)([^"]+)"', html)
    ours = [target.removeprefix(HOME) for target in targets if target.startswith(HOME)]

    assert html
    assert len(shown.splitlines()) == len((ROOT / "README.md").read_text("utf-8").splitlines())
    assert all(re.match("https?://", target) for target in targets)
    assert any(target.startswith("/raw/docs/images/") for target in ours)
    assert any(target.startswith("/blob/docs/") for target in ours)
    for target in ours:
        _, _, path = target.partition("#")[0].lstrip("/").partition("/")
        assert (ROOT / path).is_file(), target


def test_urls(wheel):
    """PyPI links to the sources, the documentation, the changelog and where to report faults."""
    urls = dict(text.split(", ") for text in metadata(wheel).get_all("Project-URL"))

    assert urls.keys() == {"Source", "Documentation", "Changelog", "Issues"}


def test_without_an_sdk(python):
    """In an environment with PyMongo alone, clients are instrumented, and nobody complains."""
    installed = json.loads(run(python, "-m", "pip", "list", "--format", "json").stdout)
    names = {each["name"].lower() for each in installed}
    process = run(python, "-c", WITHOUT_SDK)

    assert "otel-mongo-apm" in names
    assert {name for name in names if "opentelemetry" in name} == {
        "opentelemetry-api",
        "opentelemetry-instrumentation",
        "opentelemetry-semantic-conventions",
    }
    assert (process.stdout, process.stderr) == ("3 3\nFalse\n", "")
    run(python, "-m", "pip", "check")


def test_command(python):
    """The command is there by its name, and finds nothing wrong."""
    told = run(python.with_name("otel-mongo-apm")).stdout

    assert re.search(r"^  opentelemetry-sdk +- +not installed$", told, re.MULTILINE)
    assert "opentelemetry-instrument loads it" in told
    assert told.endswith("Problems\n  none\n")


def test_run_without_its_extra(python):
    """`otel-mongo-apm run` says what it lacks, and how to get it; it runs nothing."""
    command = [python.with_name("otel-mongo-apm"), "run", "--", "echo", "ran"]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)

    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == (
        "otel-mongo-apm run needs rich and opentelemetry-sdk."
        " Run: pip install 'otel-mongo-apm[view]'\n"
    )


def test_zero_code(python):
    """`opentelemetry-instrument` finds the package and instruments."""
    program = (
        "from otel_mongo_apm import MongoInstrumentor;"
        "print(MongoInstrumentor().is_instrumented_by_opentelemetry)"
    )
    process = run(python.with_name("opentelemetry-instrument"), python, "-c", program)

    assert (process.stdout, process.stderr) == ("True\n", "")


def imported(python, program):
    """The modules that a program imports, and how long each took by itself, in seconds."""
    told = run(python, "-X", "importtime", "-c", program).stderr
    rows = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", told, re.MULTILINE)
    return {name: int(microseconds) / 1e6 for microseconds, name in rows}


def own(python, program):
    """The same, without what the dependencies import."""
    dependencies = imported(python, DEPENDENCIES)
    return {k: v for k, v in imported(python, program).items() if k not in dependencies}


@pytest.mark.alone
@pytest.mark.parametrize(
    ("program", "bound"),
    [
        ("import otel_mongo_apm", 0.005),
        # Five times of what a slow machine takes, which compiles the dataclass of the settings.
        ("from otel_mongo_apm import MongoInstrumentor", 0.035),
    ],
)
def test_import_time(python, program, bound):
    """To import the package takes less than 5 ms over its dependencies, and imports no others."""
    runs = [own(python, program) for _ in range(7)]

    assert {name.partition(".")[0] for name in runs[0]} == {"otel_mongo_apm"}
    # The quickest run says what it costs; the others, what else the machine was doing.
    assert min(sum(each.values()) for each in runs) < bound


def test_what_is_not_imported(python):
    """To instrument imports no module of the command or the SDK, and none that is known slow."""
    program = f"{DEPENDENCIES}\nfrom otel_mongo_apm import MongoInstrumentor as M; M().instrument()"
    modules = imported(python, program).keys()

    assert "otel_mongo_apm._setup.client" in modules
    assert (
        modules
        & {
            "argparse",
            "statistics",
            "opentelemetry.sdk",
            "otel_mongo_apm._doctor.cli",
            "otel_mongo_apm._doctor.diagnosis",
            "otel_mongo_apm._doctor.memory",
        }
        == set()
    )


@pytest.fixture
def api(tmp_path):
    """The public API as users write it, where there are no sources of ours beside it."""
    return shutil.copy(API, tmp_path)


def test_mypy(python_with_motor, api, tmp_path):
    """mypy finds the types of the installed package, and what it complains of is expected."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file="]

    told = run(*mypy, "--python-executable", python_with_motor, api, cwd=tmp_path).stdout
    assert told == "Success: no issues found in 1 source file\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="pyright needs node")
def test_pyright(python_with_motor, api, tmp_path):
    """So does pyright."""
    pytest.importorskip("pyright")
    settings = {"typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": "error"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")

    pyright = [sys.executable, "-m", "pyright", "--pythonpath", python_with_motor]

    told = run(*pyright, api, cwd=tmp_path).stdout
    assert "0 errors, 0 warnings" in told
