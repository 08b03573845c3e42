"""`kind: observations`: every pass with its own date and mask causes."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from products.errors import RequestError
from products.feature_step import checked_bands
from products.identity import LOADING_KERNELS
from products.passes import WITHIN_A_PASS, Pass, merged_passes, passes_of
from products.period import Period
from products.pixel.precision import MANTISSA_BITS
from products.scene import Scene
from products.scene_recipe import SceneRecipe


class ObservationsRecipe(SceneRecipe):
    """`kind: observations`: the harmonised reflectance of every pass, masked pixels included, and why each pixel is not clear."""

    kind: Literal["observations"]
    bands_asked: tuple[str, ...] = Field(alias="bands", min_length=1)
    precision_bits: int | None = Field(ge=4, le=MANTISSA_BITS, default=None)

    kernels: ClassVar[tuple[str, ...]] = (*LOADING_KERNELS, "observe", "overviews")
    keeps_masked: ClassVar[bool] = True
    is_by_pass: ClassVar[bool] = True

    @field_validator("bands_asked")
    @classmethod
    def _known(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        return checked_bands(bands)

    @model_validator(mode="after")
    def _possible(self) -> "ObservationsRecipe":
        for band in self.bands_asked:
            if band not in self.bands():
                raise RequestError(
                    f"not every source has the band {band!r}; bands of all sources: {', '.join(sorted(self.bands()))}"
                )
        for source in self.sources:
            if source.clear.persistent_cloud is not None:
                raise RequestError(
                    "persistent_cloud is told from many passes, a cell of observations holds one: leave it out"
                )
        return self

    @property
    def used_bands(self) -> tuple[str, ...]:
        """The bands in the order of the recipe."""
        return self.bands_asked

    @property
    def n_layers(self) -> int:
        """One for each band."""
        return len(self.bands_asked)

    def periods_in(self, asked: Period) -> tuple[Period, ...]:
        """The time asked for, with any start and end: passes are not cut."""
        return (asked,)

    def searched(self, asked: Period) -> Period:
        """The time in which scenes of the passes that begin in `asked` lie."""
        return Period(asked.start - WITHIN_A_PASS, asked.end + WITHIN_A_PASS)

    def cells_of(self, scenes: Sequence[Scene], periods: Sequence[Period]) -> list[tuple[Period, tuple[Scene, ...]]]:
        """The passes over a tile that begin in the periods, and their scenes."""
        return [(p, members) for p, members in passes_of(scenes) if any(asked.contains(p.start) for asked in periods)]

    def axis_of(self, periods: Sequence[Period], cells: Iterable[Period]) -> tuple[Period, ...]:
        """The passes of the cells, each once."""
        return merged_passes(cell for cell in cells if isinstance(cell, Pass))
