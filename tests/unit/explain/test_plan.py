"""Plans: what a server's answer to `explain` comes to, in the forms that it has."""

from __future__ import annotations

import json

import pytest
from bson.max_key import MaxKey

from otel_mongo_apm._explain.plan import MAX_LENGTH, plan_attributes

CANARY = "alice@example.com"
IXSCAN = {
    "stage": "IXSCAN",
    "keyPattern": {"customer": 1, "total": -1.0},
    "indexName": "customer_1_total_-1",
    "indexBounds": {"customer": [f'["{CANARY}", "{CANARY}"]']},
    "filter": {"name": {"$eq": CANARY}},
}
COLLSCAN = {"stage": "COLLSCAN", "filter": {"name": {"$eq": CANARY}}, "direction": "forward"}


def planner(plan, rejected=()):
    return {"queryPlanner": {"winningPlan": plan, "rejectedPlans": [*rejected]}}


def attributes(summary, stages, *, sorts=False, rejected=0, **more):
    return {
        "mongodb.query.plan.summary": summary,
        "mongodb.query.plan.stages": stages,
        "mongodb.query.plan.has_sort_stage": sorts,
        "mongodb.query.plan.rejected": rejected,
        **more,
    }


INDEX = "IXSCAN { customer: 1, total: -1 }"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (planner(COLLSCAN), attributes("COLLSCAN", "COLLSCAN")),
        (planner({"stage": "EOF"}), attributes("EOF", "EOF")),
        (
            planner({"stage": "SORT", "inputStage": COLLSCAN}, rejected=[COLLSCAN, IXSCAN]),
            attributes("COLLSCAN", "SORT > COLLSCAN", sorts=True, rejected=2),
        ),
        (
            planner({"stage": "FETCH", "inputStage": IXSCAN}),
            attributes(INDEX, "FETCH > IXSCAN"),
        ),
        (
            planner({"stage": "OR", "inputStages": [IXSCAN, {**COLLSCAN}]}),
            attributes(f"{INDEX}, COLLSCAN", "OR > [IXSCAN, COLLSCAN]"),
        ),
        (
            planner({"stage": "COUNT", "inputStage": {**IXSCAN, "stage": "COUNT_SCAN"}}),
            attributes("COUNT_SCAN { customer: 1, total: -1 }", "COUNT > COUNT_SCAN"),
        ),
        (
            planner({"stage": "TEXT", "inputStage": {**IXSCAN, "keyPattern": {"_fts": "text"}}}),
            attributes('IXSCAN { _fts: "text" }', "TEXT > IXSCAN"),
        ),
        (
            planner({"queryPlan": {"stage": "GROUP", "inputStage": COLLSCAN}, "isCached": True}),
            attributes("COLLSCAN", "GROUP > COLLSCAN", **{"mongodb.query.plan.from_cache": True}),
        ),
        (
            {"stages": [{"$cursor": planner(IXSCAN)}, {"$group": {"_id": CANARY}}, {"$sort": {}}]},
            attributes(INDEX, "$sort > $group > IXSCAN", sorts=True),
        ),
        (
            planner({"stage": "SHARD_MERGE", "shards": [{"winningPlan": IXSCAN}] * 2}),
            attributes(INDEX, "[IXSCAN, IXSCAN]"),
        ),
        (
            {
                "shards": {
                    "one": planner(COLLSCAN),
                    "two": {"stages": [{"$cursor": planner(IXSCAN)}]},
                }
            },
            attributes(f"COLLSCAN, {INDEX}", "[COLLSCAN, IXSCAN]"),
        ),
    ],
)
def test_plans(reply, expected):
    """A plan is told by its stages and indexes, without any value of the query."""
    assert plan_attributes(reply) == expected
    assert CANARY not in json.dumps(plan_attributes(reply))


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"queryPlanner": None},
        {"queryPlanner": 4711},
        {"stages": "none"},
        {"stages": [None, {"$cursor": 1}]},
        {"shards": [1]},
    ],
)
def test_what_is_no_plan(reply):
    """A reply that has no plan in it tells nothing."""
    assert plan_attributes(reply) == {}


@pytest.mark.parametrize(
    "plan",
    [
        None,
        {},
        {"stage": MaxKey()},
        {"stage": "us\ud800rs", "keyPattern": {"us\ud800rs": 1}},
        {"stage": "IXSCAN", "keyPattern": {"a": None}},
        {"stage": "OR", "inputStages": [{"stage": "IXSCAN", "keyPattern": {"k" * 90: 1}}] * 1000},
    ],
)
def test_odd_plans(plan):
    """What a server answers may be anything; it is encodable and bounded."""
    for value in plan_attributes(planner(plan)).values():
        if isinstance(value, str):
            assert len(value) <= MAX_LENGTH
            value.encode()


def test_deep_plans():
    """A plan of any depth is told as far as it is bounded."""
    plan = COLLSCAN
    for _ in range(500):
        plan = {"stage": "FETCH", "inputStage": plan}

    assert plan_attributes(planner(plan))["mongodb.query.plan.stages"].startswith("FETCH > FETCH")
