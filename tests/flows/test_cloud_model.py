"""Masks by a model: windows that know no tile, refusals before any work, real labelled pictures, and the package itself where it is installed."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid5

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from flows.cli import main
from flows.steps.learning.cloud_chips import chip_scores, read_chip
from flows.steps.loading.cloud_model import require_model
from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.model_masks import causes_by_model, windows
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.read_attempts import attempt_read
from flows.steps.loading.reading import BandRead, read_band
from flows.steps.loading.tile_block import load_observations
from products.errors import RequestError
from products.features import compute_features
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE
from products.period import parse_period
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import parse_recipe
from products.scene import BandFile, Scene
from products.spec import FeaturesRecipe

GROUND = GeoBox((700, 900), Affine(30, 0, 499_995, 0, -30, 300_015), CRS("EPSG:32647"))
CLEAR, CLOUD = 21824, 22280
IS_INSTALLED = find_spec("omnicloudmask") is not None
needs_package = pytest.mark.skipif(not IS_INSTALLED, reason="omnicloudmask is not installed")
RECIPE = """
name: by_model
version: 1
kind: features
grid: {crs: "EPSG:32647", resolution_m: 30, tile_px: 64, anchor: landsat}
period: P1Y
sources:
  - {collection: landsat-c2-l2, clear: {model: omnicloudmask, decide: either, dilate_px: 1}}
features:
  - index: {names: [NDVI], reduce: [p50]}
  - mask_agreement: {}
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """One Landsat scene of noise, brighter in the east, that QA_PIXEL calls cloud in its north."""
    random, bands = np.random.default_rng(4), {}
    slope = np.broadcast_to(np.linspace(8_000, 20_000, GROUND.shape[1]), GROUND.shape)
    for band in ("red", "green", "nir", "qa_pixel"):
        pixels = (slope + random.normal(0, 800, GROUND.shape)).astype(np.uint16)
        if band == "qa_pixel":
            pixels = np.where(np.arange(GROUND.shape[0])[:, None] < 90, CLOUD, np.full(GROUND.shape, CLEAR))
        path, nodata = tmp_path / f"{band}.tif", 1 if band == "qa_pixel" else 0
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": str(GROUND.crs), "nodata": nodata}
        place = {"transform": GROUND.affine, "height": GROUND.shape[0], "width": GROUND.shape[1]}
        with rasterio.open(path, "w", **profile, **place) as file:
            file.write(pixels.astype(np.uint16), 1)
        bands[band] = BandFile(str(path), 2.75e-5, -0.2, nodata)
    acquired, outline = datetime(2020, 5, 1, tzinfo=UTC), GROUND.extent.to_crs("EPSG:4326")
    return Scene(
        uuid5(NAMESPACE, "noise"), "noise", "landsat_oli_c2_l2", "landsat-c2-l2", "oli", "landsat-8", acquired, "noise", "1",
        "noise", outline, bands,
    )  # fmt: skip


