"""What a recipe says of clear observations, on whole tiles: openings, ranges, scan-line gaps and clouds that never go."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from flows.cell_memory import cell_bytes
from flows.steps.loading.raster_access import RasterAccess
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


def recipe(clear: str, collection: str = "landsat-c2-l2") -> FeaturesRecipe:
    found = parse_recipe(
        f"""
name: clear_options
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {SIDE}}}
period: P1Y
sources:
  - {{collection: {collection}, clear: {clear}}}
features:
  - geomedian: {{bands: [red, nir]}}
""",
        "clear_options.yaml",
    )
    assert isinstance(found, FeaturesRecipe)
    return found


def msi_recipe(clear: str) -> FeaturesRecipe:
    return recipe(clear, "sentinel-2-l2a")


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


def test_clouds_grow_and_are_opened_by_metres_as_by_pixels(make_scene: MakeScene) -> None:
    def paint(layers: dict[str, Pixels]) -> None:
        put("qa_pixel", np.s_[5:6, 5:6], CLOUD)(layers)
        put("qa_pixel", np.s_[20:30, 20:30], CLOUD)(layers)

    scene = make_scene(0, paint)
    for metres, pixels in (
        ("{dilate_m: 60, open_m: 30}", "{dilate_px: 2, open_px: 1}"),
        ("{dilate_m: 90}", "{dilate_px: 3}"),
    ):
        assert recipe(metres).halo_px == recipe(pixels).halo_px
        by_metres, by_pixels = accounts(metres, [scene]), accounts(pixels, [scene])
        for name, layer in by_pixels.items():
            np.testing.assert_array_equal(by_metres[name], layer, err_msg=name)
    between = accounts("{dilate_m: 45}", [scene])  # 1.5 pixels: the diagonal neighbours, and none beyond
    assert between["dilated"][4, 4] == 1 and between["dilated"][5, 7] == 0
    part = accounts("{dilate_m: 45}", [scene], GEOBOX[3:24, 3:31])
    np.testing.assert_array_equal(between["dilated"][3:24, 3:31], part["dilated"])


def with_probability(folder: Path, day: int, paint: Paint) -> Scene:
    layers = {"red": np.full(GROUND.shape, 1000), "nir": np.full(GROUND.shape, 3000), "scl": np.full(GROUND.shape, 4)}
    layers = {name: layer.astype(np.uint16) for name, layer in layers.items()}
    layers["cloud_probability"] = np.zeros(GROUND.shape, np.uint16)
    paint(layers)
    written = write_scene(folder, f"s2_{day}", layers, GROUND, datetime(2020, 1, 1 + day, tzinfo=UTC))
    return replace(written, collection="sentinel-2-l2a", sensor="msi", platform="sentinel-2a")


def test_a_probable_cloud_that_the_scene_classes_miss_is_cloud_and_grows(tmp_path: Path) -> None:
    scene = with_probability(tmp_path, 0, put("cloud_probability", np.s_[8:12, 8:12], 55))
    found = {}
    for limit in (50, 60):
        asked = msi_recipe(f"{{dilate_px: 1, cloud_probability: {limit}}}")
        found[limit] = dict(
            zip(ACCOUNT_NAMES, load_observations(asked, [scene], GEOBOX, 1, RasterAccess()).seen.accounts, strict=True)
        )
    assert found[50]["cloud"][8:12, 8:12].all() and found[50]["cloud"].sum() == 16
    assert found[50]["dilated"][7, 8] == 1
    assert found[60]["used"].all()


def test_a_probability_that_cannot_be_read_leaves_the_scene_unread_and_one_that_is_not_there_is_refused(
    tmp_path: Path,
) -> None:
    asked = msi_recipe("{cloud_probability: 50}")
    scene = with_probability(tmp_path, 0, lambda layers: None)
    Path(scene.bands["cloud_probability"].href).write_bytes(b"no raster")
    loaded = load_observations(asked, [scene], GEOBOX, 1, RasterAccess())
    assert [asset.band for asset in loaded.manifest.failed] == ["cloud_probability"]
    assert loaded.seen.accounts[ACCOUNT_NAMES.index("unread")].all()

    asked.check_scenes([scene])
    without = {name: file for name, file in scene.bands.items() if name != "cloud_probability"}
    with pytest.raises(RequestError, match="cloud_probability: 1 of 2 scenes come without it, the first s2_0"):
        asked.check_scenes([scene, replace(scene, bands=without)])
    plain = msi_recipe("{}")
    plain.check_scenes([replace(scene, bands=without)])
    assert cell_bytes(asked, 20, 2) > cell_bytes(plain, 20, 2)


def test_a_saturated_band_that_is_not_read_and_its_neighbours_stay(make_scene: MakeScene) -> None:
    def paint(layers: dict[str, Pixels]) -> None:
        layers["qa_radsat"] = np.zeros(GROUND.shape, np.uint16)
        for row, bits in enumerate((1 << 3, 1 << 8, 1 << 5, 1 << 11)):  # red, cirrus, swir1, hidden ground
            put("qa_radsat", np.s_[row : row + 1, :], bits)(layers)

    found = accounts("{}", [make_scene(0, paint)])
    assert found["saturated"][0].all() and found["saturated"].sum() == SIDE
    assert found["used"][1:3].all() and found["nodata"][3].all()


FINE = GeoBox((3 * SIDE, 3 * SIDE), Affine(10, 0, 500_010, 0, -10, 300_000), CRS("EPSG:32647"))


@pytest.mark.parametrize("number", [65535, 32767])
def test_a_pixel_of_30_m_with_a_saturated_one_of_10_m_in_it_is_saturated(tmp_path: Path, number: int) -> None:
    layers = {"red": np.full(FINE.shape, 1200), "nir": np.full(FINE.shape, 3000), "scl": np.full(FINE.shape, 4)}
    layers["red"][::30, 2::30] = number
    written = write_scene(tmp_path, "s2", layers, FINE, datetime(2020, 1, 1, tzinfo=UTC))
    bands = {name: replace(file, scale=1e-4, offset=-0.1) for name, file in written.bands.items()}
    bands |= {name: replace(bands[name], saturated=number) for name in ("red", "nir")}
    scene = replace(written, collection="sentinel-2-l2a", sensor="msi", platform="sentinel-2a", bands=bands)
    asked = msi_recipe("{valid_range: [-0.2, 1.6]}")
    for geobox, step in ((GEOBOX, 10), (FINE[:SIDE, :SIDE], 30)):
        seen = load_observations(asked, [scene], geobox, 1, RasterAccess()).seen
        found = dict(zip(ACCOUNT_NAMES, seen.accounts, strict=True))
        first = 0 if step == 10 else 2
        assert found["saturated"][::step, first::step].all()
        assert found["saturated"].sum() == found["saturated"][::step, first::step].sum()
        assert (found["used"] + found["saturated"] == 1).all() and set(seen.block[0, 0][found["used"] == 1]) == {1200}


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
        ("{dilate_px: 2, dilate_m: 60}", "expected dilate_px or dilate_m, and not both"),
        ("{open_m: 20}", "open_m: expected 30 to 600 metres on pixels of 30 m, got 20"),
        ("{dilate_m: 1600}", "dilate_m: expected 30 to 1500 metres on pixels of 30 m, got 1600"),
        ("{cloud_probability: 40}", "cloud_probability comes with sentinel-2-l2a only: leave it out of landsat-c2-l2"),
    ],
)
def test_contradictions_are_named(clear: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(clear)
