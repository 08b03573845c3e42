"""The dated map of a condition, of a cube of two passes on a grid that stretches the ground."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401 - gives datasets `.odc`
import pytest
import rasterio
import shapely
import xarray
from odc.geo.geobox import Affine, GeoBox
from odc.geo.geom import Geometry, box

from datacube_config.settings import Settings
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.snapshot import assemble
from flows.steps.index.catalogue import published_cells
from flows.steps.learning.condition_map import write_condition_map
from flows.steps.storage import open_storage, path_of
from products.area import Area
from products.condition import NO, UNSEEN, YES
from products.grid import Tile
from products.learning.ground_area import ground_m2
from products.passes import Pass
from products.pixel.causes import Cause
from products.template import observations_template
from tests.flows.sampled_coast import DAYS, GRID, OBSERVATIONS, TILES, Coast

CRS = "EPSG:3857"
SIDE_PX, RESOLUTION_M, LEFT, TOP = 20, 30.0, 1_113_000.0, 8_399_730.0  # at 60 degrees north


def write_cube(path: Path) -> None:
    """Two passes: water in the west, in the second under cloud in the north."""
    grid = GeoBox((SIDE_PX, SIDE_PX), Affine(RESOLUTION_M, 0, LEFT, 0, -RESOLUTION_M, TOP), CRS)
    red = np.full((1, 2, SIDE_PX, SIDE_PX), 0.3, np.float32)
    red[..., :5] = 0.02
    cause = np.full((2, SIDE_PX, SIDE_PX), Cause.USED, np.uint8)
    cause[1, :10] = Cause.CLOUD
    arrays = {"reflectance": (("band", "time", "y", "x"), red), "cause": (("time", "y", "x"), cause)}
    axes = {axis: grid.coordinates[axis].values for axis in ("y", "x")}
    cube = xarray.Dataset(
        arrays, {"band": np.array(["red"], object), "pass_id": ("time", np.array(["first", "second"], object)), **axes}
    )
    cube.odc.assign_crs(CRS).to_zarr(path, zarr_format=3, consolidated=False)


@pytest.mark.parametrize(("pass_id", "n_yes"), [("first", 100), ("second", 50)])
def test_hectares_are_those_of_the_ground(pass_id: str, n_yes: int, tmp_path: Path) -> None:
    write_cube(tmp_path / "cube.zarr")
    storage = open_storage(Settings(home=tmp_path / "home"))
    frame = box(LEFT + 1, TOP - SIDE_PX * RESOLUTION_M + 1, LEFT + SIDE_PX * RESOLUTION_M - 1, TOP - 1, CRS)
    area, folder = Area("north", frame.to_crs("EPSG:4326")), storage.path("answers")
    made = write_condition_map(storage, str(tmp_path / "cube.zarr"), CRS, pass_id, "red < 0.1", area, folder)
    with rasterio.open(path_of(made.map)) as file:
        codes, here = file.read(1), file.transform
    assert (np.sum(codes == YES), np.sum(codes == NO)) == (n_yes, 3 * n_yes)
    assert np.sum(codes == UNSEEN) == 400 - 4 * n_yes
    x, y = here.c + 15 + 30 * np.arange(SIDE_PX), here.f - 15 - 30 * np.arange(SIDE_PX)
    ground = ground_m2(CRS, x, y, RESOLUTION_M)[codes == YES].sum() / 10_000
    assert made.hectares == pytest.approx(ground, rel=1e-6)
    assert made.hectares == pytest.approx(n_yes * 0.0225, rel=0.01)  # of a metre of the grid, half is ground


def test_sites_far_apart_have_maps_of_their_own_where_the_pass_went_over_them(coast: Coast, tmp_path: Path) -> None:
    near, far = TILES[0], Tile(GRID.crs, -4000, 150)
    passes = tuple(
        Pass(day, day + timedelta(seconds=1), f"landsat-8/127/{day:%Y-%m-%d}", "landsat-8") for day in DAYS[::2]
    )
    known = published_cells(coast.index, OBSERVATIONS.name, OBSERVATIONS.version, passes)
    both, last = (known[near.label, one.label] for one in passes)
    there = {
        (near.label, passes[0].label): both,
        (far.label, passes[0].label): both,
        (near.label, passes[1].label): last,
    }
    template = observations_template(OBSERVATIONS)
    assemble(
        coast.storage, str(tmp_path / "far.zarr"), CubePlan(template, "far", GRID, (far, near), passes, there, there)
    )
    frames = {tile: GRID.geobox(tile).pad(-4) for tile in (far, near)}
    sites = [frame.extent.to_crs("EPSG:4326").geom for frame in frames.values()]
    area = Area("far", Geometry(shapely.union_all(sites), "EPSG:4326"))
    codes = np.where(coast.values[0, 4:-4, 4:60] < 0.1, YES, NO)
    folder = f"{tmp_path}/answers"

    made = write_condition_map(
        coast.storage, str(tmp_path / "far.zarr"), GRID.crs, passes[0].label, "red < 0.1", area, folder
    )
    assert made.maps == (f"{folder}/map_1.tif", f"{folder}/map_2.tif") and made.map == made.maps[0]
    assert made.pictures == (f"{folder}/map_1.png", f"{folder}/map_2.png") and made.picture == made.pictures[0]
    for path, frame in zip(made.maps, frames.values(), strict=True):
        with rasterio.open(path) as file:
            assert max(file.shape) <= 64
            window = file.window(*frame.extent.boundingbox.bbox).round_offsets().round_lengths()
            np.testing.assert_array_equal(file.read(1, window=window), codes)
    assert made.clear_share == 1.0
    assert made.share == pytest.approx((codes == YES).mean(), abs=1e-3)
    assert made.hectares == pytest.approx(2 * (codes == YES).sum() * 0.09, rel=0.01)

    made = write_condition_map(
        coast.storage, str(tmp_path / "far.zarr"), GRID.crs, passes[1].label, "red > 1", area, f"{folder}/last"
    )
    assert made.maps == (f"{folder}/last/map.tif",) and made.share == 1.0
    assert made.clear_share == pytest.approx(0.5, abs=0.01)
