"""A quick look at a recipe over an area and a time, before anybody orders it; nothing is kept."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.request_rules import check_scenes
from flows.steps.index.catalogue import count_scenes, find_scenes
from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.raster_access import raster_access
from flows.steps.loading.tile_block import load_observations
from flows.steps.pictures.preview import preview_picture
from products.area import Area
from products.errors import RequestError
from products.features import Observations, compute_features
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.preview import chosen_passes, preview_box, preview_recipe
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.sensors import SENSORS

BUDGET_S = 40.0  # no further passes are read after it
PASSES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture (PNG) and what it shows: JSON-able, with `scenes`, `counts` of observations by fate, `seconds`."""

    png: bytes
    document: Mapping[str, Any]

    def __repr__(self) -> str:
        passes = self.document["passes"]
        return f"Preview of {self.document['recipe']} over {self.document['area']}: {passes['read']} of {passes['indexed']} passes"

    def _repr_png_(self) -> bytes:
        return self.png


def preview_with(index: Index, settings: Settings, recipe: SceneRecipe, area: Area, asked: Period) -> Preview:
    """The preview from few clear passes, within a minute; RequestError where nothing is indexed, or too much for a look."""
    begun = time.monotonic()
    check_scenes(count_scenes(index, recipe.sources, asked, area.geometry), settings.requests)
    scenes = find_scenes(index, recipe.sources, asked, area.geometry, settings.mirrors)
    if not scenes:
        names = ", ".join(source.collection for source in recipe.sources)
        raise RequestError(
            f"nothing to preview: no scene of {names} over {area.name} in {asked.label} is indexed: "
            "ingest some first (neocube ingest), or ask for another period or area"
        )
    box = preview_box(recipe, area.geometry)
    coarse = preview_recipe(recipe, box.resolution.x)
    coarse.check_scenes(scenes)
    chosen = chosen_passes(scenes, _clouds(index, scenes), area.geometry)
    access = raster_access(settings)
    seen: list[Observations] = []
    failed: list[AssetRead] = []
    for first in range(0, len(chosen), PASSES_AT_ONCE):
        if seen and time.monotonic() - begun > BUDGET_S:
            break
        members = [_decimated(scene) for one in chosen[first : first + PASSES_AT_ONCE] for scene in one]
        loaded = load_observations(coarse, members, box, settings.decode_thread_count, access)
        seen.append(loaded.seen)
        failed += loaded.manifest.failed
    together = _together(seen)
    composite = compute_features(coarse, together, asked, settings.decode_thread_count)
    n_passes = len({scene.pass_id for scene in together.scenes})
    n_known = len({scene.pass_id for scene in scenes})
    said = f"{recipe.name} over {area.name}, {asked.label}: {n_passes} of {n_known} passes, pixels of {box.resolution.x:g} m"
    png = preview_picture(composite, together.accounts[ACCOUNT_NAMES.index("used")], said)
    return Preview(
        png,
        {
            "recipe": recipe.name,
            "area": area.name,
            "period": asked.label,
            "bands": list(coarse.used_bands),
            "resolution_m": box.resolution.x,
            "shape": list(box.shape),
            "scenes": {"indexed": len(scenes), "read": len(together.scenes)},
            "passes": {"indexed": n_known, "read": n_passes},
            "items": [scene.item_id for scene in together.scenes],
            "counts": {
                name: int(layer.sum(dtype=np.int64))
                for name, layer in zip(ACCOUNT_NAMES, together.accounts, strict=True)
            },
            "failed": [{"item_id": each.item_id, "band": each.band, "cause": each.cause} for each in failed],
            "seconds": round(time.monotonic() - begun, 2),
        },
    )


def _clouds(index: Index, scenes: Sequence[Scene]) -> dict[UUID, float]:
    """The percentage of clouds that catalogues say of scenes."""
    found = {}
    for dataset in index.dc.index.datasets.bulk_get([scene.id for scene in scenes]):
        cloud = dataset.metadata_doc["properties"].get("eo:cloud_cover")
        if cloud is not None:
            found[UUID(str(dataset.id))] = float(cloud)
    return found


def _decimated(scene: Scene) -> Scene:
    """The scene, its bands read through overviews; masks are not, as averages of classes are none."""
    sensor = SENSORS[scene.sensor]
    whole = {sensor.mask, sensor.saturation}
    bands = {name: file if name in whole else replace(file, by_overview=True) for name, file in scene.bands.items()}
    return replace(scene, bands=bands)


def _together(parts: Sequence[Observations]) -> Observations:
    """The observations of several loads of other passes of the same pixels."""
    first = parts[0]
    return Observations(
        tuple(scene for part in parts for scene in part.scenes),
        first.bands,
        np.concatenate([part.block for part in parts], axis=1),
        np.concatenate([part.causes for part in parts]),
        np.concatenate([part.gain for part in parts]),
        np.concatenate([part.bias for part in parts]),
        np.sum([part.accounts for part in parts], axis=0, dtype=np.uint16),
    )
