"""Where a grid lies on a target is found once, and never given for another grid or target."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from flows.steps.loading.source_grid import SourceGrid, lattice_of, overlap
from flows.steps.loading.warping import warp
from products.window.lattice_warp import Lattice

GRID = SourceGrid((1500, 1600), Affine(10, 0, 30_000, 0, -10, 451_000), CRS("EPSG:32648"))
BOX = GeoBox((60, 70), Affine(30, 0, 690_000, 0, -30, 445_000), CRS("EPSG:32647"))
OTHERS = [
    (replace(GRID, shape=(1501, 1600)), BOX),
    (replace(GRID, shape=(1600, 1500)), BOX),
    (replace(GRID, transform=GRID.transform * Affine.translation(0.1, 0)), BOX),
    (replace(GRID, transform=GRID.transform * Affine.scale(1, -1)), BOX),
    (replace(GRID, crs=CRS("EPSG:32748")), BOX),
    (GRID, GeoBox((70, 60), BOX.affine, BOX.crs)),
    (GRID, GeoBox(BOX.shape, BOX.affine * Affine.translation(0.25, 0), BOX.crs)),
    (GRID, GeoBox(BOX.shape, BOX.affine, CRS("EPSG:32747"))),
]


@pytest.mark.parametrize(("grid", "box"), OTHERS)
def test_what_is_kept_for_one_grid_is_not_given_for_another(grid: SourceGrid, box: GeoBox) -> None:
    for found_once, fields in (
        (overlap, ("n_covered", "bits", "along_row", "along_column")),
        (lattice_of, Lattice._fields),
    ):
        found_once.cache_clear()
        found_once(GRID, BOX)
        found, fresh = found_once(grid, box), found_once.__wrapped__(grid, box)
        for each in fields:
            np.testing.assert_array_equal(getattr(found, each), getattr(fresh, each))


def test_what_is_kept_cannot_be_written_to() -> None:
    kept = lattice_of(GRID, BOX)
    assert kept is not None
    for numbers in (overlap(GRID, BOX).bits, kept.columns, kept.rows):
        with pytest.raises(ValueError, match="read-only"):
            numbers[...] = 0


@pytest.mark.parametrize("method", ["nearest", "average", "cubic"])
def test_a_second_date_of_a_grid_is_read_as_the_first(tmp_path: Path, method: str) -> None:
    edges = BOX.extent.to_crs("EPSG:32648").boundingbox
    place = from_origin(edges.left - 3000, edges.top + 3000, 10, 10)  # both offsets of the window are above 0
    values = np.random.default_rng(1).integers(1, 9000, (1500, 1600))
    profile = {"driver": "GTiff", "height": 1500, "width": 1600, "count": 1, "dtype": "uint16", "crs": "EPSG:32648"}
    with rasterio.open(tmp_path / "date.tif", "w", transform=place, **profile) as file:
        file.write(values.astype("uint16"), 1)
    dates = []
    for _ in range(3):
        out = np.full(BOX.shape, 7, np.uint16)
        with rasterio.open(tmp_path / "date.tif") as source:
            _, covered = warp(source, 1, 0, BOX, method, out)
        dates.append((out, covered.copy()))
        covered[...] = False  # it is the caller's own
    (first, first_covered), *others = dates
    assert first_covered.all() and 1000 < first.mean() < 8000
    assert all(np.array_equal(out, first) and np.array_equal(covered, first_covered) for out, covered in others)
