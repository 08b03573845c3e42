"""The recipe of a model that is learned from a table of samples: its columns, what is left out to test it, and its estimator."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.learning.table_estimator import TableEstimator
from products.recipe_fields import PlainName, Seed, Version
from products.scene_recipe import canonical_digest

NOT_LEARNED = {"name", "version", "title"}
LabelValue = str | int
Scale = Literal["none", "log", "log_over_median"]


class TableSpec(Closed):
    """The columns: `target` with its `classes` (name -> values), or a positive quantity without; the `features`; and `group`, by default the file of a row.

    `scale` of the features: `log` is ln(max(x, 0.001)); `log_over_median` the same less its median over the rows of the group, which needs no label.
    `formulas` over the columns, name -> arithmetic, are features beside them, as they are. With `steps` a feature is a series of so many columns,
    NAME_1, NAME_2, …. With `chip_px` the pixels of each file are cut into squares, side by side, and each square is a row of its most frequent class.
    """

    target: str
    features: tuple[str, ...] = Field(min_length=1, max_length=1000)
    formulas: dict[str, str] = Field(default={})
    classes: dict[str, tuple[LabelValue, ...]] = Field(default={})
    group: str = "file"
    scale: Scale = "none"
    steps: int | None = Field(ge=2, le=1000, default=None)
    chip_px: int | None = Field(ge=8, le=1024, default=None)
    max_per_class: int = Field(ge=2, default=20_000)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the features; of series those of the first step, then those of the second, …."""
        if self.steps is None:
            return self.features
        return tuple(f"{name}_{step}" for step in range(1, self.steps + 1) for name in self.features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns, and the formulas beside them."""
        return (*self.columns, *self.formulas)

    @model_validator(mode="after")
    def _one_meaning(self) -> "TableSpec":
        for name in {self.target, self.group} & set(self.columns):
            raise RequestError(
                f"the column {name!r} is a feature and target or group too: a model would read its answer"
            )
        for name in self.features:
            if self.features.count(name) > 1:
                raise RequestError(f"the feature {name!r} stands twice: name each once")
        if len(self.classes) == 1:
            raise RequestError("classes names one class: expected two or more, or none where the target is a quantity")
        said = [value for values in self.classes.values() for value in values]
        for value in said:
            if said.count(value) > 1:
                raise RequestError(f"the value {value!r} stands twice in classes: give it one meaning")
        return self


class WaterSpec(Closed):
    """Where the spectra of a water quality model come from; `insist` takes land surface reflectance all the same."""

    reflectance: Literal["in_situ", "water_leaving", "land_surface"]
    insist: bool = False

    @model_validator(mode="after")
    def _of_water(self) -> "WaterSpec":
        if self.reflectance == "land_surface" and not self.insist:
            raise RequestError(
                "land surface reflectance over water: its correction is made for land, and leaves glint and haze as large as the signal; give spectra "
                "measured on site or water-leaving reflectance, or set insist: true, which the card will tell"
            )
        return self


class TableRecipe(Closed):
    """An estimator learned from a table, and tested on what it never saw: one group or one row at a time."""

    name: PlainName
    version: Version
    kind: Literal["model"]
    title: str = ""
    table: TableSpec
    leave_out: Literal["group", "row"] = "group"
    estimator: TableEstimator = TableEstimator()
    water: WaterSpec | None = None
    baseline: str | None = None
    coverage: float = Field(gt=0.5, lt=1, default=0.9)
    seed: Seed = 0

    @field_validator("estimator", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:  # noqa: ANN401
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_the_table(self) -> "TableRecipe":
        kind, spec = self.estimator.kind, self.table
        if self.estimator.is_network and not spec.classes:
            raise RequestError(f"{kind} tells classes: name them in table.classes, or take random_forest or linear")
        if self.estimator.temporal and (spec.steps is None or spec.formulas):
            raise RequestError(
                f"{kind} learns from series: say in table.steps how many columns each has, without formulas"
            )
        if (self.estimator.chips is None) != (spec.chip_px is None):
            raise RequestError("estimator: {chips: …} and table.chip_px, the side of a chip, need each other")
        if self.estimator.chips and (self.estimator.chips.head == "shares" or spec.steps):
            raise RequestError(
                "chips of a table have one date, and their most frequent class is tried: leave steps and head out"
            )
        return self

    @model_validator(mode="after")
    def _of_a_quantity(self) -> "TableRecipe":
        if self.baseline and self.table.classes:
            raise RequestError(
                "baseline is what a quantity is compared with: leave it out where the target has classes"
            )
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of their codes 1, 2, …; none for a quantity."""
        return tuple(self.table.classes)

    def digest(self) -> str:
        """SHA-256 of what decides the model but its data."""
        return canonical_digest(self.model_dump(mode="json", exclude_defaults=True, exclude=NOT_LEARNED))
