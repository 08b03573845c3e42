"""Damages a simulated archive as real archives are damaged, and says what was done."""

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.simulation.items import Item, Processing, item_id, landsat_product, msi_properties, stamp
from flows.steps.simulation.scenes import WrittenScene, write_cog
from products.simulation.response import MSI_OFFSET, MSI_SCALE

PLANS: Mapping[str, Mapping[str, int]] = {
    "none": {},
    "usual": {"duplicate": 2, "reprocessing": 2, "missing_asset": 1, "corrupt_asset": 1},
    "harsh": {
        "duplicate": 4, "reprocessing": 4, "missing_asset": 3, "corrupt_asset": 3, "misregistration": 2,
        "no_geometry": 1, "no_proj": 1, "wrong_scale": 1, "not_json": 1,
    },
}  # fmt: skip
REPROCESSED_AFTER = timedelta(days=400)
LANDSAT_STEP_DN = 2
"""By how much a Landsat reprocessing changes the DN here: visible in the data, negligible in reflectance."""
SHIFT_PX = 1
KEPT_SHARE = 0.4
WRONG_SCALE_FACTOR = 10

Details = dict[str, Any]
Change = Callable[[NDArray[np.uint16]], NDArray[np.uint16]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, the item that has it, and its particulars."""

    kind: str
    item_id: str
    details: Details = field(default_factory=dict)

    def document(self) -> Details:
        """As JSON lists it."""
        return {"kind": self.kind, "item_id": self.item_id, **self.details}


def make_faults(
    directory: Path, scenes: list[WrittenScene], level: str, rng: np.random.Generator
) -> tuple[list[Item], list[Fault]]:
    """The items of the archive with those that faults add, and the faults; no scene has two."""
    items = {scene.item["id"]: scene.item for scene in scenes}
    faults = []
    for kind, scene in _victims(scenes, PLANS[level], rng):
        item, details = _FAULTS[kind](directory, scene, rng)
        items[item["id"]] = item
        faults.append(Fault(kind, item["id"], details))
    return list(items.values()), faults


def _victims(
    scenes: list[WrittenScene], plan: Mapping[str, int], rng: np.random.Generator
) -> list[tuple[str, WrittenScene]]:
    """A scene for each fault, alternating between Landsat and Sentinel-2 while there are both."""
    order = [scenes[index] for index in rng.permutation(len(scenes))]
    pools = [[s for s in order if not s.one.is_msi], [s for s in order if s.one.is_msi]]
    chosen = []
    for turn, kind in enumerate(kind for kind, count in plan.items() for _ in range(count)):
        pool = pools[turn % 2] or pools[1 - turn % 2]
        fit = next((s for s in pool if kind != "reprocessing" or _is_first_rendition(s)), None)
        if fit is not None:
            pool.remove(fit)
            chosen.append((kind, fit))
    return chosen


def _is_first_rendition(scene: WrittenScene) -> bool:
    return not scene.one.is_msi or scene.processing.baseline < "04.00"


def _duplicate(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """A rendition of the archive once more, under another item id and path, its files copied."""
    original = str(scene.item["id"])
    name = original.replace("_0_L2A", "_0_L2A_copy") if scene.one.is_msi else f"{original}_SR"
    shutil.copytree(directory / scene.folder, directory / scene.item["collection"] / name)
    return copy.deepcopy(scene.item) | {"id": name}, {"of": original}


def _reprocessing(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """A newer rendition: Landsat with a later processing date, Sentinel-2 as baseline 05.00 with its offset."""
    generated = scene.processing.generated + REPROCESSED_AFTER
    is_msi = scene.one.is_msi
    later = Processing(generated, "05.00", has_offset=True, offset_applied=False) if is_msi else Processing(generated)
    item = _renewed(scene, later)
    target = directory / item["collection"] / item["id"]
    target.mkdir()
    step = round(-MSI_OFFSET / MSI_SCALE) if is_msi else LANDSAT_STEP_DN
    for asset, old in zip(item["assets"].values(), scene.item["assets"].values(), strict=True):
        change: Change = (lambda dn: _raised(dn, step)) if "scale" in old["raster:bands"][0] else np.copy
        _rewrite(directory / scene.folder / old["href"], target / asset["href"], change)
    return item, {"of": scene.item["id"], "step_dn": step}


def _renewed(scene: WrittenScene, later: Processing) -> Item:
    """The item of a later rendition of a scene."""
    one, name, item = scene.one, scene.frame.name, copy.deepcopy(scene.item)
    item["properties"] |= {"created": stamp(later.generated), "updated": stamp(later.generated)}
    if one.is_msi:
        item["id"] = item_id(one, name, sequence=1)
        item["properties"] |= msi_properties(one, name, later)
        for asset in item["assets"].values():
            if "offset" in asset["raster:bands"][0]:
                asset["raster:bands"][0]["offset"] = MSI_OFFSET
        return item
    old, new = landsat_product(one, name, scene.processing), landsat_product(one, name, later)
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace(old, new)
    return item | {"id": new}


def _missing_asset(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """A reflectance file that is gone."""
    asset, path = _some_file(directory, scene, rng)
    path.unlink()
    return scene.item, {"asset": asset, "file": str(path.relative_to(directory))}


def _corrupt_asset(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """A reflectance file cut off after its header and part of its pixels."""
    asset, path = _some_file(directory, scene, rng)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * KEPT_SHARE)])
    return scene.item, {"asset": asset, "file": str(path.relative_to(directory))}


def _some_file(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[str, Path]:
    names = [name for name in ("green", "red", "nir08", "swir16") if name in scene.item["assets"]]
    name = names[int(rng.integers(len(names)))]
    return name, directory / scene.folder / scene.item["assets"][name]["href"].removeprefix("./")


def _misregistration(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """Every file's pixels one pixel down and right of where the grid says."""
    for asset in scene.item["assets"].values():
        path = directory / scene.folder / asset["href"]
        _rewrite(path, path, lambda dn: np.roll(dn, (SHIFT_PX, SHIFT_PX), axis=(0, 1)))
    return scene.item, {"shift_px": [SHIFT_PX, SHIFT_PX]}


def _no_geometry(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """An item with a null geometry and no bounding box."""
    return {key: value for key, value in scene.item.items() if key != "bbox"} | {"geometry": None}, {}


def _no_proj(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """An item that says nothing of its grid."""
    item = copy.deepcopy(scene.item)
    for part in (item["properties"], *item["assets"].values()):
        for key in [key for key in part if key.startswith("proj:")]:
            del part[key]
    return item, {}


def _wrong_scale(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """An item whose stated scale is ten times too large."""
    item = copy.deepcopy(scene.item)
    for asset in item["assets"].values():
        if "scale" in asset["raster:bands"][0]:
            asset["raster:bands"][0]["scale"] *= WRONG_SCALE_FACTOR
    return item, {"factor": WRONG_SCALE_FACTOR}


def _not_json(directory: Path, scene: WrittenScene, rng: np.random.Generator) -> tuple[Item, Details]:
    """An item whose file the catalogue writes half."""
    return scene.item, {}


_FAULTS: Mapping[str, Callable[[Path, WrittenScene, np.random.Generator], tuple[Item, Details]]] = {
    "duplicate": _duplicate,
    "reprocessing": _reprocessing,
    "missing_asset": _missing_asset,
    "corrupt_asset": _corrupt_asset,
    "misregistration": _misregistration,
    "no_geometry": _no_geometry,
    "no_proj": _no_proj,
    "wrong_scale": _wrong_scale,
    "not_json": _not_json,
}


def _raised(dn: NDArray[np.uint16], step: int) -> NDArray[np.uint16]:
    """DN with `step` added to all but nodata (0)."""
    return np.where(dn > 0, np.minimum(dn.astype(np.int64) + step, 65535), 0).astype(np.uint16)


def _rewrite(source: Path, target: Path, change: Change) -> None:
    with rasterio.open(source) as file:
        pixels, nodata = file.read(1), file.nodata
        geobox = GeoBox(file.shape, file.transform, str(file.crs))
    write_cog(target, change(pixels), geobox, nodata)
