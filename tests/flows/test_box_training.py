"""Boxes in pictures: files of every kind, a detector that finds bright squares on pictures it never saw, and the recipes on real labels."""

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
from pydantic import ValidationError
from pyproj import CRS

from flows.cli import main
from flows.steps.learning.box_files import read_boxed, read_boxes
from flows.steps.learning.box_training import box_metrics
from flows.steps.learning.found_boxes import found_boxes
from flows.steps.simulation.vehicle_pictures import write_vehicle_pictures
from products.errors import RequestError
from products.learning.box_recipe import BoxesSpec, BoxRecipe, RetinanetSpec
from products.learning.boxes import BoxedPicture
from products.learning.detection_scores import Detections, overlap
from products.registry import picture_recipe

GROUND = Affine(0.3, 0, 500_000, 0, -0.3, 5_000_000)
REASON = "the packages of the extra deep are not installed"
RECIPE = """
name: squares
version: 1
kind: model
boxes: {images: ["{name}.tif"], labels: ["{name}.csv"], classes: {square: [s]}, keep_above: 0.3}
retinanet: {anchor_px: 8, patch_px: 64, batch: 4, patches: 32, epochs: 8, learning_rate: 0.001}
seed: 1
"""


def spec(**changed: Any) -> BoxesSpec:
    return BoxesSpec.model_validate(
        {"images": ["{name}.tif"], "labels": ["{name}.csv"], "classes": {"square": ["s"]}} | changed
    )


def write(path: Path, values: Any, crs: str | None = "EPSG:32632") -> None:
    bands = np.asarray(values)
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", **profile, dtype=bands.dtype, crs=crs, transform=GROUND) as raster:
        raster.write(bands)


def squares(folder: Path, name: str, seed: int) -> None:
    """Bright squares of 10 pixels on noise, with their table."""
    draw = np.random.default_rng(seed)
    image = draw.normal(60, 8, (1, 64, 64))
    corners = [(8 + 24 * column, 8 + 24 * row) for row in range(2) for column in range(2)]
    rows = ["image_path,xmin,xmax,ymin,ymax,label"]
    for x, y in corners:
        left, top = x + int(draw.integers(-4, 5)), y + int(draw.integers(-4, 5))
        image[0, top : top + 10, left : left + 10] += 120
        rows.append(f"{name}.tif,{left},{left + 10},{top},{top + 10},s")
    write(folder / f"{name}.tif", image.clip(0, 255).astype(np.uint8))
    (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


def test_a_table_of_boxes_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    for order in ("xmin,xmax,ymin,ymax", "xmin,ymin,xmax,ymax"):
        values = {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}
        path = tmp_path / "boxes.csv"
        path.write_text(f"{order},label\n{','.join(str(values[each]) for each in order.split(','))},0\n")
        boxes, labels = read_boxes(path)
        assert boxes.tolist() == [[1, 2, 30, 40]] and labels == ["0"]


def test_voc_and_coco_say_the_same_as_a_table(tmp_path: Path) -> None:
    voc = tmp_path / "a.xml"
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
    voc.write_text(f"<annotation><object><name>Tree</name><bndbox>{corners}</bndbox></object></annotation>")
    coco = tmp_path / "a.json"
    said = {"images": [{"id": 2}], "categories": [{"id": 1, "name": "Tree"}]}
    coco.write_text(json.dumps(said | {"annotations": [{"image_id": 2, "category_id": 1, "bbox": [1, 2, 29, 38]}]}))
    for path in (voc, coco):
        boxes, labels = read_boxes(path)
        assert boxes.tolist() == [[1, 2, 30, 40]] and labels == ["Tree"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.csv",
            "left,top\n1,2\n",
            "holds no boxes .*expected a .csv with the columns xmin, ymin, xmax, ymax and label",
        ),
        ("a.csv", "xmin,ymin,xmax,ymax,label\n5,5,5,9,s\n", "box 1 of .* is none: .*expected xmin < xmax"),
        ("a.xml", "<!DOCTYPE a><annotation/>", "holds no boxes .*declares a document type"),
        ("a.json", '{"images": [1, 2]}', "holds no boxes .*it annotates 2 images, not one"),
        ("a.txt", "", "holds no boxes"),
    ],
)
def test_files_that_hold_no_boxes_are_refused(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=said):
        read_boxes(tmp_path / name)


