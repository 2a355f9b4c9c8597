"""Describes the plan in the reply to an `explain`: stages and indexes, but no value of the query.

Source: MongoDB's manual, "Explain Results". The summary has the format of the server's profiler and
slow query log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from otel_mongo_apm._otel.encoding import encodable
from otel_mongo_apm._otel.semconv import (
    PLAN_FROM_CACHE,
    PLAN_HAS_SORT_STAGE,
    PLAN_REJECTED,
    PLAN_STAGES,
    PLAN_SUMMARY,
)

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Attributes

    Document = Mapping[str, Any]

# Characters; a query of a thousand branches has a thousand stages.
MAX_LENGTH = 1024
_DEPTH = 50


def plan_attributes(reply: Document) -> Attributes:
    """Describe the plan that a server has chosen.

    >>> scan = {"stage": "IXSCAN", "keyPattern": {"customer": 1, "total": -1}}
    >>> plan = {"winningPlan": {"stage": "FETCH", "inputStage": scan}, "rejectedPlans": []}
    >>> plan_attributes({"queryPlanner": plan})["mongodb.query.plan.summary"]
    'IXSCAN { customer: 1, total: -1 }'
    """
    planners = list(_planners(reply))
    if not planners:
        return {}
    plans = [each for planner in planners for each in _winning_plans(planner)]
    pipeline = _pipeline_stages(reply)
    stages = " > ".join([*reversed(pipeline), *filter(None, [_joined(map(_stages, plans))])])
    every = [stage for plan in plans for stage in _every(plan, _DEPTH)]
    attributes: Attributes = {
        PLAN_SUMMARY: _bounded(", ".join(dict.fromkeys(_summary(plans)))),
        PLAN_STAGES: _bounded(stages),
        PLAN_HAS_SORT_STAGE: "$sort" in pipeline or any(_name(each) == "SORT" for each in every),
        PLAN_REJECTED: sum(len(_list(planner.get("rejectedPlans"))) for planner in planners),
    }
    cached = [each["isCached"] for each in plans if "isCached" in each]
    if cached:  # Servers before 8.0 do not report it.
        attributes[PLAN_FROM_CACHE] = any(cached)
    return attributes


def _planners(reply: Document) -> Iterator[Document]:
    """Yield each planner's result: in a stage of an aggregation, or for each shard of a cluster."""
    if isinstance(planner := reply.get("queryPlanner"), Mapping):
        yield planner
    for stage in _list(reply.get("stages")):
        if isinstance(cursor := stage.get("$cursor"), Mapping):
            yield from _planners(cursor)
    shards = reply.get("shards")
    for shard in shards.values() if isinstance(shards, Mapping) else ():
        yield from _planners(shard)


def _winning_plans(planner: Document) -> Iterator[Document]:
    plan = planner.get("winningPlan")
    if not isinstance(plan, Mapping):
        return
    shards = _list(plan.get("shards"))
    if not shards:
        yield _classic(plan)
    for shard in shards:
        yield from _winning_plans(shard)


def _classic(plan: Document) -> Document:
    """Return the plan with the classic stages, which a slot-based plan contains as well."""
    inner = plan.get("queryPlan")
    return {**plan, **inner} if isinstance(inner, Mapping) else plan


def _pipeline_stages(reply: Document) -> list[str]:
    """Return the stages of an aggregation that run in the pipeline, first to last."""
    names = [next(iter(stage), "") for stage in _list(reply.get("stages"))]
    return [encodable(str(name)) for name in names if name != "$cursor"]


def _summary(plans: list[Document]) -> Iterator[str]:
    for plan in plans:
        for stage in _every(plan, _DEPTH):
            if not _inputs(stage):
                yield " ".join(filter(None, [_name(stage), _key_pattern(stage.get("keyPattern"))]))


def _key_pattern(pattern: Any) -> str:
    """Return an index's keys in the format of the profiler.

    >>> _key_pattern({"_fts": "text", "_ftsx": 1.0})
    '{ _fts: "text", _ftsx: 1 }'
    """
    if not isinstance(pattern, Mapping):
        return ""
    keys = ", ".join(f"{key}: {_direction(value)}" for key, value in pattern.items())
    return encodable(f"{{ {keys} }}")


def _direction(value: Any) -> str:
    if isinstance(value, str):  # An index without a direction: text, hashed, 2dsphere.
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, int | float) else "?"


def _every(stage: Document, depth: int) -> Iterator[Document]:
    yield stage
    if depth:
        for each in _inputs(stage):
            yield from _every(each, depth - 1)


def _stages(plan: Document, depth: int = _DEPTH) -> str:
    inside = _joined(_stages(each, depth - 1) for each in _inputs(plan)) if depth else ""
    return " > ".join(filter(None, [_name(plan), inside]))


def _joined(branches: Iterator[str]) -> str:
    texts = list(branches)
    return f"[{', '.join(texts)}]" if len(texts) > 1 else "".join(texts)


def _inputs(stage: Document) -> list[Document]:
    """What a stage takes its documents from."""
    single = (stage.get(name) for name in ("inputStage", "outerStage", "innerStage", "thenStage"))
    found = [each for each in single if isinstance(each, Mapping)]
    return [*found, *_list(stage.get("inputStages"))]


def _name(stage: Document) -> str:
    return encodable(str(stage.get("stage", "")))


def _list(value: Any) -> list[Document]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."
