"""The scenes of a simulated archive as labelled pictures: they hold the archive's truth, seen through the air, and a recipe takes them as tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from flows.cli import main
from flows.steps.areas import find_area
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.table_files import read_tables
from flows.steps.learning.table_networks import TableNetworks
from flows.steps.simulation.archive import Simulation, write_archive
from flows.steps.simulation.sky_pictures import ASSETS, HAZE, LABEL_OF_SKY, sky_pictures, write_labelled_pictures
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.accuracy import confusion, scores
from products.learning.sample_table import drawn, sample_table
from products.period import parse_period
from products.pixel.mask_scores import TrueSky
from products.registry import table_recipe
from products.simulation.haze import air_reflectance

REAL = ("landsat5", "sentinel2")
COLLECTIONS = {"landsat-c2-l2", "sentinel-2-l2a"}


@pytest.fixture(scope="module")
def written(small_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_labelled_pictures(folder, small_archive, 3)
    return folder


def test_pictures_are_the_scenes_one_below_the_other_through_the_air(written: Path, small_archive: Path) -> None:
    for collection in COLLECTIONS:
        seen = [each for each in sky_pictures(small_archive, tuple(ASSETS)) if each.item["collection"] == collection]
        with np.load(written / f"{collection}.npz") as arrays:
            image, labels = arrays["img"], arrays["msk"][..., 0]
        height = seen[0].sky.shape[0]
        assert image.shape == (height * len(seen), seen[0].sky.shape[1], 6) and image.dtype == np.float32
        for number, picture in enumerate(seen):
            rows = slice(number * height, (number + 1) * height)
            said = picture.item["assets"]["blue"]["raster:bands"][0]
            ground = picture.bands[0] * said["scale"] + said["offset"]
            known = (picture.bands != 0).all(axis=0) & np.isin(picture.sky, list(LABEL_OF_SKY))
            np.testing.assert_array_equal(np.isfinite(image[rows]).all(axis=2), known)
            added = (image[rows, :, 0] - ground)[known]
            air = air_reflectance(["blue"], picture.item["properties"]["view:sun_elevation"])[0]
            assert HAZE[0] * air - 1e-6 < added.min() and added.max() < HAZE[1] * air + 1e-6
            np.testing.assert_allclose(added, added[0], atol=1e-6)
            assert (labels[rows][known & (picture.sky == TrueSky.CLOUD)] == 4).all()
            assert (labels[rows][known & (picture.sky == TrueSky.CLOUD_SHADOW)] == 0).all()
            assert (labels[rows][known & (picture.sky == TrueSky.CLEAR)] == 3).all()


def test_the_sky_of_a_picture_is_that_of_the_truth(small_archive: Path) -> None:
    truth = {each["item_id"]: each for each in json.loads((small_archive / "truth/acquisitions.json").read_text())}
    for picture in sky_pictures(small_archive, ("blue",)):
        with rasterio.open(small_archive / "truth" / truth[picture.item["id"]]["sky_raster"]) as file:
            whole = file.read(1)
        for sky in (TrueSky.CLEAR, TrueSky.CLOUD, TrueSky.CLOUD_SHADOW):
            here, there = ((codes == sky).sum() / (codes != TrueSky.NO_DATA).sum() for codes in (picture.sky, whole))
            assert here == pytest.approx(there, abs=0.02)


def test_the_command_writes_tables_that_a_recipe_takes_and_never_writes_over_them(
    small_archive: Path, tmp_path: Path
) -> None:
    asked = ["masks", "pictures", str(small_archive), "--out", str(tmp_path / "made"), "--seed", "3", "--json"]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 0, answer.output
    shares = json.loads(answer.stdout)["shares"]
    assert shares.keys() == COLLECTIONS and all(0.99 < sum(each.values()) < 1.01 for each in shares.values())
    frame = read_tables([str(tmp_path / "made" / f"{name}.npz") for name in sorted(COLLECTIONS)])
    assert set(table_recipe("sky_chips").table.features) <= set(frame.columns)
    assert frame.loc[frame.blue.notna(), "label"].isin([0, 3, 4]).all()
    again = CliRunner().invoke(main, asked)
    assert again.exit_code == 2 and "is there already: choose another folder" in again.stderr


def test_the_same_seed_gives_the_same_pictures_and_another_one_other_haze(
    written: Path, small_archive: Path, tmp_path: Path
) -> None:
    for seed in (3, 4):
        write_labelled_pictures(tmp_path / str(seed), small_archive, seed)
    name = "landsat-c2-l2.npz"
    assert (tmp_path / "3" / name).read_bytes() == (written / name).read_bytes()
    with np.load(tmp_path / "4" / name) as other, np.load(written / name) as first:
        assert np.nanmax(np.abs(other["img"] - first["img"])) > 0.005
        np.testing.assert_array_equal(other["msk"], first["msk"])


def test_a_folder_that_is_no_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"no truth in {tmp_path / 'truth'}"):
        write_labelled_pictures(tmp_path / "made", tmp_path, 0)
    assert not (tmp_path / "made").exists()


@pytest.mark.full
def test_what_made_up_skies_teach_is_worth_something_on_real_squares(shared_data: Path, tmp_path: Path) -> None:
    """`sky_chips` on fewer squares and epochs than it asks for, then asked of real squares that it never learned from."""
    pytest.importorskip("lightning", reason="the packages of the extra deep are not installed")
    write_archive(tmp_path / "sky", Simulation(find_area("demo"), parse_period("2019"), 7, 320, "none", 10))
    write_labelled_pictures(tmp_path / "pictures", tmp_path / "sky", 0)
    shipped = table_recipe("sky_chips")
    assert shipped.estimator.chips is not None
    fewer = shipped.estimator.chips.model_copy(update={"epochs": 6})
    recipe = shipped.model_copy(update={"estimator": shipped.estimator.model_copy(update={"chips": fewer})})
    skies = sample_table(
        read_tables([str(tmp_path / "pictures" / f"{name}.npz") for name in sorted(COLLECTIONS)]), recipe
    )
    rows = drawn(skies, np.ones(skies.n_rows, np.bool_), 500, recipe.seed)
    networks = TableNetworks(TrainingResources(tmp_path / "training"), "skies", choose_backend("cpu"))
    network = networks(recipe, 1).fit(skies.values[rows], skies.target[rows].astype(np.int64))
    real = sample_table(read_tables([str(shared_data / "labels/clouds" / f"{name}.npz") for name in REAL]), recipe)
    told = network.predict(real.values)
    for number, name in enumerate(real.group_names):
        here = real.group == number
        found = scores(confusion(real.target[here].astype(np.int64), told[here], 3), recipe.class_names)
        assert found["kappa"] > 0.3, name
