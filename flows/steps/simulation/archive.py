"""Writes an archive with known truth: a static STAC catalogue of Landsat and Sentinel-2 scenes of a made-up coast."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flows.steps.simulation.faults import Fault, make_faults
from flows.steps.simulation.folder_errors import naming_folder_in_errors
from flows.steps.simulation.items import Item
from flows.steps.simulation.scenes import Stage, write_pass
from flows.steps.simulation.tide_files import write_tide_model
from flows.steps.simulation.truth import write_truth
from products.area import Area
from products.errors import RequestError
from products.period import Period
from products.simulation.canvas import place_canvas
from products.simulation.landscape import make_landscape
from products.simulation.passes import PLATFORMS, TIDE_SPEEDS_DEG_H, Pass, passes_over

FaultLevel = Literal["none", "usual", "harsh"]
SIZE_PX_RANGE = (48, 2048)
PARTIAL = ".partial"
COLLECTION_TITLES = {
    "landsat-c2-l2": "Simulated Landsat 5 to 9 Collection 2 Level-2",
    "sentinel-2-l2a": "Simulated Sentinel-2 Level-2A",
}


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to simulate: a landscape of `size_px` Landsat pixels centred on the area, seen in the period, at most
    `limit` times per platform."""

    area: Area
    period: Period
    seed: int
    size_px: int
    faults: FaultLevel
    limit: int | None


def local_directory(place: str) -> Path:
    """The folder that is named; RequestError for a URL."""
    if "://" in place:
        raise RequestError(
            f"cannot simulate into {place}: expected a folder of this machine; copy the archive there when it is written"
        )
    return Path(place)


def write_archive(directory: Path, simulation: Simulation, workers: int = 2) -> dict[str, Any]:
    """The archive in an empty directory; returns `items`, `truth` and `faults`. RequestError if it cannot be."""
    longitude, latitude = simulation.area.geometry.centroid.coords[0]
    passes = _checked_passes(simulation, longitude, latitude)
    with naming_folder_in_errors(directory):
        partial = _claim(directory)
        try:
            items, faults = _write_all(partial, simulation, passes, workers)
            for path in sorted(partial.iterdir(), reverse=True):
                path.rename(directory / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return {
        "items": len(items),
        "truth": str(directory / "truth"),
        "faults": [fault.document() for fault in faults],
    }


def _write_all(
    directory: Path, simulation: Simulation, passes: list[Pass], workers: int
) -> tuple[list[Item], list[Fault]]:
    longitude, latitude = simulation.area.geometry.centroid.coords[0]
    rng = np.random.default_rng([simulation.seed, 0])
    canvas = place_canvas(longitude, latitude, simulation.size_px)
    landscape = make_landscape(rng, canvas.fine_px)
    phases = {name: float(rng.uniform(0, 360)) for name in TIDE_SPEEDS_DEG_H}
    stage = Stage(directory, landscape, canvas, longitude, latitude, phases, simulation.seed)
    with ThreadPoolExecutor(workers) as pool:
        scenes = [scene for both in pool.map(lambda one: write_pass(stage, one), passes) for scene in both]
    items, faults = make_faults(directory, scenes, simulation.faults, np.random.default_rng([simulation.seed, 1]))
    _write_catalogue(directory, items, faults)
    write_truth(stage, scenes, faults, np.random.default_rng([simulation.seed, 2]))
    middle = simulation.period.start + (simulation.period.end - simulation.period.start) / 2
    write_tide_model(directory / "truth" / "tide_models", phases, middle)
    return items, faults


def _checked_passes(simulation: Simulation, longitude: float, latitude: float) -> list[Pass]:
    low, high = SIZE_PX_RANGE
    if not low <= simulation.size_px <= high:
        raise RequestError(f"expected a size from {low} to {high} Landsat pixels, got {simulation.size_px}")
    if simulation.limit is not None and simulation.limit < 1:
        raise RequestError(f"expected at least 1 scene per platform, got {simulation.limit}")
    if simulation.seed < 0:
        raise RequestError(f"expected a seed of 0 or more, got {simulation.seed}")
    if abs(latitude) > 75:
        raise RequestError(f"expected an area between 75 south and 75 north, got one centred on latitude {latitude:g}")
    passes = passes_over(longitude, latitude, simulation.period, simulation.limit)
    if not passes:
        first = min(platform.first for platform in PLATFORMS)
        raise RequestError(
            f"no simulated platform passes {simulation.area.name!r} in {simulation.period.label}: "
            f"the archives start on {first}; ask for a period of at least 16 days after it"
        )
    return passes


def _claim(directory: Path) -> Path:
    """A fresh hidden folder in an empty directory, made if need be; what an interrupted run left there is swept."""
    partial = directory / PARTIAL
    directory.mkdir(parents=True, exist_ok=True)
    if any(path != partial for path in directory.iterdir()):
        raise RequestError(f"expected an empty or new directory, got {directory} with files in it: choose another")
    if partial.exists():
        shutil.rmtree(partial)
    (partial / "truth" / "sky").mkdir(parents=True)
    return partial


def _write_catalogue(directory: Path, items: list[Item], faults: list[Fault]) -> None:
    broken = {fault.item_id for fault in faults if fault.kind == "not_json"}
    for item in items:
        path = directory / item["collection"] / item["id"] / f"{item['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(item | {"links": _item_links()}, indent=1)
        path.write_text(text[: len(text) // 2] if item["id"] in broken else text)
    by_collection = {name: [item for item in items if item["collection"] == name] for name in COLLECTION_TITLES}
    held = {name: found for name, found in by_collection.items() if found}
    for name, found in held.items():
        _dump(directory / name / "collection.json", _collection(name, found))
    links = [_link("root", "./catalog.json"), *(_link("child", f"./{name}/collection.json") for name in held)]
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "neocube-simulation", "links": links}
    _dump(
        directory / "catalog.json", catalogue | {"description": "Simulated scenes of a made-up coast with known truth"}
    )
    features = [_beside_catalogue(item) for item in items if item["id"] not in broken]
    _dump(directory / "items.json", {"type": "FeatureCollection", "features": features})


def _collection(name: str, items: list[Item]) -> dict[str, Any]:
    boxes = np.array([item["bbox"] for item in items if item.get("bbox")])
    times = sorted(item["properties"]["datetime"] for item in items)
    bbox = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
    links = [_link("root", "../catalog.json"), _link("parent", "../catalog.json")]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": COLLECTION_TITLES[name],
        "description": f"{COLLECTION_TITLES[name]}: made by neocube simulate, not real observations",
        "license": "proprietary",
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": links + [_link("item", f"./{item['id']}/{item['id']}.json") for item in items],
    }


def _beside_catalogue(item: Item) -> Item:
    """The item with hrefs relative to the archive's root instead of its own folder."""
    folder = f"./{item['collection']}/{item['id']}"
    moved = {
        name: asset | {"href": f"{folder}/{asset['href'].removeprefix('./')}"} for name, asset in item["assets"].items()
    }
    return item | {"assets": moved, "links": []}


def _item_links() -> list[dict[str, str]]:
    parent = "../collection.json"
    return [_link("root", "../../catalog.json"), _link("collection", parent), _link("parent", parent)]


def _link(rel: str, href: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": "application/json"}


def _dump(path: Path, document: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(document, indent=1))
