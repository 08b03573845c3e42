"""A map as files: COGs with colours and overviews, a quicklook, STAC items and their collection."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import xarray
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.cubes.cube_pieces import window_of
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.held_tiles import MOST_PX
from flows.steps.cubes.open_cube import by_shards, geobox_of, stored_snapshot
from flows.steps.learning.map_stac import collection_document, item_document
from flows.steps.learning.models import Model
from flows.steps.loading.source_grid import covered_by
from flows.steps.pictures.map import map_picture
from flows.steps.storage import Storage
from products.area import Area
from products.grid import PixelGrid, Tile
from products.learning.ground_area import ground_of_codes
from products.learning.learned import NO_PROBABILITY
from products.learning.maps import MAP_CLASS, PROBABILITY, class_colours, pixel_area
from products.learning.trust_layers import APPLICABLE, NOT_MAPPED, UNCERTAINTY, applicable_counts, inside_share
from products.period import Period
from products.scene_recipe import canonical_digest

COLLECTION = "collection.json"
SHOWN = (MAP_CLASS, PROBABILITY, APPLICABLE, UNCERTAINTY)
COGS = tuple(f"{name}.tif" for name in SHOWN)
COG_OPTIONS = {"driver": "COG", "compress": "DEFLATE", "blocksize": 512, "num_threads": "1"}


@dataclass(frozen=True, slots=True)
class MapFiles:
    """Paths (or s3:// URLs) of what lies beside the cube; of each period the hectares of ground of each class and the share where the model is applicable."""

    collection: str | None
    cogs: tuple[str, ...]
    quicklooks: tuple[str, ...]
    pixel_area: tuple[dict[str, Any], ...]
    applicability: tuple[dict[str, Any], ...] = ()


NO_FILES = MapFiles(None, (), (), ())


@dataclass(frozen=True, slots=True)
class MapView:
    """One period of a map, cut to the bounding box of the area or of a piece of it; `inside` marks pixel centres in the area, (y, x)."""

    label: str
    period: Period
    geobox: GeoBox
    codes: NDArray[np.uint8]
    percent: NDArray[np.uint8]
    applicable: NDArray[np.uint8]
    uncertainty: NDArray[np.uint8]
    inside: NDArray[np.bool_]

    def ground_m2(self, grid: PixelGrid, n: int) -> NDArray[np.float64]:
        """Square metres on the ground of the pixels of the area with each code 0 to n - 1, (n,)."""
        x, y = (self.geobox.coordinates[axis].values for axis in ("x", "y"))
        return ground_of_codes(self.codes, self.inside, n, grid.crs, x, y, grid.resolution_m)


def write_map_files(storage: Storage, model: Model, plan: CubePlan, cube_url: str, area: Area) -> MapFiles:
    """Write the files of a map if they are not there yet, large ones as several rasters; the collection, last, says that they are whole. StorageLost."""
    pieces = plan.grid.pieces(plan.tiles, MOST_PX)
    name = canonical_digest([plan.digest, area.geometry.wkt, *([len(pieces)] if len(pieces) > 1 else [])])[:16]
    folder = storage.path("maps", plan.template.product, plan.area, plan.grid.crs.replace(":", "_").lower(), name)
    is_whole, what = storage.exists(f"{folder}/{COLLECTION}"), f"the files of the map {plan.template.product}"
    cube = stored_snapshot(cube_url, storage.options)
    cogs, pictures, areas, shares = [], [], [], []
    items: dict[str, dict[str, Any]] = {}
    names = model.recipe.class_names
    for period in plan.periods:
        ground_m2, applicable = np.zeros(len(names) + 1), np.zeros(2, np.int64)
        for view in map_views(cube, plan.grid, pieces, period, area):
            paths = {key: f"{folder}/{view.label}/{key}" for key in (*COGS, "quicklook.png")}
            if not is_whole:
                items[view.label] = item_document(model, plan, view.geobox, period, view.label)
                with storage.writing(folder, what):
                    write_view(storage, paths, view, model)
                    storage.write_bytes(f"{folder}/{view.label}/item.json", _json(items[view.label]))
            cogs += [paths[name] for name in COGS]
            pictures.append(paths["quicklook.png"])
            ground_m2 += view.ground_m2(plan.grid, len(names) + 1)
            applicable += applicable_counts(view.applicable, view.inside)
        areas += [entry | {"period": period.label} for entry in pixel_area(ground_m2, names)]
        shares.append({"period": period.label, "inside_share": inside_share(applicable)})
    if not is_whole:
        with storage.writing(folder, what):
            storage.write_bytes(f"{folder}/{COLLECTION}", _json(collection_document(model, plan, items)))
    return MapFiles(f"{folder}/{COLLECTION}", tuple(cogs), tuple(pictures), tuple(areas), tuple(shares))


def map_views(
    cube: xarray.Dataset, grid: PixelGrid, pieces: Sequence[tuple[Tile, ...]], period: Period, area: Area
) -> Iterator[MapView]:
    """The parts of a stored map cube in a period that the bounding boxes of the area on each piece of the grid cover, `2020`, or `2020_1`, `2020_2`, …"""
    whole = geobox_of(cube, grid.crs)
    here = area.geometry.to_crs(whole.crs)
    start = np.datetime64(period.start.replace(tzinfo=None), "ns")
    for number, tiles in enumerate(pieces, start=1):
        mosaic = grid.mosaic(tiles)
        rows, columns = whole.overlap_roi(mosaic, tol=0.01)
        piece = by_shards(cube.isel(y=rows, x=columns))
        rows, columns = window_of(here, mosaic)
        cut = piece.sel(period=start).isel(y=rows, x=columns)
        geobox = mosaic[rows, columns]
        codes, percent, applicable, uncertainty = (cut[name].values for name in SHOWN)
        label = f"{period.label}_{number}" if len(pieces) > 1 else period.label
        yield MapView(label, period, geobox, codes, percent, applicable, uncertainty, covered_by(here, geobox))


def write_view(storage: Storage, paths: dict[str, str], view: MapView, model: Model) -> None:
    """The COGs and the quicklook of one piece in one period."""
    names, colours = model.recipe.class_names, class_colours(model.recipe.class_names)
    table = {0: (0, 0, 0, 0)} | {code: (*colour, 255) for code, colour in colours.items()}
    tags = {"classes": ", ".join(f"{code}={name}" for code, name in enumerate(names, start=1)), "model": str(model.id)}
    if model.simulated:
        tags["simulated"] = "yes"
    classes = cog(view.codes[None], view.geobox, 0, "MODE", tags, (MAP_CLASS,), table)
    shares = cog(
        view.percent, view.geobox, NO_PROBABILITY, "AVERAGE", tags, [f"{PROBABILITY}_{name}" for name in names],
        unit="percent",
    )  # fmt: skip
    storage.write_bytes(paths["map_class.tif"], classes)
    for name, pixels, overviews, unit in (
        (APPLICABLE, view.applicable, "MODE", "1"), (UNCERTAINTY, view.uncertainty, "AVERAGE", "percent"),
    ):  # fmt: skip
        layer = cog(pixels[None], view.geobox, NOT_MAPPED, overviews, tags, (name,), unit=unit)
        storage.write_bytes(paths[f"{name}.tif"], layer)
    storage.write_bytes(paths["probability.tif"], shares)
    title = f"{model.recipe.map.name} {view.label}" + (" (simulated data)" if model.simulated else "")
    storage.write_bytes(paths["quicklook.png"], map_picture(view.codes, view.geobox, names, colours, title))


def cog(
    pixels: NDArray[np.uint8],
    geobox: GeoBox,
    nodata: int,
    overviews: str,
    tags: dict[str, str],
    descriptions: Sequence[str],
    colours: Mapping[int, tuple[int, ...]] | None = None,
    unit: str = "1",
) -> bytes:
    """A cloud-optimised GeoTIFF of (band, y, x) uint8; `overviews` is the resampling of its overviews, `unit` that of all bands."""
    with tempfile.TemporaryDirectory(prefix="neocube-") as folder:
        plain, final = Path(folder) / "plain.tif", Path(folder) / "cog.tif"
        profile = {"count": pixels.shape[0], "dtype": "uint8", "nodata": nodata, "crs": str(geobox.crs)}
        shape = {"width": geobox.width, "height": geobox.height, "transform": geobox.affine}
        with rasterio.open(plain, "w", driver="GTiff", **profile, **shape) as file:
            file.write(pixels)
            file.update_tags(**tags)
            file.descriptions = tuple(descriptions)
            file.units = (unit,) * len(pixels)
            if colours:
                file.write_colormap(1, dict(colours))
        rasterio.shutil.copy(plain, final, **COG_OPTIONS, overview_resampling=overviews)
        return final.read_bytes()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()
