"""Settings from a file of OpenTelemetry's declarative configuration."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Any

from .environment import warn_once
from .kinds import FLAG, NAMES, Kind
from .settings import KINDS, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Lenient:
    """Keeps the valid values of a file.

    Like invalid environment variables, invalid values in a file are ignored with one warning. If
    this raised, the reader of the file would skip all settings of this package.
    """

    def __init__(self, **values: Any) -> None:
        vars(self).update(_accepted(values))


def _accepted(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name not in VARIABLES:
            warn_once(
                f"Ignoring the unknown setting mongo_apm.{name} in the configuration file."
                f" Accepted: {', '.join(VARIABLES)}."
            )
        elif value is not None:
            try:
                yield name, _read(KINDS[name], value)
            except (LookupError, TypeError, ValueError):
                warn_once(
                    f"Ignoring mongo_apm.{name}: {value!r} in the configuration file. Accepted:"
                    f" {KINDS[name].accepted}."
                )


def _read(kind: Kind, value: Any) -> Any:
    # YAML reads an unquoted `off` as a boolean, so `query_text: off` arrives as False.
    if value is False and kind not in {FLAG, *NAMES}:
        value = "off"
    # Numbers and booleans may be written as strings: `metrics: "${METRICS}"`.
    return kind.parse(value) if isinstance(value, str) and kind.parse else kind.check(value)


# Every setting that a file can contain. None means "not set".
Configuration = make_dataclass(
    "Configuration",
    [(name, Any, None) for name in VARIABLES],
    bases=(_Lenient,),
    init=False,
    repr=False,  # The class is created at import, and each of these methods would be compiled then.
    eq=False,
)
