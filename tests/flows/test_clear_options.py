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
from flows.steps.loading.masking import causes_of_mask
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from products.errors import RequestError
from products.pixel.causes import ACCOUNT_NAMES, Cause
from products.registry import parse_recipe
from products.scene import Scene
from products.spec import FeaturesRecipe
from tests.flows.scene_files import write_scene

SIDE = 40
GEOBOX = GeoBox((SIDE, SIDE), Affine(30, 0, 500_010, 0, -30, 300_000), CRS("EPSG:32647"))
GROUND = GEOBOX.pad(12)
CLEAR, FILL, CLOUD, RING = 21824, 1, 22280, 21762
Pixels = NDArray[np.uint16]
Paint = Callable[[dict[str, Pixels]], None]
MakeScene = Callable[..., Scene]


def recipe(clear: str, collection: str = "landsat-c2-l2", resolution_m: float = 30) -> FeaturesRecipe:
    found = parse_recipe(
        f"""
name: clear_options
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: {resolution_m}, tile_px: {SIDE}}}
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


OWN = f"""
name: own_masks
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {SIDE}}}
period: P1Y
sources:
  - product: own_landsat
    sensor: oli
    bands: {{red: red, nir: nir}}
    scale: 0.0001
    nodata: 0
    mask: {{band: qa, bits: {{1: dilated, 3: cloud, 4: shadow}}}}
    clear: {{open_px: 1}}
features:
  - geomedian: {{bands: [red, nir]}}
