"""Where a grid lies on a target is found once, and never given for another grid or target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from flows.steps.loading.source_grid import Overlap, SourceGrid, TargetLattice, lattice_of, overlap
from flows.steps.loading.warping import warp

GRID = SourceGrid((1500, 1600), Affine(10, 0, 30_000, 0, -10, 451_000), CRS("EPSG:32648"))
BOX = GeoBox((60, 70), Affine(30, 0, 701_000, 0, -30, 445_000), CRS("EPSG:32647"))
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


def parts(found: Overlap | TargetLattice | None) -> list[Any]:
    if found is None:
        return []
    if isinstance(found, Overlap):
        return [found.n_covered, found.bits, found.along_row, found.along_column]
    return [*found.lattice, found.window, found.turn_deg, found.source_px, found.squares]


@pytest.mark.parametrize(("grid", "box"), OTHERS)
def test_what_is_kept_for_one_grid_is_not_given_for_another(grid: SourceGrid, box: GeoBox) -> None:
    for found_once in (overlap, lattice_of):
        found_once.cache_clear()
        found_once(GRID, BOX)
        for found, fresh in zip(parts(found_once(grid, box)), parts(found_once.__wrapped__(grid, box)), strict=True):
            np.testing.assert_array_equal(found, fresh)


def test_what_is_kept_cannot_be_written_to() -> None:
    kept = lattice_of(GRID, BOX)
    assert kept is not None
    for numbers in (overlap(GRID, BOX).bits, kept.lattice.columns, kept.lattice.rows, kept.squares):
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


@pytest.mark.parametrize("side_m", [30, 2000])
@pytest.mark.parametrize("crs", ["EPSG:32647", "EPSG:3995", "EPSG:6933"])
def test_a_square_of_the_target_is_made_of_nothing_beside_its_part_of_the_raster(crs: str, side_m: int) -> None:
    for north_m in (451_000, 8_000_000):
        grid = replace(GRID, transform=Affine(10, 0, 30_000, 0, -10, north_m))
        ((x, y),) = grid.ground.centroid.to_crs(crs).coords
        box = GeoBox((50, 90), Affine(side_m, 0, x - 40 * side_m, 0, -side_m, y + 30 * side_m), CRS(crs))
        found = lattice_of(grid, box)
        assert found is not None and found.squares.shape == (4, 2, 3)
        row, column = np.mgrid[: box.height + 1, : box.width + 1]
        columns, rows = grid.places(box, column.astype(float), row.astype(float))
        for (i, j), (top, left, bottom, right) in zip(np.ndindex(2, 3), found.squares.reshape(4, -1).T, strict=True):
            here = np.s_[32 * i : 32 * i + 33, 32 * j : 32 * j + 33]
            assert top <= rows[here].min() - 3 and rows[here].max() + 3 <= bottom  # a cubic takes two pixels beside
            assert left <= columns[here].min() - 3 and columns[here].max() + 3 <= right
            n_px = 32 * side_m / 10
            assert bottom - top < 3 * n_px + 20 and right - left < 3 * n_px + 20