def test_pictures_and_boxes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no file like \{name\}.tif lies in"):
        read_boxed(tmp_path, spec())
    squares(tmp_path, "one", 1)
    with pytest.raises(RequestError, match=r"one.csv has boxes of s: expected one of Tree"):
        read_boxed(tmp_path, spec(classes={"crown": ["Tree"]}))
    with pytest.raises(RequestError, match=r"the picture one has no boxes in .*: expected one.xml or all.json"):
        read_boxed(tmp_path, spec(labels=["{name}.xml", "all.json"]))
    write(tmp_path / "other.tif", np.zeros((1, 9, 9), np.uint8))
    with pytest.raises(RequestError, match="has other pixels than the first file of one: expected one grid"):
        read_boxed(tmp_path, spec(images=["{name}.tif", "other.tif"], labels=["one.csv"]))
    (tmp_path / "other.tif").unlink()
    write(tmp_path / "one.tif", np.zeros((1, 20, 20), np.uint8))
    with pytest.raises(RequestError, match="has boxes beyond the 20 x 20 pixels of one: do they belong to it"):
        read_boxed(tmp_path, spec())


def test_a_wrong_recipe_of_boxes_is_refused() -> None:
    for changed, said in (
        ({"images": ["../{name}.tif"]}, "expected a path inside the folder"),
        ({"images": ["all.tif"]}, r"expected \{name\} in the first of images"),
        ({"classes": {"a": [1], "b": ["1"]}}, "the value '1' stands twice in classes"),
    ):
        with pytest.raises(ValidationError, match=said):
            spec(**changed)
    with pytest.raises(ValidationError, match="a retinanet has no depth, overlap_px: leave out"):
        RetinanetSpec.model_validate({"depth": 3, "overlap_px": 8})
    for zoom in (0, 0.3, 1.5, 9):
        with pytest.raises(ValidationError, match=rf"expected zoom as a whole number from 1 to 8, .* got {zoom}"):
            RetinanetSpec.model_validate({"zoom": zoom})


def test_found_boxes_lie_on_the_map_with_their_class_where_they_are_sure() -> None:
    recipe = BoxRecipe.model_validate(
        {
            "name": "crowns",
            "version": 1,
            "kind": "model",
            "boxes": spec(classes={"car": ["c"], "truck": ["t"]}).model_dump(),
        }
    )
    boxes, none = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), np.empty((0, 4))
    found = Detections(none, boxes, np.array([0.9, 0.4]))
    picture = BoxedPicture("p", np.zeros((1, 40, 40), np.float32), none, np.empty(0, np.int64), left_px=100)
    answer = (found, np.array([2, 1]))
    frames = found_boxes(
        [(picture, (GROUND, CRS.from_epsg(32632))), (picture, (GROUND, None))],
        [answer, answer],
        recipe.class_names,
        0.5,
    )
    assert frames.keys() == {"epsg-32632", "pixels"}
    placed = frames["epsg-32632"]
    assert placed["class"].tolist() == ["truck"] and placed["confidence"].tolist() == [0.9]
    assert placed.total_bounds.tolist() == pytest.approx([500_030, 4_999_997, 500_033, 5_000_000])
    assert frames["pixels"].total_bounds.tolist() == [100, 0, 110, 10] and frames["pixels"].crs is None


