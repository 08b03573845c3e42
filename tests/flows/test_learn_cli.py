"""`train`, `map` and `tend` as commands, and what all commands have in common."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import xarray

from datacube_config.connection import database_url, open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.follow_ups import Order, keep_standing
from products.period import parse_period
from products.registry import DEFINITIONS, features_recipe
from tests.flows.command_line import answered, neocube, refused

ASKED = ("--area", "demo", "--period", "2020")


@dataclass(frozen=True)
class Built:
    """A home whose cube of the small recipe is built, a model recipe for it, and its labels."""

    settings: Settings
    features: Path
    model: Path
    labels: Path


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, small_archive: Path, small_recipe: Path
) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("learn")
    subprocess.run(["cp", "-a", str(ingested_home), str(folder / "home")], check=True)
    model, settings = folder / "small_model.recipe.yaml", Settings(home=folder / "home")
    text = (DEFINITIONS / "mangrove_extent.recipe.yaml").read_text()
    model.write_text(text.replace("features: mangrove_features", f"features: {small_recipe}").replace("100", "10"))
    with pytest.MonkeyPatch.context() as patch, database_url(settings):
        patch.setenv("NEOCUBE_HOME", str(settings.home))
        assert neocube("build", small_recipe, *ASKED).exit_code == 0
        yield Built(settings, small_recipe, model, small_archive / "truth" / "labels.geojson")


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_an_example_and_answers_in_json(name: str) -> None:
    shown = neocube(name, "--help")
    assert shown.exit_code == 0
    assert "Example: " in shown.stdout or f'eval "$(neocube {name}' in shown.stdout
    assert f"neocube {name}" in shown.stdout
    assert "--json" in shown.stdout


def test_training_prints_the_model_its_metrics_and_its_card(built: Built) -> None:
    document = answered("train", built.model, *ASKED, "--labels", built.labels)
    assert {"model", "metrics", "card"} <= set(document)
    assert document["metrics"]["score"] == "regression score"
    assert Path(document["card"]).read_text().startswith("# ")
    assert document["stale_cells"] == 0
    again = neocube("train", built.model, *ASKED, "--labels", built.labels)
    assert again.exit_code == 0
    assert again.stdout.startswith(f"model {document['model']} was there already\nregression score")
    assert again.stdout.rstrip().endswith(f"card {document['card']}")
    told = re.search(
        r"^note: Label values: mangrove as mangrove \(\d+ shapes\), water as water .*\.$", again.stdout, re.M
    )
    assert told and told[0].removeprefix("note: ") in Path(document["card"]).read_text()


def test_a_model_of_simulated_scenes_has_a_regression_score_whatever_its_labels_say(
    built: Built, tmp_path: Path
) -> None:
    silent = tmp_path / "labels.geojson"
    known = json.loads(built.labels.read_text())
    assert known.pop("simulated") is True
    silent.write_text(json.dumps(known))
    other = tmp_path / "silent.recipe.yaml"
    other.write_text(built.model.read_text().replace("mangrove_extent", "silent_extent"))
    document = answered("train", other, *ASKED, "--labels", silent)
    assert document["metrics"]["score"] == "regression score"


def test_mapping_prints_the_cube_the_files_and_the_areas(built: Built) -> None:
    model = answered("train", built.model, *ASKED, "--labels", built.labels)["model"]
    document = answered("map", model, *ASKED)
    assert {"cube", "cogs", "pixel_area"} <= set(document)
    assert document["mapped"] >= 4 and document["failed"] == [] and document["stale_cells"] == 0
    assert document["device"] == "cpu"
    assert {entry["unit"] for entry in document["pixel_area"]} == {"ha"}
    assert all(Path(cog).is_file() for cog in document["cogs"])
    again = neocube("map", "mangrove_extent", *ASKED)
    assert again.exit_code == 0
    assert again.stdout.startswith(f"0 cells mapped, {document['mapped']} were there\ncube {document['cube']}\n")


def test_a_forest_maps_on_the_cpu_and_says_so_where_a_gpu_is_asked_for(built: Built) -> None:
    answered("train", built.model, *ASKED, "--labels", built.labels)
    refused(
        neocube("map", "mangrove_extent", *ASKED, "--device", "gpu"),
        "the device gpu was asked for, but a random forest of ",
        " maps on the CPU; use --device cpu, or auto",
    )


def test_a_model_is_exported_as_a_graph_that_answers_as_it_does(built: Built, tmp_path: Path) -> None:
    answered("train", built.model, *ASKED, "--labels", built.labels)
    shown = neocube("export", "mangrove_extent", tmp_path / "graph", "--format", "onnx")
    assert shown.exit_code == 0, shown.output
    assert f"{tmp_path}/graph/mangrove_extent.onnx" in shown.stdout
    assert "as the model within " in shown.stdout and "(at most 1e-05)" in shown.stdout
    refused(
        neocube("export", "mangrove_extent", tmp_path, "--format", "onnx", "--area", "demo"),
        "a model, which has no area: leave out demo",
    )
    refused(
        neocube("export", "mangrove_extend", tmp_path / "no", "--format", "onnx"), "unknown model 'mangrove_extend'"
    )


def test_a_transform_is_fitted_without_labels_and_maps_components(built: Built, tmp_path: Path) -> None:
    recipe = tmp_path / "components.recipe.yaml"
    recipe.write_text(
        f"name: coast_pca\nversion: 1\nkind: model\nfeatures: {built.features}\n"
        "pca: {components: 2, max_pixels: 2000}\nmap: {name: coast_components}\n"
    )
    refused(
        neocube("train", recipe, *ASKED, "--labels", built.labels), "coast_pca is a transform", "leave out --labels"
    )
    shown = neocube("train", recipe, *ASKED)
    assert shown.exit_code == 0, shown.output
    assert "explained variance of 2000 pixels: " in shown.stdout and "  component_2: 0." in shown.stdout
    document = answered("map", "coast_pca", *ASKED)
    assert (document["failed"], document["cogs"], document["product"]) == ([], [], "coast_components")
    cube = xarray.open_zarr(document["cube"])
    assert list(cube["feature"].values) == ["component_1", "component_2"]
    first = cube["features"].isel(period=0, feature=0).values
    assert first.dtype == np.float32 and np.isfinite(first).any()


def test_models_and_maps_of_stale_cells_say_so(built: Built) -> None:
    recipe, period = features_recipe(str(built.features)), parse_period("2020")
    with open_index(built.settings) as index:
        scene = find_scenes(index, recipe.sources, period, find_area("demo").geometry)[0].id
        index.dc.index.datasets.archive([scene])
    other = built.model.with_name("stale.recipe.yaml")
    other.write_text(
        built.model.read_text().replace("mangrove_extent", "stale_extent").replace("mangrove_map", "stale_map")
    )
    document = answered("train", other, *ASKED, "--labels", built.labels)
    n_stale = document["stale_cells"]
    assert n_stale >= 1
    said = f"{n_stale} of {len(json.loads(Path(document['card']).with_name('card.json').read_text())['trained_from']['cells'])} feature cells were stale"
    assert said in Path(document["card"]).read_text()
    mapped = neocube("map", "stale_extent", *ASKED)
    assert mapped.exit_code == 0
    assert f"note: {n_stale} feature cells are stale; `neocube build` renews them" in mapped.stdout
    with open_index(built.settings) as index:
        index.dc.index.datasets.restore([scene])
    assert answered("map", "stale_extent", *ASKED)["stale_cells"] == 0


def test_tending_does_what_is_ordered_once_and_names_what_fails(built: Built, tmp_path: Path) -> None:
    assert neocube("tend").stdout == "nothing was due\n"
    labels = tmp_path / "labels.geojson"
    with open_index(built.settings) as index:
        keep_standing(index, Order(str(built.model), "demo", "2020", str(labels)))
    report = answered("tend", exit_code=1)
    assert report["done"] == [] and f"no label file at {labels}" in report["failed"][0]["cause"]
    labels.write_bytes(built.labels.read_bytes())
    done = neocube("tend")
    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["done", "train"], ["done", "map"]]
    assert answered("tend") == {"done": [], "failed": [], "elsewhere": []}


def test_labels_that_lie_elsewhere_are_refused(built: Built, tmp_path: Path) -> None:
    moved = geopandas.read_file(built.labels)
    moved.geometry = moved.geometry.translate(xoff=1.0)
    moved.to_file(tmp_path / "moved.gpkg")
    refused(
        neocube("train", built.model, *ASKED, "--labels", tmp_path / "moved.gpkg"),
        "moved.gpkg (EPSG:4326) share no ground with the area 'demo'",
    )


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_labels_without_a_crs_are_refused(built: Built, tmp_path: Path) -> None:
    bare = geopandas.read_file(built.labels).set_crs(None, allow_override=True)
    bare.to_file(tmp_path / "bare.gpkg")
    with rasterio.open(
        tmp_path / "bare.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8",
        transform=rasterio.Affine(30, 0, 0, 0, -30, 0),
    ) as file:  # fmt: skip
        file.write(np.ones((8, 8), np.uint8), 1)
    for name in ("bare.gpkg", "bare.tif"):
        refused(neocube("train", built.model, *ASKED, "--labels", tmp_path / name), name, "declares no CRS")


def test_labels_that_are_not_there_are_refused(built: Built, tmp_path: Path) -> None:
    refused(
        neocube("train", built.model, *ASKED, "--labels", tmp_path / "none.geojson"),
        f"no label file at {tmp_path}/none.geojson",
    )
    refused(neocube("train", built.model, *ASKED, "--labels", "https://example.org/a.gpkg"), "a path or an s3:// URL")
    refused(neocube("train", built.model, *ASKED), "names no labels: give --labels")


def test_archives_are_simulated_into_folders_only() -> None:
    for command in (("simulate", "s3://bucket/archive"), ("demo", "s3://bucket/demo")):
        refused(neocube(*command), f"cannot simulate into {command[1]}", "expected a folder of this machine")
    assert not Path("s3:").exists()


def test_features_named_by_a_path_are_found_from_any_folder(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes, elsewhere, moved = (tmp_path / name for name in ("recipes", "elsewhere", "moved"))
    for folder in (recipes, elsewhere, moved):
        folder.mkdir()
    model = recipes / "path_model.recipe.yaml"
    text = built.model.read_text().replace(f"features: {built.features}", "features: small.recipe.yaml")
    model.write_text(text.replace("mangrove_extent", "path_extent").replace("mangrove_map", "path_map"))
    (recipes / "small.recipe.yaml").write_text(built.features.read_text())
    monkeypatch.chdir(elsewhere)
    trained = answered("train", model, *ASKED, "--labels", built.labels)
    assert (
        json.loads(Path(trained["card"]).with_suffix(".json").read_text())["recipe"]["features"] == "small.recipe.yaml"
    )
    monkeypatch.chdir(moved)
    assert answered("map", "path_extent", *ASKED)["mapped"] > 0
    recipes.rename(tmp_path / "renamed")
    gone = neocube("map", "path_extent", *ASKED)
    assert gone.exit_code == 2 and "no recipe file at small.recipe.yaml" in gone.stderr
    (moved / "small.recipe.yaml").write_text(built.features.read_text())
    assert answered("map", "path_extent", *ASKED)["fresh"] > 0
    again = answered("train", tmp_path / "renamed" / model.name, *ASKED, "--labels", built.labels)
    assert (again["model"], again["trained"]) == (trained["model"], False)


def test_where_the_features_lie_is_no_key_of_a_recipe(built: Built, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.recipe.yaml"
    wrong.write_text(built.model.read_text() + "features_file: /etc/passwd\n")
    refused = neocube("train", wrong, *ASKED, "--labels", built.labels)
    assert refused.exit_code == 2 and "unknown key 'features_file'" in refused.stderr
