"""The recipe of a model that is learned from a table of samples: its columns, what is left out to test it, and its estimator."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from products.errors import RequestError
from products.scene_recipe import canonical_digest, plain_name

NOT_LEARNED = {"name", "version", "title"}
LabelValue = str | int
Scale = Literal["none", "log", "log_over_median"]


class _Closed(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableSpec(_Closed):
    """The columns: `target` with its `classes` (name -> values), or a positive quantity without; the `features`; and `group`, by default the file of a row.

    `scale` of the features: `log` is ln(max(x, 0.001)); `log_over_median` the same less its median over the rows of the group, which needs no label.
    `formulas` over the columns, name -> arithmetic, are features beside them, as they are.
    """

    target: str
    features: tuple[str, ...] = Field(min_length=1, max_length=1000)
    formulas: dict[str, str] = {}
    classes: dict[str, tuple[LabelValue, ...]] = {}
    group: str = "file"
    scale: Scale = "none"
    max_per_class: int = Field(ge=2, default=20_000)

    @model_validator(mode="after")
    def _one_meaning(self) -> "TableSpec":
        for name in {self.target, self.group} & set(self.features):
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


class WaterSpec(_Closed):
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


class TableRecipe(_Closed):
    """An estimator learned from a table, and tested on what it never saw: one group or one row at a time."""

    name: str
    version: int = Field(ge=1)
    kind: Literal["model"]
    title: str = ""
    table: TableSpec
    leave_out: Literal["group", "row"] = "group"
    estimator: Literal["random_forest", "linear"] = "random_forest"
    water: WaterSpec | None = None
    baseline: str | None = None
    coverage: float = Field(gt=0.5, lt=1, default=0.9)
    seed: int = Field(ge=0, lt=2**32, default=0)

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        return plain_name(name)

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
