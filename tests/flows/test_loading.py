"""A tile is loaded once: passes fuse, causes follow their precedence, and every observation is accounted for."""

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

from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import Loaded, in_written_order, load_observations
from products.features import compute_features
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.registry import parse_recipe
from products.scene import Scene
from products.spec import FeaturesRecipe
from tests.flows.scene_files import write_scene

SIDE = 40
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
GEOBOX = GeoBox((SIDE, SIDE), Affine(30, 0, 500_010, 0, -30, 300_000), CRS("EPSG:32647"))
GROUND = GEOBOX.pad(10)
CLEAR, FILL, CLOUD, SHADOW, CIRRUS, SNOW, WATER = 21824, 1, 22280, 23888, 21892, 21888 + 32, 21952
Array = NDArray[np.uint16]
MakeScene = Callable[..., Scene]


def recipe(dilate_px: int = 0, features: str = "- geomedian: {bands: [red, nir]}\n  - count: {}") -> FeaturesRecipe:
    found = parse_recipe(
        f"""
name: two_bands
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {SIDE}}}
period: P1Y
sources:
  - {{collection: landsat-c2-l2, clear: {{dilate_px: {dilate_px}}}}}
features:
  {features}
""",
        "two_bands.yaml",
    )
    assert isinstance(found, FeaturesRecipe)
    return found


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    """Writes a scene: a mask over the tile and 10 pixels around, bands of one number, edited by `paint`."""

    def make(name: str, number: int = 10_000, day: int = 0, pass_id: str | None = None,
             paint: Callable[[dict[str, Array]], None] | None = None, ground: GeoBox = GROUND) -> Scene:  # fmt: skip
        random = np.random.default_rng(number)
        layers = {band: (number + random.integers(0, 500, ground.shape)).astype(np.uint16) for band in ("red", "nir")}
        layers |= {"qa_pixel": np.full(ground.shape, CLEAR, np.uint16), "qa_radsat": np.zeros(ground.shape, np.uint16)}
        if paint:
            paint(layers)
        acquired = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)
        return write_scene(tmp_path, name, layers, ground, acquired, pass_id=pass_id)

    return make


def load(scenes: Iterable[Scene], geobox: GeoBox = GEOBOX, dilate_px: int = 0, threads: int = 2) -> Loaded:
    return load_observations(recipe(dilate_px), scenes, geobox, threads, RasterAccess())


def account(loaded: Loaded, name: str) -> Array:
    return loaded.seen.accounts[ACCOUNT_NAMES.index(name)]


def features(loaded: Loaded) -> NDArray[np.float32]:
    return compute_features(recipe(), loaded.seen, YEAR, 1)


def painted(**areas: tuple[tuple[slice, slice], int]) -> Callable[[dict[str, Array]], None]:
    def paint(layers: dict[str, Array]) -> None:
        for band, (where, value) in areas.items():
            layers[band][10:-10, 10:-10][where] = value

    return paint


def test_scenes_of_two_days_are_two_observations(make_scene: MakeScene) -> None:
    loaded = load([make_scene("a"), make_scene("b", day=16)])

    assert (account(loaded, "expected") == 2).all()
    assert (account(loaded, "used") == 2).all()
    assert loaded.seen.bands == ("red", "nir")
    assert loaded.manifest.document()["read"] == len(loaded.manifest.assets) == 2 * 4


def test_overlapping_scenes_of_one_pass_are_one_observation(make_scene: MakeScene) -> None:
    one = load([make_scene("a", pass_id="p")])
    both = load([make_scene("a", pass_id="p"), make_scene("b", 20_000, pass_id="p")])

    assert (account(both, "expected") == 1).all()
    np.testing.assert_array_equal(features(both), features(one))


def test_an_overlapping_scene_fills_only_missing_pixels(make_scene: MakeScene) -> None:
    left, cloudy = np.s_[:, :15], np.s_[:5, 20:]
    first = make_scene("a", pass_id="p", paint=painted(qa_pixel=(left, FILL)))
    with_cloud = make_scene("a_cloud", pass_id="p", paint=painted(qa_pixel=(cloudy, CLOUD)))
    second = make_scene("b", 20_000, pass_id="p")
    filled, clouded = load([first, second]), load([with_cloud, second])

    np.testing.assert_array_equal(filled.seen.causes[0][left], NOT_EXPECTED)
    np.testing.assert_array_equal(filled.seen.causes[1][left], Cause.USED)
    np.testing.assert_array_equal(filled.seen.causes[1][:, 15:], NOT_EXPECTED)
    assert (account(filled, "used") == 1).all()
    assert (account(clouded, "cloud")[cloudy] == 1).all()


