"""Which kind of value each stage of a pipeline takes.

Source: MongoDB's manual, "Aggregation Stages".
"""

from __future__ import annotations

from .expressions import ACCUMULATED, ACCUMULATIONS, EXPRESSION, EXPRESSIONS, PROJECTION, QUERY
from .positions import COLLECTION, FIELD, NUMBER, PATH, SORT, Position, path

# All other stages contain values.
_STAGE = Position(
    fields={
        "$addFields": EXPRESSIONS,
        "$bucket": Position(fields={"groupBy": EXPRESSION, "output": ACCUMULATIONS}),
        "$bucketAuto": Position(fields={"groupBy": EXPRESSION, "output": ACCUMULATIONS}),
        "$geoNear": Position(fields={"query": QUERY}),
        "$graphLookup": Position(
            fields={"startWith": EXPRESSION, "restrictSearchWithMatch": QUERY}
        ),
        "$group": Position(fields={"_id": EXPRESSION}, others=ACCUMULATED),
        "$fill": Position(
            fields={
                "output": Position(others=Position(fields={"value": EXPRESSION})),
                "partitionBy": EXPRESSION,
                "sortBy": SORT,
            }
        ),
        "$limit": NUMBER,
        "$match": QUERY,
        "$project": PROJECTION,
        "$redact": EXPRESSION,
        "$replaceRoot": Position(fields={"newRoot": EXPRESSION}),
        "$replaceWith": EXPRESSION,
        "$set": EXPRESSIONS,
        "$setWindowFields": Position(
            fields={"output": ACCUMULATIONS, "partitionBy": EXPRESSION, "sortBy": SORT}
        ),
        "$skip": NUMBER,
        "$sort": SORT,
        "$sortByCount": EXPRESSION,
        "$unwind": Position(path, fields={"path": PATH}, names_fields=True),
    }
)
PIPELINE = Position(items=_STAGE)

# Stages that contain pipelines.
_STAGE.fields |= {
    "$facet": Position(others=PIPELINE),
    "$lookup": Position(
        fields={
            "as": FIELD,
            "foreignField": FIELD,
            "from": COLLECTION,
            "let": EXPRESSIONS,
            "localField": FIELD,
            "pipeline": PIPELINE,
        }
    ),
    "$merge": Position(fields={"let": EXPRESSIONS, "whenMatched": PIPELINE}),
    "$unionWith": Position(fields={"pipeline": PIPELINE}),
}

# A list is a pipeline. A document contains values: there, "$field" is a string.
UPDATE = PIPELINE
