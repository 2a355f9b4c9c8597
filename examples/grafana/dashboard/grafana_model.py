"""Panels, variables and links as Grafana's dashboards have them in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Json = dict[str, Any]

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
GREEN, RED = "green", "red"


def target(expression: str, legend: str = "", **more: Any) -> Json:
    """A query: for each moment of the time shown unless it is `instant`."""
    return {"expr": expression, "legendFormat": legend, "range": True, **more}


def exemplary(expression: str, legend: str = "", **more: Any) -> Json:
    """A query whose exemplars are shown, each with a link to its trace."""
    return target(expression, legend, exemplar=True, **more)


def instant(expression: str, legend: str = "") -> Json:
    """A query for the end of the time shown."""
    return {"expr": expression, "legendFormat": legend, "instant": True}


def stat(title: str, description: str, query: Json, **field: Any) -> Json:
    """A number, or one for each series."""
    options = {
        "colorMode": "background",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    return _panel("stat", title, description, [query], options, field, size=(4, 4))


def time_series(
    title: str,
    description: str,
    *queries: Json,
    limit: float | None = None,
    width: int = 8,
    **field: Any,
) -> Json:
    """Lines, and one at a limit that they should not cross."""
    if limit is not None:
        field |= {"thresholds": red_from(limit), "custom": {"thresholdsStyle": {"mode": "dashed"}}}
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    field = {"min": 0, **field}
    return _panel("timeseries", title, description, queries, options, field, size=(width, 8))


def heat_map(title: str, description: str, expression: str, unit: str, width: int) -> Json:
    """How many measurements there were in each bucket of a histogram."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "exemplars": {"color": "rgba(80, 120, 255, 0.8)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "unit": unit},
    }
    query = exemplary(expression, "{{le}}", format="heatmap")
    return _panel("heatmap", title, description, [query], options, {}, size=(width, 8))


def state_timeline(title: str, description: str, query: Json) -> Json:
    """A bar for each series, for as long as it has a value."""
    options = {
        "mergeValues": True,
        "showValue": "never",
        "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    field = {"color": {"mode": "fixed", "fixedColor": GREEN}}
    return _panel("state-timeline", title, description, [query], options, field, size=(8, 8))


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Sequence[Json],
    options: Json,
    field: Json,
    *,
    size: tuple[int, int],
) -> Json:
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": PROMETHEUS,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": "short", **field}, "overrides": []},
        "options": options,
        "targets": [
            {"refId": letter, "datasource": PROMETHEUS, **query}
            for letter, query in zip("ABCDEFG", queries, strict=False)
        ],
    }


def red_from(limit: float) -> Json:
    """Green below a limit."""
    return _thresholds((GREEN, None), (RED, limit))


def red_below(limit: float) -> Json:
    """Green from a limit on."""
    return _thresholds((RED, None), (GREEN, limit))


def no_limit() -> Json:
    """Any number is as good as another."""
    return _thresholds(("blue", None))


def _thresholds(*steps: tuple[str, float | None]) -> Json:
    named = [{"color": color, "value": value} for color, value in steps]
    return {"mode": "absolute", "steps": named}


def yes_or_no() -> list[Json]:
    """Words for 1 and 0."""
    words = {
        "0": {"text": "no", "color": RED, "index": 0},
        "1": {"text": "yes", "color": GREEN, "index": 1},
    }
    return [{"type": "value", "options": words}]


def with_traces(panel: Json, **search: str) -> Json:
    """Link a panel's series to a search of traces in Jaeger, by the service chosen above."""
    query = {
        "refId": "A",
        "datasource": {"type": "jaeger", "uid": "${traces}"},
        "queryType": "search",
        "service": "${service:raw}",
        **search,
    }
    shown = {"from": "${__from}", "to": "${__to}"}
    pane = {"datasource": "${traces}", "queries": [query], "range": shown}
    url = f"/explore?schemaVersion=1&panes={_quoted(json.dumps({'traces': pane}))}"
    link = {"title": "Traces in Jaeger", "url": url, "targetBlank": True}
    panel["fieldConfig"]["defaults"]["links"] = [link]
    return panel


def _quoted(text: str) -> str:
    """Quote for a URL all but Grafana's variables."""
    parts = re.split(r"(\$\{[^}]*\})", text)
    return "".join(part if part.startswith("${") else quote(part) for part in parts)


def source(name: str, label: str, kind: str) -> Json:
    """A variable for a data source."""
    return {"name": name, "label": label, "type": "datasource", "query": kind, "current": {}}


def labels(name: str, label: str, series: str, key: str, every: str = ".*") -> Json:
    """A variable for the values of a label. By default all; *every* is a pattern for them."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": PROMETHEUS,
        "query": {"query": f"label_values({series}, {key})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": every,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }


def choice(name: str, label: str, *values: str) -> Json:
    """A variable with some values; the first is chosen."""
    options = [{"text": value, "value": value, "selected": value == values[0]} for value in values]
    return {
        "name": name,
        "label": label,
        "type": "custom",
        "query": ",".join(values),
        "options": options,
        "current": options[0],
    }


def laid_out(rows: Iterable[tuple[str, Sequence[Json]]]) -> Iterator[Json]:
    """Number the panels, and give each a place: from left to right, then below."""
    number = top = 0
    for title, panels in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        top, left, height = top + 1, 0, 0
        for panel in panels:
            number += 1
            size = panel["gridPos"]
            if left + size["w"] > COLUMNS:
                left, top = 0, top + height
            yield {"id": number, **panel, "gridPos": {"x": left, "y": top, **size}}
            left, height = left + size["w"], size["h"]
        top += height
