"""What every recipe of scenes says: a grid, sources, how sensors are harmonised, and what a cell of it is."""

import hashlib
import json
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from odc.geo.geom import Geometry
from pydantic import Field, field_validator, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.grid_spec import GridSpec
from products.map_scale import check_one_zone
from products.period import Period
from products.pixel.brdf import check_angles, check_parameters
from products.pixel.harmonise import check_platforms
from products.pixel.model_mask import RESOLUTION_RANGE_M
from products.recipe_fields import PlainName, Version
from products.scene import Scene
from products.sensors import COLLECTIONS, SENSORS
from products.source_spec import HarmoniseSpec, SourceSpec
from products.window_spec import RasterInput


class SceneRecipe(Closed):
    """A product made of scenes: its cells are a tile and a time, a period or a pass."""

    name: PlainName
    version: Version
    kind: str
    title: str = ""
    grid: GridSpec
    sources: tuple[SourceSpec, ...] = Field(min_length=1)
    harmonise: HarmoniseSpec | None = None
    brdf: Literal["none", "c_factor"] = "none"

    kernels: ClassVar[tuple[str, ...]] = ()
    keeps_masked: ClassVar[bool] = False
    is_by_pass: ClassVar[bool] = False

    @field_validator("harmonise", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:  # noqa: ANN401
        return None if value == "none" else value

    @field_validator("sources")
    @classmethod
    def _once(cls, sources: tuple[SourceSpec, ...]) -> tuple[SourceSpec, ...]:
        names = [source.collection for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise RequestError(
                    f"the collection {name!r} stands twice: expected each of {', '.join(COLLECTIONS)} once"
                )
        return sources

    @model_validator(mode="after")
    def _has_what_is_read(self) -> "SceneRecipe":
        for source in self.sources:
            source.check_read(self.used_bands, self.harmonise)
        return self

    @property
    @abstractmethod
    def used_bands(self) -> tuple[str, ...]:
        """The bands that are read, in the order of the block."""

    @property
    @abstractmethod
    def n_layers(self) -> int:
        """How many float32 layers (y, x) are computed for a cell."""

    @abstractmethod
    def periods_in(self, asked: Period) -> tuple[Period, ...]:
        """The periods that are built in the time asked for; RequestError if it cuts one."""

    def step_of(self, period: Period) -> Period:
        """The step that the cell of a period was made for: shorter than the cell where cells overlap."""
        return period

    def seen_in(self, period: Period) -> Period:
        """The time of the observations that a cell of a period is made of."""
        return period

    def searched(self, asked: Period) -> Period:
        """The time in which the scenes of what is asked for lie."""
        return self.seen_in(asked)

    def cells_of(self, scenes: Sequence[Scene], periods: Sequence[Period]) -> list[tuple[Period, tuple[Scene, ...]]]:
        """The time of each cell of a tile and the scenes over the tile that it is made of, empty where there is none."""
        by_time = sorted(scenes, key=_acquired)
        return [
            (period, _in_period(by_time, self.seen_in(period)) if _in_period(by_time, period) else ())
            for period in periods
        ]

    def axis_of(self, periods: Sequence[Period], cells: Iterable[Period]) -> tuple[Period, ...]:
        """The times of a cube over some periods with some cells."""
        return tuple(periods)

    def source_of(self, collection: str) -> SourceSpec:
        """The source that reads a collection."""
        return next(source for source in self.sources if source.collection == collection)

    def bands(self, collections: tuple[str, ...] = ()) -> frozenset[str]:
        """The reflectance bands that every source has, or every one of some."""
        read = [source for source in self.sources if not collections or source.collection in collections]
        sensors = [sensor for source in read for sensor in source.sensors]
        return frozenset.intersection(*(frozenset(sensor.reflectance) for sensor in sensors))

    @model_validator(mode="after")
    def _pixels_for_models(self) -> "SceneRecipe":
        low, high = RESOLUTION_RANGE_M
        if self.mask_models and not low <= self.grid.resolution_m <= high:
            raise RequestError(
                f"{self.mask_models[0]} masks pixels of {low:g} to {high:g} m, got resolution_m {self.grid.resolution_m:g}"
            )
        return self

    @model_validator(mode="after")
    def _reachable_masks(self) -> "SceneRecipe":
        for source in self.sources:
            source.clear.check_pixels(self.grid.resolution_m)
        return self

    @model_validator(mode="after")
    def _adjustable(self) -> "SceneRecipe":
        if self.brdf != "none":
            check_parameters(self.used_bands)
        return self

    def check_scenes(self, scenes: Sequence[Scene]) -> None:
        """RequestError for scenes that lack what the recipe needs beside their bands: angles, a platform that is harmonised, or the probability of clouds."""
        if self.brdf != "none":
            check_angles(scenes)
        if self.harmonise is not None:
            check_platforms([scene for scene in scenes if self.harmonise.is_adjusted(scene.sensor)])
        for source in self.sources:
            of = [scene for scene in scenes if scene.collection == source.collection]
            lacking = [scene.item_id for scene in of if SENSORS[scene.sensor].cloud_probability not in scene.bands]
            if source.clear.cloud_probability is not None and lacking:
                raise RequestError(
                    f"cloud_probability: {len(lacking)} of {len(of)} scenes come without it, the first {lacking[0]}: ingest from an archive "
                    "that has it (Earth Search, Collection 1), or leave cloud_probability out"
                )

    def check_grid(self, grid: PixelGrid, tiles: Sequence[Tile], area: Geometry) -> None:
        """RequestError for an area that the UTM zone of its centre does not show true to the ground."""
        if self.grid.crs == "utm":
            check_one_zone(grid, area)

    @property
    def mask_models(self) -> tuple[str, ...]:
        """The models that mask its sources, each once."""
        return tuple(dict.fromkeys(source.clear.model for source in self.sources if source.clear.model))

    @property
    def kernels_used(self) -> tuple[str, ...]:
        """The kernels whose versions are part of the ids of its cells: those of its kind, and those of what it asks for."""
        is_opening = any(source.clear.opening_px(self.grid.resolution_m) for source in self.sources)
        own = {"model_mask": bool(self.mask_models), "opening": is_opening}
        return (*self.kernels, *(kernel for kernel, is_used in own.items() if is_used))

    @property
    def with_agreement(self) -> bool:
        """Whether it asks where the masks agree."""
        return False

    @property
    def halo_px(self) -> int:
        """How far, in pixels, masks are read beyond the bands: the largest opening and growth of clouds, by the recipe or by their mask band."""
        return max(source.halo_px(self.grid.resolution_m, self.grid.crs) for source in self.sources)

    @property
    def margin_px(self) -> int:
        """How far, in pixels, bands and rasters are read beyond the tile."""
        return 0

    @property
    def reach_px(self) -> int:
        """How far, in pixels, anything is read beyond the tile."""
        return self.halo_px + self.margin_px

    @property
    def rasters(self) -> tuple[RasterInput, ...]:
        """The rasters that it reads, each once."""
        return ()

    def digest(self) -> str:
        """SHA-256 of the pixel-affecting fields in canonical JSON; titles, comments and spelled-out defaults change nothing."""
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude={"name", "version", "title"})
        for source, written in zip(fields["sources"], self.sources, strict=True):
            methods = written.resampling_by_band(self.used_bands, self.harmonise)
            source["resampling"] = methods if len(set(methods.values())) > 1 else methods.popitem()[1]
        return canonical_digest(fields | self.implied())

    def implied(self) -> dict[str, Any]:
        """What decides pixels and is not written in the recipe, as the formulas behind index names: a catalogue that changes one makes another product."""
        return {}


def _acquired(scene: Scene) -> datetime:
    return scene.acquired


def _in_period(scenes: Sequence[Scene], period: Period) -> tuple[Scene, ...]:
    """Those of a period, of scenes by time: found in steps that do not grow with the years before and after."""
    first = bisect_left(scenes, period.start, key=_acquired)
    return tuple(scenes[first : bisect_left(scenes, period.end, first, key=_acquired)])


def canonical_digest(document: Any) -> str:  # noqa: ANN401
    """SHA-256 hex of a JSON-able document with sorted keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