@pytest.mark.parametrize(
    ("paint", "cause"),
    [
        (painted(qa_pixel=(np.s_[:], FILL)), "nodata"),
        (painted(qa_pixel=(np.s_[:], CLOUD)), "cloud"),
        (painted(qa_pixel=(np.s_[:], SHADOW)), "shadow"),
        (painted(qa_pixel=(np.s_[:], CIRRUS)), "cirrus"),
        (painted(qa_pixel=(np.s_[:], SNOW)), "snow"),
        (painted(qa_pixel=(np.s_[:], CLOUD | SHADOW | FILL)), "nodata"),
        (painted(qa_pixel=(np.s_[:], WATER)), "used"),
        (painted(red=(np.s_[:], 0)), "nodata"),
        (painted(nir=(np.s_[:], 65535)), "saturated"),
        (painted(qa_radsat=(np.s_[:], 8)), "saturated"),
        (painted(qa_radsat=(np.s_[:], 8), red=(np.s_[:], 0)), "nodata"),
        (painted(qa_radsat=(np.s_[:], 8), qa_pixel=(np.s_[:], CLOUD)), "cloud"),
    ],
)
def test_each_pixel_has_the_first_cause_that_applies(
    make_scene: MakeScene, paint: Callable[[dict[str, Array]], None], cause: str
) -> None:
    loaded = load([make_scene("a", paint=paint)])

    assert (account(loaded, cause) == 1).all()
    assert (account(loaded, "expected") == 1).all()


def test_bands_of_a_scene_without_clear_pixels_are_not_read(make_scene: MakeScene) -> None:
    manifest = load([make_scene("a", paint=painted(qa_pixel=(np.s_[:], CLOUD)))]).manifest

    assert [asset.outcome for asset in manifest.assets] == ["read", "unneeded", "unneeded"]
    assert not manifest.failed


