"""The recipe of a training set: which cells are sampled, under which labels, by which design, and how it is cleaned."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.learning.designs import DesignSpec
from products.learning.from_features import FromFeatures
from products.learning.label_spec import LabelsSpec, MatchSpec
from products.learning.recipe import YearOrPeriod, named_once
from products.recipe_fields import PlainName, Seed, Version
from products.scene_recipe import canonical_digest

NOT_SAMPLES = {"name", "version", "title", "area", "period", "features_file"}


class OutliersSpec(Closed):
    """Pixels that are unlike those of their class, found in the standardised features: nothing is learned from them, and models are tested with them.

    `isolation_forest` (Liu et al. 2008) and `local_outlier_factor` (Breunig et al. 2000, 20 neighbours) find the share `drop` of each class that lies
    where its density is least. `som` maps all classes on a self-organizing map of `side` x `side` neurons and finds pixels in neurons of which their own
    class has less than `min_share` (Santos et al. 2021, ISPRS 177, 75-88, whose conditional probability and threshold of 0.6 these are).
    """

    method: Literal["isolation_forest", "local_outlier_factor", "som"]
    drop: float = Field(gt=0, le=0.5, default=0.02)
    side: int = Field(ge=2, le=50, default=8)
    min_share: float = Field(gt=0, lt=1, default=0.6)


class CleanSpec(Closed):
    """What becomes of pixels with contradicting labels, and of outliers; a pixel that is labelled twice alike counts once."""

    contradicting: Literal["drop", "error"] = "drop"
    outliers: OutliersSpec | None = None


class ChipsSpec(Closed):
    """Squares of `size_px` pixels: every `stride_px` (default: side by side), or `around` labels: one whose centre is each drawn pixel.

    A chip with less than `min_labelled` of its pixels labelled is left out.
    """

    size_px: int = Field(ge=3, le=1024)
    stride_px: int | None = Field(ge=1, le=1024, default=None)
    around_labels: bool = False
    min_labelled: float = Field(ge=0, le=1, default=0.01)

    @model_validator(mode="after")
    def _one_way(self) -> "ChipsSpec":
        if self.around_labels and self.stride_px is not None:
            raise RequestError("chips lie around_labels or every stride_px: expected one of them")
        return self

    @property
    def step_px(self) -> int:
        """Pixels from one chip to the next."""
        return self.stride_px or self.size_px


class SamplesRecipe(FromFeatures):
    """`kind: samples`: an immutable training set from published cells, of pixels or of chips."""

    name: PlainName
    version: Version
    kind: Literal["samples"]
    title: str = ""
    area: str | None = None
    period: YearOrPeriod = None
    classes: tuple[str, ...] = Field(max_length=254, default=())
    labels: tuple[LabelsSpec, ...] = ()
    matches: MatchSpec | None = None
    design: DesignSpec = DesignSpec()
    clean: CleanSpec = CleanSpec()
    chips: ChipsSpec | None = None
    seed: Seed = 0

    @field_validator("labels", mode="before")
    @classmethod
    def _one_source(cls, value: Any) -> Any:  # noqa: ANN401
        return (value,) if isinstance(value, dict) else value

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(classes)

    @model_validator(mode="after")
    def _possible(self) -> "SamplesRecipe":
        if bool(self.labels) == (self.matches is not None):
            raise RequestError(
                "expected `labels` of classes, or `matches`, a table of values with their times: one of the two"
            )
        if self.matches is not None:
            self._refuse_beside_matches()
        elif len(self.classes) < 2:
            raise RequestError(f"expected at least two classes to tell apart, got {', '.join(self.classes) or 'none'}")
        if self.chips is not None:
            self._refuse_beside_chips(self.chips)
        for source in self.labels:
            source.check(self.classes)
        self.design.check(self.classes)
        return self

    def _refuse_beside_matches(self) -> None:
        if self.classes or self.chips is not None:
            raise RequestError("`matches` gives numbers at places: leave `classes` and `chips` out")
        if self.clean.outliers is not None or self.design != DesignSpec():
            raise RequestError("every row of `matches` is taken: leave `design` and `clean.outliers` out")

    def _refuse_beside_chips(self, chips: ChipsSpec) -> None:
        if self.clean.outliers is not None:
            raise RequestError("outliers are told of pixels: leave `clean.outliers` out beside `chips`")
        if not chips.around_labels and self.design != DesignSpec():
            raise RequestError(
                "chips every stride_px take all ground that is labelled: leave `design` out, or set around_labels"
            )

    def digest(self) -> str:
        """SHA-256 of what decides the set but its data, which cell ids and the digests of labels tell."""
        document = self.model_dump(mode="json", exclude_defaults=True, exclude=NOT_SAMPLES, by_alias=True)
        for source in document.get("labels", ()):
            for place in ("file", "image", "stable_across"):
                source.pop(place, None)
        document.get("matches", {}).pop("file", None)
        return canonical_digest(document)
