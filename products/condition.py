"""What a subscription waits for in a pass: a formula or an index above or below a number, told pixel by pixel."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.formula import Formula, evaluate, index_formula, parse_formula

CONDITION = re.compile(r"^\s*(?P<left>[^<>]+?)\s*(?P<sign>[<>])\s*(?P<limit>[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*$")
UNSEEN, NO, YES = 0, 1, 2  # the codes of a condition's map


@dataclass(frozen=True, slots=True)
class Condition:
    """A formula, and the side of a limit on which it holds."""

    formula: Formula
    is_above: bool
    limit: float


def parse_condition(text: str, bands: frozenset[str]) -> Condition:
    """`NDVI < 0.3` or `(green - swir1) / (green + swir1) > 0`, of an index or a formula over some bands; RequestError for anything else."""
    found = CONDITION.match(text)
    try:
        limit = float(found["limit"]) if found else None
    except ValueError:
        limit = None
    if found is None or limit is None:
        raise RequestError(
            f"expected a condition such as 'NDVI < 0.3': an index or a formula, < or >, and a number; got {text[:200]!r}"
        )
    left = found["left"]
    is_index = left.isidentifier() and left not in bands
    formula = index_formula(left, bands) if is_index else parse_formula(left, bands)
    return Condition(formula, found["sign"] == ">", limit)


def condition_codes(
    condition: Condition, bands: Mapping[str, NDArray[Any]], is_clear: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """YES or NO of each pixel (y, x), UNSEEN where it is not clear or the formula has no value."""
    values = evaluate(condition.formula, bands)
    holds = values > condition.limit if condition.is_above else values < condition.limit
    codes = np.where(holds, np.uint8(YES), np.uint8(NO))
    return np.where(is_clear & np.isfinite(values), codes, np.uint8(UNSEEN)).astype(np.uint8)