def test_outside_the_file_nothing_is_expected(make_scene: MakeScene) -> None:
    west = GROUND[:, : 10 + SIDE // 2]
    loaded = load([make_scene("west", ground=west)])

    np.testing.assert_array_equal(account(loaded, "expected")[:, : SIDE // 2], 1)
    np.testing.assert_array_equal(account(loaded, "expected")[:, SIDE // 2 :], 0)
    assert np.isnan(features(loaded)[0, :, SIDE // 2 :]).all()


def test_clouds_grow_across_the_edge_of_the_tile(make_scene: MakeScene) -> None:
    def beside(layers: dict[str, Array]) -> None:
        layers["qa_pixel"][30, 8] = CLOUD

    grown = account(load([make_scene("a", paint=beside)], dilate_px=3), "dilated")

    assert grown.sum() == 6
    assert grown[20, :2].tolist() == [1, 1]
    assert (account(load([make_scene("a", paint=beside)], dilate_px=1), "dilated") == 0).all()


def test_a_tile_is_a_crop_of_the_whole(make_scene: MakeScene) -> None:
    def spots(layers: dict[str, Array]) -> None:
        random = np.random.default_rng(1)
        for value in (CLOUD, SHADOW, SNOW, FILL):
            layers["qa_pixel"][random.random(GROUND.shape) < 0.01] = value
        layers["red"][random.random(GROUND.shape) < 0.01] = 0

    scenes = [
        make_scene("a", pass_id="p", paint=spots),
        make_scene("b", 20_000, pass_id="p"),
        make_scene("c", day=16, paint=spots),
    ]
    whole = load(scenes, dilate_px=2)
    for crop in (np.s_[:20, :20], np.s_[13:33, 7:40], np.s_[39:, 39:]):
        part = load(scenes, GEOBOX[crop], dilate_px=2)
        np.testing.assert_array_equal(part.seen.accounts, whole.seen.accounts[:, *crop])
        np.testing.assert_array_equal(features(part), features(whole)[:, *crop])


def broken(scene: Scene, band: str) -> Scene:
    path = Path(scene.bands[band].href)
    path.write_bytes(path.read_bytes()[:200])
    return scene


def test_a_broken_band_makes_its_clear_pixels_unread_and_never_cloud(make_scene: MakeScene) -> None:
    cloudy = np.s_[:10, :]
    scene = broken(make_scene("a", paint=painted(qa_pixel=(cloudy, CLOUD))), "nir")
    loaded = load([scene, make_scene("b", day=16)])

    assert account(loaded, "unread").sum() == 30 * SIDE
    assert account(loaded, "cloud").sum() == 10 * SIDE
    assert (account(loaded, "used") == 1).all()
    assert loaded.manifest.unread_scenes == {scene.id}
    failure = loaded.manifest.document()["failed"][0]
    assert (failure["item_id"], failure["band"]) == ("a", "nir")
    assert "a_nir.tif" in failure["cause"]


def test_a_broken_mask_makes_the_whole_footprint_unread(make_scene: MakeScene) -> None:
    scene = broken(make_scene("west", ground=GROUND[:, : 10 + SIDE // 2]), "qa_pixel")
    loaded = load([scene])

    np.testing.assert_array_equal(account(loaded, "unread")[:, : SIDE // 2 - 1], 1)
    np.testing.assert_array_equal(account(loaded, "expected")[:, SIDE // 2 + 1 :], 0)
    assert loaded.manifest.assets[0].outcome == "failed"


def test_another_scene_of_the_pass_fills_what_is_unread(make_scene: MakeScene) -> None:
    scenes = [broken(make_scene("a", pass_id="p"), "red"), make_scene("b", 20_000, pass_id="p")]
    loaded = load(scenes)

    assert (account(loaded, "used") == 1).all()
    assert account(loaded, "unread").sum() == 0
    assert loaded.manifest.failed


def test_a_band_that_is_not_indexed_is_a_failure_with_its_cause(make_scene: MakeScene) -> None:
    scene = make_scene("a")
    without = replace(scene, bands={name: file for name, file in scene.bands.items() if name != "red"})
    failed = load([without]).manifest.failed

    assert [(asset.band, asset.cause) for asset in failed] == [("red", "the indexed scene a has no band red")]


def test_accounts_balance_and_causes_are_accounted(make_scene: MakeScene) -> None:
    loaded = load(
        [
            make_scene("a", paint=painted(qa_pixel=(np.s_[:, :9], CLOUD), red=(np.s_[:4, :], 0))),
            broken(make_scene("b", day=1), "nir"),
            make_scene("c", day=2, ground=GROUND[: 10 + 11, :]),
        ],
        dilate_px=2,
    )
    accounts = loaded.seen.accounts.astype(int)

    np.testing.assert_array_equal(accounts[0], accounts[1:].sum(axis=0))
    np.testing.assert_array_equal(account(loaded, "used"), (loaded.seen.causes == 0).sum(axis=0))
    assert accounts.max() == 3


def test_the_order_of_scenes_and_the_number_of_threads_do_not_matter(make_scene: MakeScene) -> None:
    scenes = [make_scene(name, 10_000 + 100 * n, day=n // 2, pass_id=f"p{n // 2}") for n, name in enumerate("abcdef")]
    one, other = load(scenes, threads=1), load(scenes[::-1], threads=4)

    np.testing.assert_array_equal(one.seen.block, other.seen.block)
    np.testing.assert_array_equal(one.seen.causes, other.seen.causes)
    assert [asset.item_id for asset in one.manifest.assets] == [asset.item_id for asset in other.manifest.assets]


def test_scenes_are_ordered_pass_by_pass(make_scene: MakeScene) -> None:
    late, early, between = (
        make_scene("late", day=2, pass_id="p"),
        make_scene("early", pass_id="p"),
        make_scene("between", day=1),
    )

    assert [scene.item_id for scene in in_written_order([late, between, early])] == ["early", "late", "between"]


def test_no_scene_is_no_observation() -> None:
    loaded = load([])

    assert not loaded.seen.accounts.any()
    assert np.isnan(features(loaded)[:2]).all()