def recipe() -> FeaturesRecipe:
    found = parse_recipe(RECIPE, "by_model.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def bright(picture: NDArray[np.uint16], nodata: int) -> NDArray[np.uint8]:
    """Thick cloud where red is above the mean of the picture: a classifier that sees its whole picture, as a network does."""
    red = picture[0].astype(np.float64)
    return ((red != nodata) & (red > red[red != nodata].mean())).astype(np.uint8)


def attempts(scene: Scene) -> Callable[[str, GeoBox, NDArray[np.uint16]], tuple[AssetRead, BandRead | None]]:
    return lambda band, window, out: attempt_read(
        scene, band, {}, lambda: read_band(scene.bands[band], window, "cubic", out)
    )


def by_bright(scene: Scene, geobox: GeoBox) -> NDArray[np.uint8]:
    found = causes_by_model(scene, geobox, attempts(scene), bright)
    assert isinstance(found, tuple)
    assert found[1] > 0
    return found[0]


def test_a_pixel_has_the_same_mask_in_every_tile(scene: Scene) -> None:
    whole = by_bright(scene, GROUND)
    assert len(list(windows(GROUND))) >= 4
    assert 0.1 < (whole == 3).mean() < 0.9
    for rows, columns in (np.s_[0:40, 0:70], np.s_[250:330, 200:780], np.s_[650:700, 880:900]):
        np.testing.assert_array_equal(by_bright(scene, GROUND[rows, columns]), whole[rows, columns])


@pytest.mark.parametrize("anchor_m", [0.0, 15.0])
@pytest.mark.parametrize(("tile_px", "most", "mean"), [(256, 4, 2.25), (512, 4, 4), (1024, 9, 9)])
def test_a_tile_with_what_growth_needs_around_it_lies_in_few_windows(
    anchor_m: float, tile_px: int, most: int, mean: float
) -> None:
    grid = PixelGrid("EPSG:32647", 30.0, tile_px, anchor_m)
    tiles = [Tile(grid.crs, row, column) for row in (-18, -17, 0, 1) for column in (-3, -2, 32, 33)]
    counts = [len(list(windows(grid.geobox(tile, 3)))) for tile in tiles]
    assert max(counts) == most and np.mean(counts) == mean


def test_windows_cover_each_pixel_once_with_context_around_it() -> None:
    geobox = GROUND[100:690, 40:900]
    count = np.zeros(geobox.shape, np.uint8)
    for (rows, columns), (inner_rows, inner_columns), window in windows(geobox):
        count[rows, columns] += 1
        part = window[inner_rows, inner_columns]
        assert part.affine.almost_equals(geobox[rows, columns].affine) and part.shape == geobox[rows, columns].shape
        assert min(inner_rows.start, inner_columns.start, 768 - inner_rows.stop, 768 - inner_columns.stop) >= 128
    assert (count == 1).all()


def test_a_band_that_cannot_be_read_is_named(scene: Scene) -> None:
    Path(scene.bands["green"].href).write_bytes(b"no raster")
    found = causes_by_model(scene, GROUND[:50, :50], attempts(scene), bright)
    assert isinstance(found, AssetRead)
    assert (found.band, found.outcome, found.attempts) == ("green", "failed", 2)


@pytest.mark.skipif(IS_INSTALLED, reason="omnicloudmask is installed")
@pytest.mark.parametrize("command", ["plan", "build"])
@pytest.mark.usefixtures("ingested_settings")
def test_without_the_package_nothing_begins(command: str, tmp_path: Path) -> None:
    (tmp_path / "by_model.yaml").write_text(RECIPE)
    asked = [command, str(tmp_path / "by_model.yaml"), "--area", "demo", "--period", "2020"]
    result = CliRunner().invoke(main, asked)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "masks by omnicloudmask need its package: pip install 'neocube[deep]'" in result.stderr


def test_masks_of_real_pictures_are_scored_by_their_labels(shared_data: Path) -> None:
    """Figures of a threshold on red, no mask of ours: they hold the reading and the scoring."""
    held = {"sentinel2": (0.184205, 0.080214, 0.019298), "landsat5": (0.439921, 0.006732, 0.002893)}
    for name, expected in held.items():
        chip = read_chip(str(shared_data / "labels" / "clouds" / f"{name}.npz"))
        found = chip_scores(chip, lambda picture, _: (picture[0] > 0.25).astype(np.uint8), 10.0)
        figures = (found["all"]["cloud"]["omission"], found["all"]["cloud"]["commission"], found["land"]["clear_lost"])
        assert figures == pytest.approx(expected, abs=1e-6), name
        labelled = {1: "water", 3: "land"}
        assert {found[ground]["observations"] for ground in labelled.values()} == {
            int((chip.labels == label).sum()) for label in labelled
        }
        assert found["water"]["observations"] < found["fringe"]["observations"] + found["water"]["observations"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"img": np.zeros((4, 4, 6), np.float32)}, "is no labelled chip"),
        ({"img": np.zeros((4, 4, 3)), "msk": np.zeros((4, 4, 1))}, "expected img .y, x, blue green red nir"),
    ],
)
def test_another_file_is_no_labelled_picture(
    arrays: dict[str, NDArray[np.float64]], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(RequestError, match=message):
        read_chip(str(tmp_path / "a.npz"))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A folder with weights that the package takes for its own; drawn at random, so its masks mean nothing."""
    import segmentation_models_pytorch as smp
    import torch
    from omnicloudmask.download_models import model_index_path
    from safetensors.torch import save_file

    folder = tmp_path / "weights"
    folder.mkdir()
    with model_index_path.open() as index:
        rows = [row for row in csv.DictReader(index) if float(row["version"]) == 4]
    torch.manual_seed(5)
    for row in rows:
        model = smp.Unet(encoder_name=row["timm_model_name"], encoder_weights=None, in_channels=3, classes=4)
        state = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / row["file_name"])
    return str(folder)


@needs_package
def test_a_folder_without_the_weights_is_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"NEOCUBE_MASK_WEIGHTS: expected the weights of omnicloudmask 4 in .*PM_model_OCM"
    ):
        require_model(4, str(tmp_path))


@needs_package
@pytest.mark.full
def test_the_package_masks_a_tile(scene: Scene, weights: str) -> None:
    require_model(4, weights)
    asked, access, tile = recipe(), RasterAccess(mask_weights=weights), GROUND[64:128, 64:192]
    loaded = load_observations(asked, [scene], tile, 2, access)
    again = load_observations(asked, [scene], tile[10:40, 20:100], 2, access)

    np.testing.assert_array_equal(again.seen.causes, loaded.seen.causes[:, 10:40, 20:100])
    accounts = dict(zip(ACCOUNT_NAMES, loaded.seen.accounts, strict=True))
    assert accounts["cloud"][:26].all() and (accounts["expected"] == 1).all()
    layers = compute_features(asked, loaded.seen, parse_period("2020"), 1)
    shares = layers[asked.feature_names.index("mask_agreement")]
    assert set(np.unique(shares)) <= {0.0, 1.0}
    assert loaded.manifest.decoded_bytes > 10 * 2 * 64 * 128

    Path(scene.bands["nir"].href).write_bytes(b"no raster")
    broken = load_observations(asked, [scene], tile, 2, access)
    assert dict(zip(ACCOUNT_NAMES, broken.seen.accounts, strict=True))["unread"].all()
    assert [asset.band for asset in broken.manifest.failed] == ["nir"]


@needs_package
@pytest.mark.full
def test_the_package_masks_real_pictures(weights: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_MASK_WEIGHTS", weights)
    chip = str(shared_data / "labels" / "clouds" / "sentinel2.npz")
    result = CliRunner().invoke(
        main, ["masks", "chips", chip, "--model", "omnicloudmask", "--resolution-m", "10", "--json"]
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["model"] == "omnicloudmask 4"
    assert list(document["scores"][chip]) == ["all", "water", "land", "fringe"]
