"""Lines in pictures: files in pairs, what a training keeps and finds in other pictures, and the recipe of glacier fronts on real ones."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from pydantic import ValidationError
from pyproj import CRS

from flows.cli import main
from flows.steps.learning.left_out import answered_in_turn, dealt
from flows.steps.learning.line_files import compared_frames
from flows.steps.learning.line_training import picture_ground
from flows.steps.learning.picture_files import LinedPicture, pictures_digest, ranked, read_pictures
from flows.steps.learning.shape_files import crs_name
from flows.steps.simulation.track_pictures import write_track_pictures
from products.errors import RequestError
from products.learning.line_extraction import length_px, lines_of
from products.learning.line_recipe import LineRecipe, LinesSpec
from products.learning.line_scores import FoundLines
from products.learning.network_spec import UnetSpec
from products.registry import picture_recipe

GROUND = Affine(30, 0, 500_000, 0, -30, 8_000_000)
RECIPE = """
name: my_fronts
version: 1
kind: model
lines: {image: "images/{name}.tif", label: "labels/{name}.tif", values: [1], groups: {north: [n_], south: [s_]}, only_longest: true, threshold: 0.8}
estimator: {unet: {depth: 3, patch_px: 32, overlap_px: 8, batch: 4, patches: 8, epochs: 1, learning_rate: 0.003}}
seed: 1
"""


def spec(**changed: Any) -> LinesSpec:
    said = {"image": "images/{name}.tif", "label": "labels/{name}.tif", "values": [1]}
    return LinesSpec.model_validate(said | {"groups": {"north": ["n_"], "south": ["s_"]}} | changed)


def write(path: Path, values: NDArray[Any], crs: str | None = "EPSG:32622") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", **profile, dtype=values.dtype, crs=crs, transform=GROUND) as raster:
        raster.write(bands)


def edge_and_label(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Dark water over bright ice with noise, and the wavy edge between them, three pixels wide."""
    draw = np.random.default_rng(number)
    rows, columns = np.mgrid[0:64, 0:64]
    below = rows - (22 + 3 * number + 4 * np.sin(columns / (5 + number)))
    image = np.where(below > 0, 160, 60) + draw.normal(0, 12, below.shape)
    return image.clip(0, 255).astype(np.uint8), (np.abs(below) < 1.5).astype(np.uint8)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three pictures each of the groups north and south."""
    folder = tmp_path_factory.mktemp("edges")
    for number in range(6):
        name = f"{'n' if number < 3 else 's'}_2001070{number + 1}"
        image, label = edge_and_label(number)
        write(folder / "images" / f"{name}.tif", image)
        write(folder / "labels" / f"{name}.tif", label)
    return folder


def test_pictures_come_in_pairs_with_group_date_and_pixel_size(edges: Path) -> None:
    pictures = read_pictures(edges, spec())
    assert [each.group for each in pictures] == ["north"] * 3 + ["south"] * 3
    assert pictures[3].date == "2001-07-04" and pictures[3].pixel_m == pytest.approx(30 / 0.9996, rel=1e-5)
    assert pictures[0].bands.shape == (1, 64, 64) and pictures[0].is_line.mean() > 0.02
    assert read_pictures(edges, spec(groups={}))[0].group == "n_20010701"


def test_pixels_without_a_value_are_neither_line_nor_background(edges: Path) -> None:
    picture, network = read_pictures(edges, spec())[0], UnetSpec(patch_px=16, overlap_px=4)
    whole = picture_ground(picture, network, validates=False).train
    assert (whole.codes == np.where(picture.is_line, 2, 1)).all() and len(whole.places) == 49**2
    gaps = picture.bands.copy()
    gaps[:, :, :32] = np.nan
    for validates in (False, True):
        ground = picture_ground(replace(picture, bands=gaps), network, validates)
        part = ground.validation if validates else ground.train
        assert not part.codes[:, :32].any() and (part.codes[:, 32:] == whole.codes[:, 32:]).all()
        assert part.places[:, 1].min() == 17
    with pytest.raises(
        RequestError, match="no pixel of the picture n_20010701 has a value: leave it and its label out"
    ):
        picture_ground(replace(picture, bands=np.full_like(gaps, np.nan)), network, validates=False)


def test_ranks_do_not_depend_on_haze_and_gain_and_leave_gaps() -> None:
    values = np.random.default_rng(1).normal(50, 9, (1, 20, 20)).astype(np.float32)
    values[0, 3, 4] = np.nan
    found = ranked(values)
    np.testing.assert_array_equal(ranked(3 * values + 20), found)
    assert np.isnan(found[0, 3, 4]) and np.nanmin(found) > 0 and np.nanmax(found) < 1
    assert np.nanmean(found) == pytest.approx(0.5)


def test_the_digest_of_pictures_knows_labels_too(edges: Path, tmp_path: Path) -> None:
    image, label = edge_and_label(0)
    for folder in ("images", "labels"):
        write(tmp_path / folder / "n_1.tif", image if folder == "images" else label)
    places = ("images/{name}.tif", "labels/{name}.tif")
    before = pictures_digest(tmp_path, places)
    assert before == pictures_digest(tmp_path, places) != pictures_digest(edges, places)
    write(tmp_path / "labels" / "n_1.tif", label[::-1].copy())
    assert pictures_digest(tmp_path, places) != before


def test_pictures_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image, label = edge_and_label(0)
    with pytest.raises(RequestError, match=r"no file like images/\{name\}.tif lies in"):
        read_pictures(tmp_path, spec())
    write(tmp_path / "images" / "n_1.tif", image)
    with pytest.raises(RequestError, match="the picture n_1 has no labels/n_1.tif in .*: expected a pair"):
        read_pictures(tmp_path, spec())
    write(tmp_path / "labels" / "n_1.tif", label[:32])
    with pytest.raises(RequestError, match="has 32 x 64 pixels: expected those of its image, 64 x 64"):
        read_pictures(tmp_path, spec())
    write(tmp_path / "labels" / "n_1.tif", np.zeros_like(label))
    with pytest.raises(RequestError, match=r"n_1.tif has one of the values \[1\]: expected a line"):
        read_pictures(tmp_path, spec())
    with pytest.raises(RequestError, match="has 1 bands: expected a band 2"):
        read_pictures(tmp_path, spec(bands=[1, 2]))
    write(tmp_path / "labels" / "n_1.tif", label)
    with pytest.raises(RequestError, match="n_1 holds parts of no group: expected one of west, east"):
        read_pictures(tmp_path, spec(groups={"west": ["w_"], "east": ["e_"]}))
    (tmp_path / "images" / "n_1.tif").write_text(
        "<VRTDataset rasterXSize='4' rasterYSize='4'><VRTRasterBand dataType='Byte' band='1'/></VRTDataset>"
    )
    with pytest.raises(RequestError, match="n_1.tif is no readable picture: VRT is not read"):
        read_pictures(tmp_path, spec())
    (tmp_path / "images" / "n_1.tif").write_bytes(b"nothing")
    with pytest.raises(RequestError, match="n_1.tif is no readable picture"):
        read_pictures(tmp_path, spec())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image": "../{name}.tif"}, "expected a path inside the folder of pictures"),
        ({"label": "/labels/{name}.tif"}, "expected a path inside the folder of pictures"),
        ({"image": "images/all.tif"}, "once in the file's name"),
        ({"groups": {"a": ["x"], "b": ["x"]}}, "the part 'x' of names stands twice in groups"),
        ({"groups": {"a": ["x"]}}, "groups names one group: expected two or more"),
    ],
)
def test_a_wrong_recipe_of_lines_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec(**changed)


def test_lines_are_found_by_a_network_only() -> None:
    document = {
        "name": "fronts",
        "version": 1,
        "kind": "model",
        "lines": spec().model_dump(),
        "estimator": {"linear": {}},
    }
    with pytest.raises(ValidationError, match=r"lines are found by a network: expected estimator: .*, got linear"):
        LineRecipe.model_validate(document)


def test_groups_are_left_out_whole_one_by_one_or_dealt() -> None:
    groups = ["north"] * 3 + ["south"] * 3
    assert dealt(groups, None) == dealt(groups, 2) == [[0, 1, 2], [3, 4, 5]]
    assert dealt(list("abcdef"), 3) == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(RequestError, match=r"are of 2 groups \(north, south\): expected 3 or more"):
        dealt(groups, 3)


def test_each_picture_is_answered_by_a_model_of_the_others() -> None:
    def train(chosen: list[int], part: str) -> tuple[set[int], dict[str, Any]]:
        return set(chosen), {"part": part}

    answers, last, told = answered_in_turn([[0, 2], [1]], train, lambda model, n: (n, sorted(model)))
    assert answers == [(0, [1]), (1, [0, 2]), (2, [1])] and last == {0, 1, 2}
    assert told == [{"left_out": [0, 2], "part": "1"}, {"left_out": [1], "part": "2"}, {"left_out": [], "part": "all"}]


def test_lines_lie_on_the_map_with_their_date_or_in_pixels() -> None:
    line = np.array([[0.0, 0.0], [10.0, 0.0]])
    bands, label = np.zeros((1, 4, 4), np.float32), np.ones((4, 4), np.bool_)
    names = ("two_20010102", "one_19990131", "lost")
    placed = [LinedPicture(name, bands, GROUND, CRS.from_epsg(32622), "a", label) for name in names[:2]]
    nowhere = LinedPicture(names[2], bands, Affine.identity(), None, "a", label)
    answers = [FoundLines(name, "a", [line], [line + np.array([0, 2])], 30.0) for name in names[:2]]
    frames = compared_frames([*placed, nowhere], [*answers, FoundLines(names[2], "a", [line], [])])
    assert frames.keys() == {"epsg-32622", "pixels"}
    found, lost = frames["epsg-32622"], frames["pixels"]
    assert found["picture"].tolist() == ["one_19990131", "two_20010102"]
    assert found["date"].dt.strftime("%Y-%m-%d").tolist() == ["1999-01-31", "2001-01-02"]
    assert found.total_bounds.tolist() == [500_000, 7_999_940, 500_300, 7_999_940] and found.crs.to_epsg() == 32622
    assert found["mean_px"].tolist() == [2.0, 2.0] and found["median_m"].tolist() == pytest.approx(
        [59.976] * 2, abs=0.1
    )
    assert (
        lost["mean_px"].isna().all() and lost.geometry.isna().all() and lost["date"].isna().all() and lost.crs is None
    )


def test_a_coordinate_system_without_a_number_has_a_name_of_its_own() -> None:
    odd = CRS.from_proj4("+proj=stere +lat_0=90 +lon_0=-41 +ellps=WGS84 +units=m")
    assert crs_name(odd).startswith("crs-") and crs_name(odd) == crs_name(CRS.from_wkt(odd.to_wkt()))
    assert (crs_name(CRS.from_epsg(3413)), crs_name(None)) == ("epsg-3413", "pixels")


def test_training_on_pictures_keeps_network_lines_picture_and_card_and_does_it_once(
    edges: Path, neocube_home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="the packages of the extra deep are not installed")
    recipe = tmp_path / "my_fronts.recipe.yaml"
    recipe.write_text(RECIPE)
    asked = ["train", str(recipe), "--pictures", str(edges), "--device", "cpu"]
    answer = CliRunner().invoke(main, [*asked, "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    scores = document["metrics"]["all"]
    assert scores["pictures"] == 6 and document["metrics"]["baseline"]["mean_px"] > 2
    if scores["mean_px"] is not None:
        assert scores["mean_m"] == pytest.approx(30 * scores["mean_px"], rel=0.01)
    assert [each["left_out"] for each in document["metrics"]["training"]] == [[0, 1, 2], [3, 4, 5], []]
    (table,) = document["lines"]
    lines = geopandas.read_file(table)
    assert table.endswith("/lines-epsg-32622.gpkg") and len(lines) == 6 and lines.crs.to_epsg() == 32622
    assert lines["date"].dt.strftime("%Y-%m-%d").tolist() == [f"2001-07-0{day}" for day in range(1, 7)]
    card = Path(document["card"])
    assert "a smoke test" in card.read_text() and "failure rate" in card.read_text()
    assert card.with_name("lines.png").stat().st_size > 10_000 and "![lines](lines.png)" in card.read_text()
    assert not (neocube_home / "training" / document["model"]).exists()
    again = CliRunner().invoke(main, asked)
    assert f"model {document['model']} was there already" in again.stdout and "  north: " in again.stdout
    finds_lines_in_other_pictures(document["model"], tmp_path)


def finds_lines_in_other_pictures(model: str, folder: Path) -> None:
    """Pictures without labels are mapped once, by the name or the id of the model."""
    image, _ = edge_and_label(9)
    write(folder / "new" / "images" / "x_20050607.tif", image)
    asked = ["map", "my_fronts", "--pictures", str(folder / "new")]
    answer = CliRunner().invoke(main, [*asked, "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["found"].keys() == {"x_20050607"} and document["looked"] and document["model"] == model
    table = geopandas.read_file(document["files"][0])
    assert table["picture"].tolist() == ["x_20050607"] and table["date"].dt.year.tolist() == [2005]
    assert table.crs.to_epsg() == 32622 and Path(document["picture"]).stat().st_size > 5_000
    again = CliRunner().invoke(main, ["map", model, "--pictures", str(folder / "new")])
    assert "lines in 1 pictures, found before" in again.stdout and document["picture"] in again.stdout
    for wrong, said in (
        (["map", "my_front", "--pictures", str(folder / "new")], "no model 'my_front' was learned from pictures: expected one of my_fronts"),
        ([*asked, "--area", "demo"], "leave out --area, or --pictures"),
        (["map", "my_fronts", "--pictures", str(folder / "none")], "no folder of pictures at"),
        (["map", "my_fronts", "--area", "demo"], "expected --area and --period, or --pictures"),
    ):  # fmt: skip
        refused = CliRunner().invoke(main, wrong)
        assert refused.exit_code == 2 and said in refused.stderr


def test_pictures_are_asked_for_by_their_folder_only(neocube_home: Path, tmp_path: Path) -> None:
    asked = CliRunner().invoke(main, ["train", "glacier_fronts", "--pictures", str(tmp_path), "--area", "demo"])
    assert asked.exit_code == 2 and "leave out --area, or --pictures" in asked.stderr
    bare = CliRunner().invoke(main, ["train", "glacier_fronts"])
    assert bare.exit_code == 2 and "is learned from pictures: give their folder, --pictures FOLDER" in bare.stderr
    lost = CliRunner().invoke(main, ["train", "glacier_fronts", "--pictures", str(tmp_path / "no")])
    assert lost.exit_code == 2 and "no folder of pictures at" in lost.stderr
    other = CliRunner().invoke(main, ["train", "mangrove_extent", "--pictures", str(tmp_path)])
    assert other.exit_code == 2 and "'mangrove_extent' names no `lines` or `boxes`" in other.stderr


def test_the_labels_of_real_glacier_fronts_are_one_line_each(shared_data: Path) -> None:
    recipe = picture_recipe("glacier_fronts")
    pictures = read_pictures(shared_data / "labels" / "glacier_fronts" / "train", recipe.lines)
    assert len(pictures) == 29 and {each.group for each in pictures} == {"sverdrup", "jakobshavn", "kangerlussuaq"}
    assert pictures[0].bands.shape == (1, 300, 200) and pictures[0].date == "2014-08-01"
    assert pictures[0].pixel_m is None
    fronts = [lines_of(each.is_line, recipe.lines.min_length_px) for each in pictures[::7]]
    assert [len(each) for each in fronts] == [1] * len(fronts)
    assert all(80 < length_px(front) < 250 for (front,) in fronts)


def test_simulated_ship_tracks_are_pictures_that_their_recipe_reads(tmp_path: Path) -> None:
    names = write_track_pictures(tmp_path / "tracks", count=3, side_px=64, seed=1)
    recipe = picture_recipe("ship_tracks")
    pictures = read_pictures(tmp_path / "tracks", recipe.lines)
    assert [each.name for each in pictures] == names and pictures[0].bands.shape == (3, 64, 64)
    assert pictures[0].pixel_m == pytest.approx(1000, rel=2e-3) and recipe.simulated
    assert all(lines_of(each.is_line) for each in pictures)
    write_track_pictures(tmp_path / "again", count=3, side_px=64, seed=1)
    places = (recipe.lines.image, recipe.lines.label)
    assert pictures_digest(tmp_path / "again", places) == pictures_digest(tmp_path / "tracks", places)
    with pytest.raises(RequestError, match="again is not empty: give a new folder"):
        write_track_pictures(tmp_path / "again")
