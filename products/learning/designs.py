"""Which labelled pixels are drawn: designs that depend on place, time and seed only, never on the order or the cutting of the cells."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.devices import Table
from products.errors import RequestError


class StratifiedSpec(Closed):
    """At most `per_class` pixels of each class: one number, or one for each class."""

    per_class: int | dict[str, int] = 20_000

    @field_validator("per_class")
    @classmethod
    def _some(cls, value: int | dict[str, int]) -> int | dict[str, int]:
        for count in value.values() if isinstance(value, dict) else (value,):
            if count < 1:
                raise RequestError(f"expected at least one pixel of each class in per_class, got {count}")
        return value


class BalancedSpec(Closed):
    """As many pixels of each class as the rarest has, at most `per_class`."""

    per_class: int = Field(ge=1, default=20_000)


class CountSpec(Closed):
    """`n` pixels of all classes together."""

    n: int = Field(ge=1)


class SystematicSpec(Closed):
    """The labelled pixels on a lattice of every `step_px`-th row and column of the grid, its offset by the seed."""

    step_px: int = Field(ge=1, le=100_000)


class DesignSpec(Closed):
    """At most one design; stratified if none is given.

    `random` draws each labelled pixel with the same chance; `proportional` draws of each class its share of all labelled pixels, without chance in the shares.
    """

    stratified: StratifiedSpec | None = None
    balanced: BalancedSpec | None = None
    proportional: CountSpec | None = None
    random: CountSpec | None = None
    systematic: SystematicSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> "DesignSpec":
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise RequestError(f"expected one design, got {' and '.join(given)}")
        return self

    @property
    def strata(self) -> StratifiedSpec | None:
        """The stratified design that this is, also by default."""
        others = (self.balanced, self.proportional, self.random, self.systematic)
        return self.stratified or (StratifiedSpec() if all(each is None for each in others) else None)

    def check(self, classes: Sequence[str]) -> None:
        """RequestError unless `per_class` names the classes of the recipe, each."""
        counts = self.strata.per_class if self.strata else None
        if isinstance(counts, dict) and set(counts) != set(classes):
            raise RequestError(
                f"per_class names {', '.join(sorted(counts))}: expected each class once, {', '.join(classes)}"
            )

    def most_per_class(self, classes: Sequence[str]) -> dict[int, int]:
        """How many pixels of each class code can be drawn at most; no entry where there is no bound."""
        codes = range(1, len(classes) + 1)
        if self.strata:
            counts = self.strata.per_class
            return {code: counts[classes[code - 1]] if isinstance(counts, dict) else counts for code in codes}
        if self.balanced:
            return dict.fromkeys(codes, self.balanced.per_class)
        bound = self.proportional or self.random
        return dict.fromkeys(codes, bound.n) if bound else {}


def shortlist(table: Table, design: DesignSpec, classes: Sequence[str]) -> Table:
    """The rows of lowest priority of each class that may still be drawn, whatever other cells hold."""
    bounds = design.most_per_class(classes)
    return _lowest(table, bounds) if bounds else table


def draw(table: Table, available: Mapping[int, int], design: DesignSpec, classes: Sequence[str]) -> Table:
    """The rows that the design draws of a shortlist of all cells; `available` counts the pixels of each class code that it is a shortlist of."""
    if design.balanced:
        counts = [available.get(code, 0) for code in range(1, len(classes) + 1)]
        return _lowest(table, dict.fromkeys(range(1, len(classes) + 1), min([*counts, design.balanced.per_class])))
    if design.proportional:
        return _lowest(table, _shares(available, design.proportional.n))
    if design.random:
        return table.sort_values(ORDER).head(design.random.n)
    return shortlist(table, design, classes)


ORDER = ["priority", "start", "y", "x"]


def on_lattice(rows: np.ndarray, columns: np.ndarray, step_px: int, seed: int) -> np.ndarray:
    """Whether global pixel rows and columns of the grid lie on a lattice, (n,) bool."""
    row, column = np.random.default_rng(seed).integers(0, step_px, 2)
    return (rows % step_px == row) & (columns % step_px == column)


def _lowest(table: Table, counts: Mapping[int, int]) -> Table:
    """The `counts[code]` rows of each code that come first by priority."""
    ordered = table.sort_values(ORDER)
    rank = ordered.groupby("code", sort=False).cumcount()
    return ordered[rank < ordered["code"].map(pd.Series(dict(counts), dtype="int64")).fillna(0)]


def _shares(available: Mapping[int, int], n: int) -> dict[int, int]:
    """Each code's share of `n` by largest remainders; all there is where that is less."""
    total = sum(available.values())
    if total <= n:
        return dict(available)
    exact = {code: n * count / total for code, count in available.items()}
    found = {code: int(share) for code, share in exact.items()}
    for code in sorted(exact, key=lambda c: (found[c] - exact[c], c))[: n - sum(found.values())]:
        found[code] += 1
    return found
