"""Ctrl-C in tests, wherever they are run."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


def test_interrupts():
    """Ctrl-C is an exception."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="No shell starts programs that way there.")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_interrupts_in_the_background(workers):
    """It is also in tests that a shell has started to ignore it, as it does with `make test &`."""
    one = f"{__file__}::{test_interrupts.__name__}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", workers, one]
    run = subprocess.run(
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0
