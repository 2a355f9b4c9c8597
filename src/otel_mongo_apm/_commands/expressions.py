"""Aggregation expressions: where "$field" is a path and where it is a value.

Source: MongoDB's manual, "Aggregation Operators".
"""

from __future__ import annotations

from .positions import SORT, Position, inclusion_or_path, path

# Operators and accumulators all of whose arguments are expressions.
_OPERATORS = """
$abs $acos $acosh $add $addToSet $allElementsTrue $and $anyElementTrue $arrayElemAt $arrayToObject
$asin $asinh $atan $atan2 $atanh $avg $binarySize $bitAnd $bitNot $bitOr $bitXor $bsonSize $ceil
$cmp $concat $concatArrays $cond $convert $cos $cosh $covariancePop $covarianceSamp $dateAdd
$dateDiff $dateFromParts $dateFromString $dateSubtract $dateToParts $dateToString $dateTrunc
$dayOfMonth $dayOfWeek $dayOfYear $degreesToRadians $divide $eq $exp $first $firstN $floor $gt $gte
$hour $ifNull $in $indexOfArray $indexOfBytes $indexOfCP $isArray $isNumber $isoDayOfWeek $isoWeek
$isoWeekYear $last $lastN $let $linearFill $ln $locf $log $log10 $lt $lte $ltrim $max $maxN
$mergeObjects $millisecond $min $minN $minute $mod $month $multiply $ne $not $objectToArray $or $pow
$push $radiansToDegrees $range $regexFind $regexFindAll $regexMatch $replaceAll $replaceOne
$reverseArray $round $rtrim $second $setDifference $setEquals $setIntersection $setIsSubset
$setUnion $sin $sinh $size $slice $split $sqrt $stdDevPop $stdDevSamp $strLenBytes $strLenCP
$strcasecmp $substr $substrBytes $substrCP $subtract $sum $switch $tan $tanh $toBool $toDate
$toDecimal $toDouble $toHashedIndexKey $toInt $toLong $toLower $toObjectId $toString $toUpper
$toUUID $trim $trunc $tsIncrement $tsSecond $type $week $year $zip
"""

EXPRESSION = Position(path, names_fields=True)
EXPRESSION.others = EXPRESSION.items = EXPRESSION

# Operators of which only these arguments are expressions. The others are values: the body of a
# `$function`, the name of a `$map`'s variable, the content of a `$literal`.
_EXPRESSIONS_IN = {
    "$accumulator": ("initArgs", "accumulateArgs"),
    "$bottom": ("output",),
    "$bottomN": ("n", "output"),
    "$derivative": ("input",),
    "$expMovingAvg": ("input",),
    "$filter": ("input", "cond", "limit"),
    "$function": ("args",),
    "$getField": ("input",),
    "$integral": ("input",),
    "$map": ("input", "in"),
    "$median": ("input",),
    "$percentile": ("input",),
    "$reduce": ("input", "initialValue", "in"),
    "$setField": ("input", "value"),
    "$shift": ("output",),
    "$sortArray": ("input",),
    "$top": ("output",),
    "$topN": ("n", "output"),
    "$unsetField": ("input",),
}
_SORTS_IN = {
    "$bottom": "sortBy",
    "$bottomN": "sortBy",
    "$sortArray": "sortBy",
    "$top": "sortBy",
    "$topN": "sortBy",
}

OPERATORS = {
    **dict.fromkeys(_OPERATORS.split(), EXPRESSION),
    **{
        operator: Position(
            fields={
                **dict.fromkeys(arguments, EXPRESSION),
                **({_SORTS_IN[operator]: SORT} if operator in _SORTS_IN else {}),
            }
        )
        for operator, arguments in _EXPRESSIONS_IN.items()
    },
}
EXPRESSION.fields.update(OPERATORS)

# A document whose values are expressions.
EXPRESSIONS = Position(others=EXPRESSION)

# The accumulators of a `$group` and similar stages: always an operator, never a path alone.
ACCUMULATED = Position(fields=OPERATORS)
ACCUMULATIONS = Position(others=ACCUMULATED)

_PROJECTED = Position(inclusion_or_path, fields=OPERATORS, items=EXPRESSION, names_fields=True)
_PROJECTED.others = _PROJECTED
PROJECTION = Position(fields=OPERATORS, others=_PROJECTED)

# A query contains only values, except in an `$expr` at its top level.
QUERY = Position(fields={"$expr": EXPRESSION})
QUERY.fields.update(dict.fromkeys(("$and", "$or", "$nor"), Position(items=QUERY)))
