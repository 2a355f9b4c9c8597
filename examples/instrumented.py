"""Programs run under `opentelemetry-instrument`, and what they print: telemetry and lines.

with InstrumentedProgram(script, environment, print) as program:
    status = program.wait()
print(len(program.printed))
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from otel_mongo_apm._view.exports import Exported, exported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
PATIENCE = 10.0  # Seconds; to say good-bye takes less than one.


def exporters(signal: str, environment: Mapping[str, str]) -> str:
    """Add the console to the exporters that the user has chosen.

    >>> exporters("TRACES", {})
    'console'
    >>> exporters("TRACES", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"})
    'console,otlp'
    >>> exporters("METRICS", {"OTEL_METRICS_EXPORTER": "none"})
    'console'
    """
    default = "otlp" if "OTEL_EXPORTER_OTLP_ENDPOINT" in environment else "none"
    chosen = environment.get(f"OTEL_{signal}_EXPORTER", default).split(",")
    return ",".join(["console", *(name for name in chosen if name not in {"console", "none"})])


def instrumented_environment(
    service: str, uri: str, environment: Mapping[str, str]
) -> dict[str, str]:
    """Have a program print its telemetry, and leave the user's other settings alone."""
    inherited = dict(environment)
    # Unbuffered, what several exporters print at once could be mixed.
    inherited.pop("PYTHONUNBUFFERED", None)
    disabled = [environment.get(DISABLED, ""), "pymongo"]  # Should it be installed, too.
    return {
        "OTEL_SERVICE_NAME": service,
        "OTEL_LOGS_EXPORTER": "none",
        **inherited,
        "MONGODB_URI": uri,
        DISABLED: ",".join(filter(None, disabled)),
        "OTEL_TRACES_EXPORTER": exporters("TRACES", environment),
        "OTEL_METRICS_EXPORTER": exporters("METRICS", environment),
    }


class InstrumentedProgram:
    """One run of a Python program; what it prints is read as it comes.

    Args:
        script: The program.
        environment: Its whole environment.
        said: Called, in a thread, with each line that is not telemetry.
        arguments: Those of its command line.
    """

    def __init__(
        self,
        script: Path,
        environment: Mapping[str, str],
        said: Callable[[str], None],
        arguments: Sequence[str] = (),
    ) -> None:
        self.printed: list[Exported] = []
        self._said = said
        python = Path(sys.executable)
        self._process = subprocess.Popen(
            [python.with_name("opentelemetry-instrument"), python, script, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            # Python 3.11 may mix up what several threads print at once.
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit status."""
        status = self._process.wait(timeout)
        self._reader.join()
        return status

    def stop(self) -> int:
        """Ask it to end, if it has not; return its exit status."""
        self._process.terminate()
        try:
            return self.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self.wait()

    def _read(self) -> None:
        for item in exported(self._process.stdout or ()):
            if isinstance(item, str):
                self._said(item)
            else:
                self.printed.append(item)