def test_each_class_is_scored_by_its_own_boxes() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    picture = BoxedPicture("p", np.zeros((1, 40, 40), np.float32), boxes, np.array([1, 2]))
    answer = (Detections(boxes, boxes, np.array([0.9, 0.8])), np.array([1, 1]))
    said = box_metrics([picture], [answer], ("car", "truck"))
    assert said["all"]["ap50"] == 1.0 and said["by_class"]["truck"]["ap50"] == 0.0
    assert said["by_class"]["car"]["ap50"] == 1.0 and said["by_picture"]["p"]["ap"] == 1.0


@pytest.mark.full
def test_training_on_boxes_keeps_detector_boxes_pictures_and_card_and_does_it_once(
    neocube_home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision", reason=REASON)
    document = trained_on_squares(tmp_path, RECIPE.replace("patches: 32, epochs: 8", "patches: 4, epochs: 1"))
    assert document["metrics"]["all"]["true_boxes"] == 8 and document["metrics"]["boxes_cut"] == 0
    assert [each["left_out"] for each in document["metrics"]["training"]] == [[0], [1], []]
    assert document["boxes"][0].endswith("/boxes-epsg-32632.gpkg")
    card = Path(document["card"])
    assert "a smoke test" in card.read_text() and "![boxes](boxes.png)" in card.read_text()
    assert all(card.with_name(name).stat().st_size > 5_000 for name in ("boxes.png", "precision.png"))
    assert not (neocube_home / "training" / document["model"]).exists()
    asked = [
        "train",
        str(tmp_path / "squares.recipe.yaml"),
        "--pictures",
        str(tmp_path / "pictures"),
        "--device",
        "cpu",
    ]
    again = CliRunner().invoke(main, asked)
    assert f"model {document['model']} was there already" in again.stdout and "  p0: average precision" in again.stdout
    looked_at_once(document["model"], tmp_path / "new")
    a_damaged_detector_is_refused(card.with_name("detector.safetensors"))


@pytest.mark.full
def test_training_on_boxes_finds_squares_on_pictures_it_never_saw(neocube_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason=REASON)
    document = trained_on_squares(tmp_path, RECIPE)
    assert document["metrics"]["all"]["ap50"] > 0.5
    losses = document["metrics"]["training"][-1]["losses"]
    assert losses[-1]["train"] < losses[0]["train"]
    frame = geopandas.read_file(document["boxes"][0])
    assert frame.crs.to_epsg() == 32632 and set(frame["class"]) == {"square"} and (frame["confidence"] > 0.3).all()
    looked = looked_at_once(document["model"], tmp_path / "new")
    found = geopandas.read_file(looked["files"][0])
    assert len(found) == looked["found"]["x"] >= 2
    assert found.area.median() == pytest.approx(9, rel=0.5)  # 10 x 10 pixels of 0.3 m


def trained_on_squares(tmp_path: Path, text: str) -> dict[str, Any]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(2):
        squares(folder, f"p{seed}", seed)
    recipe = tmp_path / "squares.recipe.yaml"
    recipe.write_text(text)
    asked = ["train", str(recipe), "--pictures", str(folder), "--device", "cpu"]
    answer = CliRunner().invoke(main, [*asked, "--json"])
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def looked_at_once(model: str, folder: Path) -> dict[str, Any]:
    """A picture without boxes is mapped by the detector that learned from both of the others."""
    folder.mkdir()
    squares(folder, "x", 7)
    (folder / "x.csv").unlink()
    asked = ["map", "squares", "--pictures", str(folder), "--json"]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    assert document["model"] == model and document["looked"] and Path(document["picture"]).stat().st_size > 5_000
    assert json.loads(CliRunner().invoke(main, asked).stdout) == document | {"looked": False}
    return document


def test_a_detector_looks_at_pictures_at_the_scale_that_it_learned_from() -> None:
    torch = pytest.importorskip("torch", reason=REASON)
    from flows.steps.networks.detector import untrained_detector

    network = untrained_detector(RetinanetSpec(), n_bands=2, n_classes=1)
    picture, target = torch.rand(2, 96, 64), {"boxes": torch.tensor([[8.0, 8.0, 20.0, 24.0]])}
    for is_training in (True, False):
        images, targets = network.train(is_training).transform([picture], [target])
        assert torch.equal(images.tensors[0], picture) and images.image_sizes == [(96, 64)]
        assert torch.equal(targets[0]["boxes"], target["boxes"])


def test_a_detector_sees_a_shrunk_picture_by_the_mean_of_its_known_pixels() -> None:
    pytest.importorskip("torchvision", reason=REASON)
    from flows.steps.networks.detector import rescaled

    bands = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    bands[0, 0, 0] = bands[0, 2, 4] = np.nan
    seen = rescaled(bands, 0.5)
    np.testing.assert_allclose(seen[0], [[(1 + 5 + 6) / 3, 5, 6.5], [10.5, 12.5, np.nan]])
    assert seen.dtype == np.float32
    assert rescaled(bands[:, :2, 1:3], 2)[0].tolist() == [[1, 1, 2, 2]] * 2 + [[6, 6, 7, 7]] * 2


@pytest.mark.full
def test_boxes_found_in_a_shrunk_picture_are_in_the_pixels_of_the_picture(neocube_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason=REASON)
    from flows.steps.networks.train_detector import train_detector
    from flows.steps.networks.training_loop import TrainerOptions

    draw = np.random.default_rng(1)
    bands, boxes = draw.normal(60, 8, (1, 160, 160)).astype(np.float32), list[list[float]]()
    for x, y in ((10, 14), (90, 20), (30, 100), (110, 90)):
        bands[0, y : y + 32, x : x + 32] += 120
        boxes.append([x, y, x + 32, y + 32])
    picture = BoxedPicture("p", bands, np.array(boxes, np.float64), np.ones(4, np.int64))
    shrunk = RetinanetSpec(
        zoom=0.5, anchor_px=24, levels=2, patch_px=96, batch=4, patches=64, epochs=4, learning_rate=0.001
    )
    detector, _ = train_detector([picture], shrunk, ("square",), 1, TrainerOptions(tmp_path / "work"), "t")
    assert detector.describe().endswith("pictures shrunk 2 times")
    found, _ = detector.found(picture)
    sure = found.found_boxes[np.argsort(-found.confidence)[:4]]
    assert (overlap(picture.boxes, sure).max(axis=1) > 0.5).all()


@pytest.mark.parametrize("levels", [1, 3, 4, 5])
def test_a_detector_has_anchors_for_squares_and_long_boxes_of_all_its_sizes(levels: int) -> None:
    torch = pytest.importorskip("torch", reason=REASON)
    from torchvision.models.detection.image_list import ImageList

    from flows.steps.networks.detector import untrained_detector

    network = untrained_detector(RetinanetSpec(anchor_px=8, levels=levels), n_bands=3, n_classes=1)
    assert any("layer4" in name for name in network.state_dict()) == (levels >= 4)
    picture, largest = torch.rand(1, 3, 256, 256), 8 * 2**levels
    features = list(network.backbone(picture).values())
    assert [each.shape[-1] for each in features] == [64, 32, 16, 8, 4][:levels]
    (anchors,) = network.anchor_generator(ImageList(picture, [(256, 256)]), features)
    for side in np.geomspace(8, largest, 12):
        for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
            half = np.array([side / ratio**0.5, side * ratio**0.5]) / 2
            box = np.array([[*(131.5 - half), *(131.5 + half)]])
            assert overlap(box, anchors.numpy().astype(np.float64)).max() > 0.4  # below, it would be background


@pytest.mark.full
def test_a_detector_killed_in_training_goes_on_at_the_rate_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason=REASON)
    from flows.steps.networks.train_detector import train_detector
    from flows.steps.networks.training_loop import TrainerOptions

    box = np.array([[8.0, 8.0, 20.0, 20.0]])
    bands = np.random.default_rng(1).normal(size=(1, 48, 48)).astype(np.float32)
    pictures = [BoxedPicture("p", bands, box, np.array([1]))]
    small = RetinanetSpec(anchor_px=8, levels=1, patch_px=32, batch=2, patches=4, epochs=3, learning_rate=0.001)

    def train(folder: str, stop: bool = False) -> str:
        def tell(said: str) -> None:
            if stop and said.startswith("epoch 2"):
                raise RuntimeError("killed")

        options = TrainerOptions(tmp_path / folder)
        return train_detector(pictures, small, ("it",), 1, options, "t", tell)[0].digest()

    with pytest.raises(RuntimeError, match="killed"):
        train("killed", stop=True)
    assert train("killed") == train("undisturbed")


