"""`sample` as a command, as a flow body and as the documents show it: from a built cube of the simulated archive to a table and a model."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pytest

from datacube_config.connection import database_url
from datacube_config.settings import Settings
from flows.sample_here import with_labels
from products.errors import RequestError
from products.registry import DEFINITIONS, parse_recipe
from tests.flows.command_line import answered, neocube

ASKED = ("--area", "demo", "--period", "2020")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Built:
    """A home whose cube of the small recipe is built, recipes of samples and of a model on it, and labels."""

    samples: Path
    model: Path
    labels: Path


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, small_archive: Path, small_recipe: Path
) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run(["cp", "-a", str(ingested_home), str(folder / "home")], check=True)
    settings, samples, model = Settings(home=folder / "home"), folder / "s.recipe.yaml", folder / "m.recipe.yaml"
    text = (DEFINITIONS / "mangrove_samples.recipe.yaml").read_text()
    samples.write_text(text.replace("features: mangrove_features", f"features: {small_recipe}"))
    model.write_text(
        f"{{name: drawn_extent, version: 1, kind: model, features: {small_recipe}, map: {{name: drawn_map}}, "
        "samples: {product: mangrove_samples, classes: [mangrove, water, other], max_per_class: 300}, "
        "split: {block_m: 480, buffer_m: 60}, estimator: {random_forest: {trees: 5}}}"
    )
    with pytest.MonkeyPatch.context() as patch, database_url(settings):
        patch.setenv("NEOCUBE_HOME", str(settings.home))
        assert neocube("build", small_recipe, *ASKED).exit_code == 0
        yield Built(samples, model, small_archive / "truth" / "labels.geojson")


def test_sampling_prints_the_set_its_rows_and_what_was_dropped(built: Built) -> None:
    document = answered("sample", built.samples, *ASKED, "--labels", built.labels)
    assert {"samples", "rows", "path", "dropped"} <= set(document)
    assert all(count > 20 for count in document["rows"].values())
    assert (document["simulated"], document["stale_cells"]) == (True, 0)
    assert Path(document["picture"]).read_bytes().startswith(b"\x89PNG")
    again = neocube("sample", built.samples, *ASKED, "--labels", built.labels)
    assert f"samples {document['samples']} were there already" in again.stdout
    assert "\ndropped, " in again.stdout and "\n  mangrove: " in again.stdout


def test_the_table_opens_as_the_document_says(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    path = answered("sample", built.samples, *ASKED, "--labels", built.labels)["path"]
    section = DOCUMENT[DOCUMENT.index("## A samples recipe\n") : DOCUMENT.index("## A model recipe\n")]
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    exec(compile(example, "document", "exec"), {"path": path})
    assert "mangrove" in capsys.readouterr().out
    told = re.search(r"# geometry, (.*), and a column", example)
    assert told is not None
    assert {*told[1].split(", "), "geometry"} <= set(geopandas.read_parquet(path).columns)


def test_a_model_learns_from_the_set_by_its_name(built: Built) -> None:
    answered("sample", built.samples, *ASKED, "--labels", built.labels)
    document = answered("train", built.model)
    assert document["metrics"]["score"] == "regression score"
    assert document["metrics"]["holdout"]["overall"] > 0.6
    refused = neocube("train", built.model, *ASKED)
    assert refused.exit_code == 2
    assert "learns from the training set mangrove_samples: leave out --area, --period and --labels" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*ASKED,), "the recipe mangrove_samples names no file of its labels: give --labels"),
        (("--period", "2020", "--labels", "x.gpkg"), "the recipe mangrove_samples names no area: give --area"),
        ((*ASKED, "--labels", "absent.gpkg"), "no label file at absent.gpkg"),
    ],
)
def test_a_wrong_request_is_one_line_and_ends_with_2(built: Built, arguments: tuple[str, ...], said: str) -> None:
    result = neocube("sample", built.samples, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"neocube: {said}")


def samples(*labels: dict[str, Any], **said: Any) -> Any:
    document = {"name": "two_samples", "version": 1, "kind": "samples", "features": "mangrove_features"} | said
    more: dict[str, Any] = {"classes": ["a_class", "b_class"], "labels": list(labels)} if labels else {}
    return parse_recipe(json.dumps(document | more), "r.yaml")


def test_the_file_of_a_request_is_that_of_the_source_which_names_none() -> None:
    two = with_labels(samples({"file": "a.tif"}, {}), "b.gpkg")
    assert [source.file for source in two.labels] == ["a.tif", "b.gpkg"]
    assert [source.file for source in with_labels(samples({"file": "a.tif"}), "b.gpkg").labels] == ["b.gpkg"]
    with pytest.raises(RequestError, match="could be any of 2 sources of two_samples: name all files but one"):
        with_labels(samples({"file": "a.tif"}, {"file": "c.tif"}), "b.gpkg")
    matches = {"values": ["chl"], "time": "t", "within": "P1D"}
    assert with_labels(samples(matches=matches), "b.csv").matches.file == "b.csv"
    with pytest.raises(RequestError, match="names no file of its matches: give --labels"):
        with_labels(samples(matches=matches), None)
