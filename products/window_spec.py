"""Features of a pixel's surroundings: texture of another feature, terrain from an elevation model, distance to a mask."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.feature_step import NamedStep, Step, checked_name
from products.formula import near
from products.window.distance import halo_px as distance_halo_px
from products.window.terrain import FACING, FROM_GRADIENT
from products.window.terrain import MEASURES as TERRAIN_MEASURES
from products.window.terrain import halo_px as terrain_halo_px
from products.window.texture import MAX_LEVELS, MAX_WINDOW_PX
from products.window.texture import MEASURES as TEXTURE_MEASURES

GAP_PX = 2  # pixels: so narrow a gap between files is taken for covered
Resampling = Literal["nearest", "bilinear", "cubic", "average"]


@dataclass(frozen=True, slots=True)
class RasterInput:
    """A band of a source product that is not scenes, on the pixels of the recipe."""

    product: str
    band: str
    resampling: Resampling


class WindowStep(Step):
    """A feature that needs pixels around the tile."""

    def margin_px(self, resolution_m: float) -> int:
        """How far beyond the tile it looks."""
        raise TypeError(f"{type(self).__name__} does not say how far it looks")

    def raster(self) -> RasterInput | None:
        """The raster that it reads; none for a feature of other features."""
        return None

    def of_lengths(self) -> tuple[str, ...]:
        """Its layers that take a metre of the grid for one of the ground."""
        return ()

    def of_north(self) -> tuple[str, ...]:
        """Its layers that take the grid's up for north."""
        return ()


class TextureOf(Closed):
    """What the texture is of: an index reduced over time, or another `feature` of the recipe."""

    index: str | None = None
    reduce: str = "p50"
    feature: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "TextureOf":
        if bool(self.index) == bool(self.feature):
            raise RequestError("texture needs of: {index: NDVI, reduce: p50} or of: {feature: NAME}, and not both")
        return self

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self.feature or f"{str(self.index).lower()}_{self.reduce}"


class TextureStep(NamedStep, WindowStep):
    """Grey-level co-occurrence measures (Haralick et al. 1973, IEEE Trans. SMC 3, 610-621) in a square window."""

    of: TextureOf
    window_px: int = Field(ge=3, le=MAX_WINDOW_PX, default=7)
    measures: tuple[str, ...] = Field(min_length=1)
    range: tuple[float, float] = (-1.0, 1.0)
    levels: int = Field(ge=2, le=MAX_LEVELS, default=32)

    @model_validator(mode="after")
    def _sound(self) -> "TextureStep":
        checked_measures("texture", self.measures, tuple(TEXTURE_MEASURES))
        if self.window_px % 2 == 0:
            raise RequestError(f"expected an odd window_px, got {self.window_px}")
        if not self.range[0] < self.range[1]:
            raise RequestError(f"expected range: [lowest, highest], got {list(self.range)}")
        return self

    def names(self) -> tuple[str, ...]:
        """`ndvi_p50_contrast_7`, …"""
        return tuple(self.named(f"{self.of.layer}_{measure}_{self.window_px}") for measure in self.measures)

    def margin_px(self, resolution_m: float) -> int:
        """Half of the window."""
        return self.window_px // 2


class TerrainStep(NamedStep, WindowStep):
    """Shape of the ground from an elevation model (`source`: a product with a band in metres)."""

    source: str = "copernicus_dem_glo30"
    band: str = "elevation"
    measures: tuple[str, ...] = Field(min_length=1)
    window_px: int = Field(ge=3, le=201, default=11)

    @model_validator(mode="after")
    def _sound(self) -> "TerrainStep":
        checked_measures("terrain", self.measures, ("elevation", *TERRAIN_MEASURES))
        if self.window_px % 2 == 0:
            raise RequestError(f"expected an odd window_px, got {self.window_px}")
        return self

    def names(self) -> tuple[str, ...]:
        """`slope`, …, `position_11`."""
        return tuple(
            self.named(f"{measure}_{self.window_px}" if measure == "position" else measure) for measure in self.measures
        )

    def margin_px(self, resolution_m: float) -> int:
        """The widest halo of its measures."""
        return max((terrain_halo_px(m, self.window_px) for m in self.measures if m != "elevation"), default=0)

    def of_lengths(self) -> tuple[str, ...]:
        """What follows from the gradient."""
        return tuple(self.named(measure) for measure in self.measures if measure in FROM_GRADIENT)

    def of_north(self) -> tuple[str, ...]:
        """Where a slope faces, and its light."""
        return tuple(self.named(measure) for measure in self.measures if measure in FACING)

    def raster(self) -> RasterInput:
        """The elevation, bilinear."""
        return RasterInput(self.source, self.band, "bilinear")


class DistanceStep(WindowStep):
    """Distance in metres to the pixels where a band of a source product is at least a value, up to a largest distance."""

    source: str
    band: str
    kernel: ClassVar[str] = "distance"
    at_least: float = 1.0
    max_distance_m: float = Field(gt=0)
    signed: bool = False
    name: str

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        checked_name(name, None)
        return name

    def names(self) -> tuple[str, ...]:
        """`NAME_distance`."""
        return (f"{self.name}_distance",)

    def margin_px(self, resolution_m: float) -> int:
        """The largest distance, and what tells a gap between files from the edge of all."""
        return distance_halo_px(self.max_distance_m, resolution_m) + GAP_PX

    def of_lengths(self) -> tuple[str, ...]:
        """Its one layer."""
        return self.names()

    def raster(self) -> RasterInput:
        """The band, nearest."""
        return RasterInput(self.source, self.band, "nearest")


def checked_measures(kind: str, asked: tuple[str, ...], known: tuple[str, ...]) -> None:
    """RequestError for an unknown or repeated measure."""
    for measure in asked:
        if measure not in known:
            raise RequestError(f"unknown {kind} measure {measure!r}{near(measure, known)}")
        if asked.count(measure) > 1:
            raise RequestError(f"the {kind} measure {measure!r} stands twice: expected each once")
