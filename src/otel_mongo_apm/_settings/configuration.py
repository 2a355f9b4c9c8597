"""The settings as a file of OpenTelemetry's declarative configuration has them."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Any

from .environment import warn_once
from .kinds import FLAG, NAMES, Kind
from .settings import KINDS, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Lenient:
    """Keeps what is accepted of the values in a file.

    A file is as a variable: what is wrong in it is ignored, with one warning. To raise would leave
    to chance whether the others count, as whoever has read the file goes on without it.
    """

    def __init__(self, **values: Any) -> None:
        vars(self).update(_accepted(values))


def _accepted(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name not in VARIABLES:
            warn_once(
                f"Ignoring mongo_apm.{name} in the configuration file: accepted are"
                f" {', '.join(VARIABLES)}."
            )
        elif value is not None:
            try:
                yield name, _read(KINDS[name], value)
            except (LookupError, TypeError, ValueError):
                warn_once(
                    f"Ignoring mongo_apm.{name}: {value!r} in the configuration file: accepted are"
                    f" {KINDS[name].accepted}."
                )


def _read(kind: Kind, value: Any) -> Any:
    # YAML takes a word without quotes for a switch: `query_text: off` comes as False.
    if value is False and kind not in {FLAG, *NAMES}:
        value = "off"
    # A text may stand for a number or a switch, as with `metrics: "${METRICS}"`.
    return kind.parse(value) if isinstance(value, str) and kind.parse else kind.check(value)


# Every setting that can be written down; None is as if it was not.
Configuration = make_dataclass(
    "Configuration",
    [(name, Any, None) for name in VARIABLES],
    bases=(_Lenient,),
    init=False,
    repr=False,  # It is made at import, for which each of these would be compiled.
    eq=False,
)
