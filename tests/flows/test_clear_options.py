"""What a recipe says of clear observations, on whole tiles: openings, ranges, scan-line gaps and clouds that never go."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from flows.steps.loading.reading import RasterAccess
from flows.steps.loading.tile_block import load_observations
from products.errors import RequestError
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import parse_recipe
from products.scene import Scene
from products.spec import FeaturesRecipe
from tests.flows.scene_files import write_scene

SIDE = 40
GEOBOX = GeoBox((SIDE, SIDE), Affine(30, 0, 500_010, 0, -30, 300_000), CRS("EPSG:32647"))
GROUND = GEOBOX.pad(12)
CLEAR, FILL, CLOUD = 21824, 1, 22280
Pixels = NDArray[np.uint16]
Paint = Callable[[dict[str, Pixels]], None]
MakeScene = Callable[..., Scene]


def recipe(clear: str) -> FeaturesRecipe:
    found = parse_recipe(
        f"""
name: clear_options
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {SIDE}}}
period: P1Y
sources:
  - {{collection: landsat-c2-l2, clear: {clear}}}
features:
  - geomedian: {{bands: [red, nir]}}
""",
        "clear_options.yaml",
    )
    assert isinstance(found, FeaturesRecipe)
    return found


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    def make(
        day: int, paint: Paint | None = None, platform: str = "landsat-8", sensor: str = "oli", year: int = 2020
    ) -> Scene:
        layers = {"red": np.full(GROUND.shape, 10_000, np.uint16), "nir": np.full(GROUND.shape, 15_000, np.uint16)}
        layers["qa_pixel"] = np.full(GROUND.shape, CLEAR, np.uint16)
        if paint:
            paint(layers)
        acquired = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day)
        name = f"{platform}_{year}_{day}"
        return write_scene(tmp_path, name, layers, GROUND, acquired, platform=platform, sensor=sensor)

    return make


def accounts(clear: str, scenes: Iterable[Scene], geobox: GeoBox = GEOBOX) -> dict[str, Pixels]:
    loaded = load_observations(recipe(clear), scenes, geobox, 2, RasterAccess())
    return dict(zip(ACCOUNT_NAMES, loaded.seen.accounts, strict=True))


def put(band: str, where: tuple[slice, slice], value: int) -> Paint:
    def paint(layers: dict[str, Pixels]) -> None:
        layers[band][12:-12, 12:-12][where] = value

    return paint


def test_small_clouds_are_opened_away_before_clouds_grow(make_scene: MakeScene) -> None:
    def paint(layers: dict[str, Pixels]) -> None:
        put("qa_pixel", np.s_[5:6, 5:6], CLOUD)(layers)
        put("qa_pixel", np.s_[20:30, 20:30], CLOUD)(layers)

    scene = make_scene(0, paint)
    plain, opened = accounts("{dilate_px: 2}", [scene]), accounts("{dilate_px: 2, open_px: 1}", [scene])

    assert plain["cloud"][5, 5] == plain["dilated"][5, 7] == 1
    assert opened["used"][5, 5] == opened["used"][5, 7] == 1
    assert opened["cloud"][25, 25] == opened["dilated"][25, 31] == 1
    assert recipe("{dilate_px: 2, open_px: 1}").halo_px == 4


def test_an_opened_tile_is_a_crop_of_the_whole(make_scene: MakeScene) -> None:
    random = np.random.default_rng(3)

    def paint(layers: dict[str, Pixels]) -> None:
        cloud = random.random(GROUND.shape) < 0.35
        layers["qa_pixel"][cloud] = CLOUD

    scene = make_scene(0, paint)
    clear = "{dilate_px: 1, open_px: 1}"
    whole, part = accounts(clear, [scene]), accounts(clear, [scene], GEOBOX[8:24, 3:31])

    for name, layer in whole.items():
        np.testing.assert_array_equal(layer[8:24, 3:31], part[name], err_msg=name)
    assert part["dilated"].any() and part["used"].any() and part["cloud"].any()


def test_reflectance_beyond_the_range_is_not_used(make_scene: MakeScene) -> None:
    dark, bright = round((-0.15 + 0.2) / 2.75e-5), round((1.3 + 0.2) / 2.75e-5)

    def paint(layers: dict[str, Pixels]) -> None:
        put("red", np.s_[0:2, :], dark)(layers)
        put("nir", np.s_[2:5, :], bright)(layers)

    scene = make_scene(0, paint)
    free, bounded = accounts("{}", [scene]), accounts("{valid_range: [-0.1, 1.2]}", [scene])

    assert free["used"].all() and not free["out_of_range"].any()
    assert bounded["out_of_range"][:5].all() and bounded["used"][5:].all()
    assert accounts("{valid_range: [-0.1501, 1.3001]}", [scene])["used"].all()


@pytest.mark.parametrize(("year", "cause"), [(2002, "nodata"), (2004, "slc_gap")])
def test_missing_lines_of_landsat_7_are_gaps_since_the_corrector_failed(
    make_scene: MakeScene, year: int, cause: str
) -> None:
    gap = put("qa_pixel", np.s_[10:13, :], FILL)
    found = accounts("{}", [make_scene(0, gap, "landsat-7", "etm", year)])

    assert found[cause][10:13].all() and found[cause].sum() == 3 * SIDE
    assert accounts("{}", [make_scene(1, gap)])["nodata"][10:13].all()


def test_sand_that_is_always_cloud_is_persistent_cloud(make_scene: MakeScene) -> None:
    sand = put("qa_pixel", np.s_[10:14, 10:14], CLOUD)
    scenes = [make_scene(day, sand) for day in range(9)]
    plain = accounts("{dilate_px: 1}", scenes)
    found = accounts("{dilate_px: 1, persistent_cloud: 0.9}", scenes)
    kept = accounts("{persistent_cloud: 0.9, keep: [persistent_cloud]}", scenes)

    assert (plain["cloud"][10:14, 10:14] == 9).all() and plain["dilated"].any()
    assert (found["persistent_cloud"][10:14, 10:14] == 9).all() and not found["dilated"].any()
    assert (kept["used"] == 9).all()


@pytest.mark.parametrize(
    ("clear", "message"),
    [
        ("{valid_range: [1, 0]}", "expected valid_range"),
        ("{keep: [persistent_cloud]}", "needs the share, as persistent_cloud: 0.9"),
        ("{persistent_cloud: 0.3}", "greater than 0.5"),
    ],
)
def test_contradictions_are_named(clear: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(clear)