"""


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
    asked = recipe(clear, resolution_m=geobox.resolution.x)
    loaded = load_observations(asked, scenes, geobox, 2, RasterAccess())
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
    assert recipe("{dilate_px: 5, open_px: 1}").halo_px == 7


def cloud_with_ring(top: int, left: int, side: int) -> Paint:
    """A cloud as QA_PIXEL has it: with three pixels in all directions that are dilated cloud."""

    def paint(layers: dict[str, Pixels]) -> None:
        put("qa_pixel", np.s_[top - 3 : top + side + 3, left - 3 : left + side + 3], RING)(layers)
        put("qa_pixel", np.s_[top : top + side, left : left + side], CLOUD)(layers)

    return paint


@pytest.mark.parametrize("resolution_m", [10, 30])
def test_the_ring_that_qa_pixel_has_around_a_cloud_goes_with_the_cloud(
    make_scene: MakeScene, resolution_m: int
) -> None:
    scene = make_scene(0, cloud_with_ring(5, 5, 1))
    geobox = GEOBOX.zoom_to(resolution=resolution_m)
    native = (30 // resolution_m) ** 2
    delivered, opened = accounts("{}", [scene], geobox), accounts("{open_m: 30}", [scene], geobox)

    assert (delivered["cloud"].sum(), delivered["dilated"].sum()) == (native, 48 * native)
    assert opened["used"].all()


def test_a_cloud_that_is_left_keeps_its_ring_and_what_it_loses_at_corners_is_of_the_ring(
    make_scene: MakeScene,
) -> None:
    def paint(layers: dict[str, Pixels]) -> None:
        cloud_with_ring(20, 20, 6)(layers)
        cloud_with_ring(31, 23, 1)(layers)
        put("qa_pixel", np.s_[19:20, 22:23], RING | 1 << 4)(layers)

    found = accounts("{open_px: 1}", [make_scene(0, paint)])
    expected = np.zeros(GEOBOX.shape, bool)
    expected[17:29, 17:29] = True
    expected[17:29:11, 17:29:11] = False  # three pixels off a corner that is no cloud any more
    cloud = np.zeros(GEOBOX.shape, bool)
    cloud[20:26, 20:26] = True
    cloud[20:26:5, 20:26:5] = False
    np.testing.assert_array_equal(found["cloud"] == 1, cloud)
    assert found["shadow"].sum() == found["shadow"][19, 22] == 1
    sure = np.s_[:29]
    np.testing.assert_array_equal((found["dilated"] + found["shadow"])[sure] == 1, (expected & ~cloud)[sure])
    assert found["used"][31, 23] == 1 and found["used"][30:].all()


@pytest.mark.parametrize("resolution_m", [10, 20, 25, 30, 45, 60, 100])
def test_no_pixel_size_costs_a_cloud_its_ring(make_scene: MakeScene, resolution_m: int) -> None:
    def paint(layers: dict[str, Pixels]) -> None:
        layers["qa_pixel"][:30], layers["qa_pixel"][30:33] = CLOUD, RING

    scene = make_scene(0, paint)
    side = 900 // resolution_m
    geobox = GeoBox((side, side), Affine(resolution_m, 0, 500_117, 0, -resolution_m, 299_893), GEOBOX.crs)
    delivered = accounts("{}", [scene], geobox)
    opened = accounts(f"{{open_m: {max(resolution_m, 30)}}}", [scene], geobox)

    assert delivered["dilated"].any() and delivered["cloud"].any() and delivered["used"].any()
    for name, layer in delivered.items():
        np.testing.assert_array_equal(opened[name], layer, err_msg=name)


def test_a_ring_whose_width_nobody_states_stays(make_scene: MakeScene) -> None:
    own = parse_recipe(OWN, "own.yaml")
    assert isinstance(own, FeaturesRecipe)
    causes = np.empty(GEOBOX.shape, np.uint8)
    values = np.full(GEOBOX.shape, CLEAR, np.uint16)
    values[5:12, 5:12], values[8, 8] = RING, CLOUD
    causes_of_mask(own.sources[0], make_scene(0), GEOBOX, values, None, causes)
    assert (causes == Cause.DILATED).sum() == 48 and causes[8, 8] == Cause.USED
    assert own.halo_px == recipe("{open_px: 1}", "sentinel-2-l2a").halo_px == 2
    landsat = recipe("{open_px: 1}").sources[0]
    assert landsat.halo_px(30, "utm") == landsat.halo_px(30, "EPSG:32647") == landsat.halo_px(30, "EPSG:3031") == 6
    assert landsat.halo_px(30, "EPSG:3857") == landsat.halo_px(30, "EPSG:6933") == landsat.halo_px(0.25, "utm") == 2
    for decide, halo_px in (("model", 2), ("both", 2), ("either", 6)):
        assert recipe(f"{{model: omnicloudmask, decide: {decide}, open_px: 1}}").halo_px == halo_px


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


def test_what_is_no_cloud_after_opening_is_what_the_mask_says_beside_cloud(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    opened = "{open_px: 1}"
    for day, (beside, name) in enumerate(((1 << 4, "shadow"), (1 << 2, "cirrus"), (1 << 5, "snow"), (0, "used"))):
        scene = make_scene(day, put("qa_pixel", np.s_[8:9, 8:9], CLOUD | beside))
        assert accounts("{}", [scene])["cloud"][8, 8] == 1
        assert accounts(opened, [scene])[name][8, 8] == 1, name
    both = make_scene(9, put("qa_pixel", np.s_[8:9, 8:9], 55052))  # a published value: cloud and cirrus
    assert accounts(opened, [both])["cirrus"].sum() == 1
    assert accounts("{open_px: 1, keep: [cirrus]}", [both])["used"].all()

    classes = {3: "shadow", 10: "cirrus", 1: "saturated", 8: "used", 11: "snow"}

    def paint(layers: dict[str, Pixels]) -> None:
        for column, value in enumerate(classes):
            put("scl", np.s_[8:9, 5 * column : 5 * column + 1], value)(layers)
            put("cloud_probability", np.s_[8:9, 5 * column : 5 * column + 1], 60)(layers)

    scene = with_probability(tmp_path, 0, paint)
    likely = load_observations(
        msi_recipe("{cloud_probability: 50, open_px: 1}"), [scene], GEOBOX, 1, RasterAccess()
    ).seen
    found = dict(zip(ACCOUNT_NAMES, likely.accounts, strict=True))
    assert [found[name][8, 5 * column] for column, name in enumerate(classes.values())] == [1] * len(classes)
    assert not found["cloud"].any()


@pytest.mark.parametrize("decide", ["model", "either", "both"])
def test_a_cloud_of_the_model_that_is_opened_away_leaves_what_the_masks_say_beside_it(
    make_scene: MakeScene, decide: str
) -> None:
    delivered = np.full(GEOBOX.shape, CLEAR, np.uint16)
    delivered[8, 8], delivered[8, 13], delivered[8, 18] = 23888, 30048, CLOUD
    modelled = np.zeros(GEOBOX.shape, np.uint8)
    modelled[8, 8:19:5], modelled[8, 23] = Cause.CLOUD, Cause.CLOUD
    delivered[8, 28], modelled[8, 28] = CLOUD, Cause.SHADOW
    asked = recipe(f"{{model: omnicloudmask, decide: {decide}, open_px: 1}}")
    causes = np.empty(GEOBOX.shape, np.uint8)
    causes_of_mask(asked.sources[0], make_scene(0), GEOBOX, delivered, None, causes, modelled)

    assert causes[8, 8:29:5].tolist() == [Cause.SHADOW, Cause.SNOW, Cause.USED, Cause.USED, Cause.SHADOW]


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
        layers["qa_pixel"][...] = random.choice([CLEAR, RING, CLOUD], GROUND.shape, p=[0.3, 0.3, 0.4])

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
