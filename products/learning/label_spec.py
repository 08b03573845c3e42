"""What a recipe of samples says of each source of labels, and of a table of values measured on the ground."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.learning.label_codes import LabelValue, label_codes, one_meaning
from products.period import Duration


class LabelsSpec(Closed):
    """One source of labels, a vector file, a table with coordinates, COCO annotations or a raster.

    `values` says which of its values mean a class (default: the name of the class in a vector file, its code 1, 2, … in a raster), `ignore` which mean none;
    `class` gives every shape, or every raster value of at least `min_value`, that class. Of a pixel, `min_label_fraction` must be of one class, and no
    other class may lie within `edge_px` pixels of it; patches below `min_mapping_unit_m2` count for nothing. `epoch` is the year that the labels show:
    outside it only what all rasters of `stable_across` agree on is taken.
    """

    file: str | None = None
    dataset: str = ""
    dataset_version: str = ""
    epoch: int | None = Field(ge=1900, le=2200, default=None)
    stable_across: tuple[str, ...] = ()
    class_field: str = "class"
    class_name: str | None = Field(alias="class", default=None)
    min_value: float | None = None
    values: dict[str, tuple[LabelValue, ...]] = Field(default={})
    ignore: tuple[LabelValue, ...] = ()
    min_label_fraction: float = Field(gt=0.5, le=1.0, default=0.75)
    edge_px: int = Field(ge=0, le=50, default=1)
    min_mapping_unit_m2: float = Field(ge=0, default=0.0)
    x: str | None = None
    y: str | None = None
    crs: str | None = None
    image: str | None = None

    @field_validator("dataset_version", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:  # noqa: ANN401
        return str(value) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _one_meaning(self) -> "LabelsSpec":
        one_meaning(self.values, self.ignore)
        if self.class_name is not None and self.values:
            raise RequestError("`class` gives all labels of a source one class: leave `values` out")
        if self.min_value is not None and self.class_name is None:
            raise RequestError("`min_value` needs `class`: the class of raster values that reach it")
        return self

    def check(self, classes: Sequence[str]) -> None:
        """RequestError for a class that the recipe does not have."""
        for name in (*self.values, *((self.class_name,) if self.class_name else ())):
            if name not in classes:
                raise RequestError(f"labels name the class {name!r}: expected one of {', '.join(classes)}")

    def codes(self, classes: Sequence[str], by_number: bool) -> dict[LabelValue, int]:
        """Label value -> class code 1, 2, …, and 0 for ignored ones; unnamed classes go by their code in a raster, by their name elsewhere."""
        if self.class_name is not None:
            return dict.fromkeys(self.ignore, 0)
        by_default: list[tuple[LabelValue, ...]] = [(name,) for name in classes]
        if by_number:
            by_default = [() if self.values else (code,) for code in range(1, len(classes) + 1)]
        return label_codes(classes, self.values, self.ignore, by_default)

    def one_code(self, classes: Sequence[str]) -> int | None:
        """The code of `class`, if it is given."""
        return None if self.class_name is None else list(classes).index(self.class_name) + 1


class MatchSpec(Closed):
    """A table of values measured on the ground, each with a place and a time, and which pixel it is matched to.

    Of the passes, steps or periods that see the place clear, at most `within` before or after the time, the nearest in time is taken.
    """

    file: str | None = None
    values: tuple[str, ...] = Field(min_length=1)
    time: str
    within: str
    x: str | None = None
    y: str | None = None
    crs: str | None = None
    keep: tuple[str, ...] = ()

    @field_validator("within")
    @classmethod
    def _days(cls, text: str) -> str:
        if Duration.parse(text).unit not in "DW":
            raise RequestError(f"expected `within` in days or weeks, such as P1D, got {text!r}")
        return text

    @property
    def within_days(self) -> int:
        """The window to either side, days."""
        window = Duration.parse(self.within)
        return window.count * (7 if window.unit == "W" else 1)
