"""Programs that some tests need and that cannot be had everywhere.

Where one is missing a test is skipped. In CI that is a failure, if `.ci/run` could have got it and
has not said in `$CI_WITHOUT` that it did not.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from local_jaeger import JaegerUnavailableError, jaeger_path
from local_prometheus import PrometheusUnavailableError, program_path

if TYPE_CHECKING:
    from collections.abc import Callable


def need_jaeger() -> None:
    """It is built with Go."""
    _need("jaeger", jaeger_path, obtainable=shutil.which("go") is not None)


def need_prometheus() -> None:
    """It is a package of Debian."""
    apt = shutil.which("apt-get") is not None and os.geteuid() == 0
    _need("prometheus", lambda: program_path("prometheus"), obtainable=apt)


def _need(name: str, path: Callable[[], object], *, obtainable: bool) -> None:
    try:
        path()
    except (JaegerUnavailableError, PrometheusUnavailableError) as unavailable:
        is_given_up = name in os.environ.get("CI_WITHOUT", "").split()
        if os.environ.get("CI") and obtainable and not is_given_up:
            raise
        pytest.skip(str(unavailable))