def a_damaged_detector_is_refused(path: Path) -> None:
    from flows.steps.networks.detector import detector_from_bytes

    content = path.read_bytes()
    detector = detector_from_bytes(content, "it")
    assert detector.to_bytes() == content and detector.class_names == ("square",)
    with pytest.raises(RequestError, match="it is not a readable network"):
        detector_from_bytes(content[:500], "it")
    with pytest.raises(RequestError, match="expected it to be a neocube-detector-2, it is a neocube-detector-9"):
        detector_from_bytes(content.replace(b"neocube-detector-2", b"neocube-detector-9"), "it")
    lacking = {name: array for name, array in detector.weights.items() if "conv1" not in name}
    with pytest.raises(
        RequestError, match="it holds the weights of another architecture than the resnet18 that it names"
    ):
        detector_from_bytes(replace(detector, weights=lacking).to_bytes(), "it")


def test_real_crowns_have_their_columns_in_another_order_at_each_site(shared_data: Path) -> None:
    recipe = picture_recipe("tree_crowns")
    assert isinstance(recipe, BoxRecipe)
    placed = read_boxed(shared_data / "labels" / "tree_crowns", recipe.boxes)
    assert [len(picture.boxes) for picture, _, _ in placed] == [7, 61]
    sides = [(picture.boxes[:, 2:] - picture.boxes[:, :2]) for picture, _, _ in placed]
    assert all((each > 10).all() and (each < 150).all() for each in sides)
    assert [crs.to_epsg() for _, _, crs in placed if crs] == [32611, 32617]
    voc, _ = read_boxes(shared_data / "labels" / "tree_crowns" / "OSBS_029.xml")
    np.testing.assert_array_equal(voc, placed[1][0].boxes)


