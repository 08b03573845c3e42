"""A cell's identity is what made it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

from products.grid import Tile
from products.map_scale import is_turned
from products.period import Period
from products.scene import Scene
from products.scene_recipe import SceneRecipe, canonical_digest
from products.sensors import SENSORS

NAMESPACE = UUID("6f0c2c0e-5b1d-5e2b-9a39-0f6b6a1f7a52")

# raised by one whenever a kernel gives other pixels from the same input
KERNEL_VERSIONS: Mapping[str, int] = {
    "clear": 4, "fuse": 1, "resample": 3, "harmonise": 1, "temporal": 4, "observe": 1, "series": 1, "overviews": 1, "model_mask": 1,
    "harmonics": 1, "season": 1, "distance": 1, "turned": 1, "opening": 2, "frequency": 1,
    "trend": 1, "change": 1,
}  # fmt: skip
LOADING_KERNELS = ("clear", "fuse", "resample", "harmonise")
FEATURE_KERNELS = (*LOADING_KERNELS, "temporal", "overviews")


@dataclass(frozen=True, slots=True, order=True)
class SourceKey:
    """What a cell read, never from where: an acquisition in a rendition, or a cell or model by its id."""

    acquisition: str
    rendition: str


@dataclass(frozen=True, slots=True)
class CellKey:
    """Where and when a cell is, of which product."""

    product: str
    version: int
    tile: Tile
    period: Period

    @property
    def label(self) -> str:
        """`mangrove_features 2020 32647_r-12_c3`."""
        return f"{self.product} {self.period.label} {self.tile.label}"


def source_keys(
    scenes: Iterable[Scene], unread: Collection[UUID] = (), *, with_angles: bool = False
) -> list[SourceKey]:
    """What a cell of these scenes is made of: one with an unread asset counts as another rendition, so that the cell stays stale.

    With their angles, where pixels depend on what the catalogue says of these.
    """
    return [
        SourceKey(s.acquisition, _rendition(s, with_angles) + (" unread" if s.id in unread else "")) for s in scenes
    ]


def _rendition(scene: Scene, with_angles: bool) -> str:
    revision = f" revision {scene.revision}" if scene.revision else ""
    return f"{scene.rendition}{revision}{_nodata_of(scene)}{_angles_of(scene) if with_angles else ''}"


def _nodata_of(scene: Scene) -> str:
    """The positive nodata of its reflectance, that once were taken for reflectance; nothing where there is none."""
    bands = SENSORS[scene.sensor].reflectance
    found = sorted({file.nodata for band, file in scene.bands.items() if band in bands and file.nodata > 0})
    return f" nodata {','.join(map(str, found))}" if found else ""


def _angles_of(scene: Scene) -> str:
    if scene.has_angle_rasters:
        return " angles of every pixel"
    return " angles of its granule" if scene.has_pixel_angles else f" {scene.angles}"


def scenes_cell_id(
    recipe: SceneRecipe, recipe_digest: str, key: CellKey, scenes: Iterable[Scene], others: Iterable[SourceKey],
    unread: Collection[UUID] = (),
) -> UUID:  # fmt: skip
    """The id of a cell that a recipe makes of scenes, some of them unread, and of `others`: rasters and a tide model."""
    sources = [*source_keys(scenes, unread, with_angles=recipe.brdf != "none"), *others]
    is_averaged = is_turned(key.tile.crs) and _averages(recipe)
    kernels = (*recipe.kernels_used, "turned") if is_averaged else recipe.kernels_used
    return cell_id(key, sources, recipe_digest, kernels=kernels)


def _averages(recipe: SceneRecipe) -> bool:
    return any(source.resampling_of(band) == "average" for source in recipe.sources for band in recipe.used_bands)


def cell_id(
    key: CellKey, sources: Iterable[SourceKey], recipe_digest: str, model_digest: str | None = None,
    kernels: Collection[str] = FEATURE_KERNELS,
) -> UUID:  # fmt: skip
    """uuid5 of product, version, CRS, tile, period, sources, recipe digest, versions of the kernels used and model digest, in any order of sources."""
    document = {
        "product": key.product,
        "version": key.version,
        "crs": key.tile.crs,
        "tile": [key.tile.row, key.tile.column],
        "period": [key.period.start.isoformat(), key.period.end.isoformat()],
        "sources": sorted([source.acquisition, source.rendition] for source in sources),
        "recipe": recipe_digest,
        "kernels": {name: KERNEL_VERSIONS[name] for name in kernels},
        "model": model_digest,
    }
    return uuid5(NAMESPACE, canonical_digest(document))