def test_real_vessels_are_boxes_of_four_bands(shared_data: Path) -> None:
    recipe = picture_recipe("vessels")
    assert isinstance(recipe, BoxRecipe)
    ((picture, _, crs),) = read_boxed(shared_data / "labels" / "vessels" / "casablanca", recipe.boxes)
    assert picture.bands.shape == (4, 339, 511) and len(picture.boxes) == 15
    assert crs is not None and crs.to_epsg() == 3857
    lit = [
        picture.bands[3, int(top) : int(bottom), int(left) : int(right)].mean()
        for left, top, right, bottom in picture.boxes
    ]
    assert np.mean(lit) > picture.bands[3].mean()


def test_simulated_vehicles_are_pictures_that_their_recipe_reads(tmp_path: Path) -> None:
    names = write_vehicle_pictures(tmp_path / "roads", count=2, side_px=96, seed=1)
    recipe = picture_recipe("vehicles")
    assert isinstance(recipe, BoxRecipe) and recipe.simulated
    placed = read_boxed(tmp_path / "roads", recipe.boxes)
    assert [picture.name for picture, _, _ in placed] == names and placed[0][0].bands.shape == (3, 96, 96)
    assert sum(len(picture.boxes) for picture, _, _ in placed) > 3
    with pytest.raises(RequestError, match="roads is not empty: give a new folder"):
        write_vehicle_pictures(tmp_path / "roads")
