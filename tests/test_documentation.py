"""The documents: what they say is true, their links lead somewhere, and every command in them runs.

Blocks of `console` (lines after `$ `) and `python` run in order, one shell a document, in a fresh clone; a comment
`<!-- not run: REASON -->` above a block leaves it out. Every `neocube …` in a document must parse.
"""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from datacube_config.settings import PREFIX, Settings
from products.feature_spec import KINDS, feature_kind
from products.feature_step import PLAIN_REDUCERS
from products.identity import KERNEL_VERSIONS
from products.learning.box_recipe import BoxRecipe
from products.learning.line_recipe import LineRecipe
from products.learning.masked_recipe import MaskedRecipe
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import ModelRecipe
from products.learning.samples_recipe import SamplesRecipe
from products.learning.table_recipe import TableRecipe
from products.observations_spec import ObservationsRecipe
from products.pixel.causes import Cause
from products.pixel.tasselled_cap import TASSELLED_CAP
from products.registry import features_recipe, parse_recipe
from products.sensors import COLLECTIONS, SENSORS
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe
from products.window.terrain import MEASURES as TERRAIN_MEASURES
from products.window.texture import MEASURES as TEXTURE_MEASURES
from tests.documents import FENCE, REPOSITORY, blocks, parse

DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|opt|Users|mnt)/")
REGISTRY_HOST = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|conda\.anaconda|(?:ghcr|quay|docker)\.io")
NAMES = [str(path.relative_to(REPOSITORY)) for path in DOCUMENTS]


def neocube_lines(path: Path) -> list[str]:
    """Every `neocube …` command of a document, in blocks and in running text."""
    shown = [line for block in blocks(path) for line in block.commands]
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    spans = re.findall(r"`(neocube [^`]+)`", prose)
    inner = [found for line in shown for found in re.findall(r"\$\((neocube [^)]+)\)", line)]
    return [*(line for line in shown if line.startswith("neocube ")), *spans, *inner]


def table_rows(path: Path) -> list[list[str]]:
    """The cells of every table row of a document."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def keys_of(model: type[BaseModel]) -> set[str]:
    """The keys of a recipe model and of the models in it."""
    keys = {field.alias or name for name, field in model.model_fields.items()}
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys |= keys_of(part)
    return keys


def test_the_readme_has_under_a_hundred_lines() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_of_a_document_leads_to_a_file(name: str) -> None:
    document = REPOSITORY / name
    targets = [found["target"] for found in LINK.finditer(document.read_text(encoding="utf-8"))]
    files = [target.partition("#")[0] for target in targets if not target.startswith(("http://", "https://", "#"))]
    assert [each for each in files if not (document.parent / each).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_document_names_no_machine_path_and_no_registry(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert MACHINE_PATH.findall(text) == []
    assert REGISTRY_HOST.findall(text) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_neocube_command_of_a_document_parses(name: str) -> None:
    for line in neocube_lines(REPOSITORY / name):
        parse(line)


@pytest.mark.parametrize("name", NAMES)
def test_every_make_command_of_a_document_is_a_target(name: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    spans = re.findall(r"`make ([a-z-]+)[^`]*`", (REPOSITORY / name).read_text(encoding="utf-8"))
    shown = [line.split()[1] for block in blocks(REPOSITORY / name) for line in block.commands if line[:5] == "make "]
    assert [each for each in (*spans, *shown) if each not in targets] == []


def test_every_recipe_in_the_documents_is_valid() -> None:
    found = [b.body for path in DOCUMENTS for b in blocks(path) if b.language == "yaml" and "kind:" in b.body]
    assert {parse_recipe(text, "document").kind for text in found} == {
        "features",
        "observations",
        "series",
        "samples",
        "model",
    }


def test_the_recipe_document_names_every_key_feature_reducer_band_and_collection() -> None:
    text = (REPOSITORY / "docs/recipes.md").read_text(encoding="utf-8")
    bands = {band for sensor in SENSORS.values() for band in sensor.reflectance}
    recipes = (
        FeaturesRecipe, ObservationsRecipe, SeriesRecipe, SamplesRecipe, ModelRecipe, PcaRecipe, TableRecipe, MaskedRecipe, LineRecipe,
        BoxRecipe,
    )  # fmt: skip
    words = {
        *(key for recipe in recipes for key in keys_of(recipe)),
        *KINDS.values(),
        *PLAIN_REDUCERS,
        *bands,
        *COLLECTIONS,
    }
    platforms = {platform for sensor in SENSORS.values() for platform in sensor.platforms}
    assert [each for each in sorted(words | platforms) if not re.search(rf"(?<![\w-]){each}(?![\w-])", text)] == []


def test_the_feature_document_names_every_kind_key_and_layer() -> None:
    text = (REPOSITORY / "docs/features.md").read_text(encoding="utf-8")
    kinds = set(KINDS.values())
    words = kinds | {*TASSELLED_CAP, *TEXTURE_MEASURES, *TERRAIN_MEASURES, *PLAIN_REDUCERS}
    assert [each for each in sorted(words) if not re.search(rf"`{each}(_[0-9]+)?`", text)] == []
    recipe = features_recipe("every_feature")
    course = {feature_kind(step) for step in features_recipe("every_course").features}
    assert course == {"frequency", "trend", "change", "season"}
    assert {feature_kind(step) for step in recipe.features} == kinds - {
        "terrain",
        "distance",
        "mask_agreement",
    } - (course - {"season"})
    around = features_recipe("every_surrounding")
    assert {feature_kind(step) for step in around.features} >= {"texture", "terrain", "distance"}


def test_the_recipe_document_lists_the_causes_by_precedence() -> None:
    rows = table_rows(REPOSITORY / "docs/recipes.md")
    listed = [(row[0], row[1].strip("`")) for row in rows if row[1].strip("`").upper() in Cause.__members__]
    assert listed == [("" if cause == 0 else str(int(cause)), cause.name.lower()) for cause in Cause]


def test_the_settings_table_has_every_setting_with_its_default() -> None:
    rows = [row for row in table_rows(REPOSITORY / "docs/operations.md") if row[0].startswith(f"`{PREFIX}")]
    assert [row[0].strip("`") for row in rows] == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for (_, default, meaning), field in zip(rows, Settings.model_fields.values(), strict=True):
        assert meaning
        if field.default is not None and field.default_factory is None:
            assert default == f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def test_the_document_of_pixels_says_of_each_version_of_each_kernel_what_changed() -> None:
    rows = [row for row in table_rows(REPOSITORY / "docs/pixels.md") if row[0].startswith("`")]
    assert [(row[0].strip("`"), int(row[1])) for row in rows] == [
        (kernel, version) for kernel, newest in KERNEL_VERSIONS.items() for version in range(1, newest + 1)
    ]
    assert all(row[2] for row in rows)


def test_the_settings_files_of_the_documents_are_valid() -> None:
    found = [b.body for path in DOCUMENTS for b in blocks(path) if b.language == "toml"]
    assert found
    for text in found:
        Settings.model_validate(tomllib.loads(text))


@pytest.fixture(scope="session")
def fresh_clone() -> Iterator[Path]:
    """The files of this repository in a new folder that all users may enter, with nothing installed."""
    with tempfile.TemporaryDirectory(prefix="neocube-clone-") as parent:
        Path(parent).chmod(0o755)
        yield copied_files(Path(parent) / "neocube")


def copied_files(folder: Path) -> Path:
    """The folder, with what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


def script(path: Path) -> str:
    """The blocks of a document that run, as one shell script that stops at the first failure."""
    lines = ["set -euo pipefail"]
    for block in blocks(path):
        if block.reason is None and block.language == "console":
            lines += block.commands
        elif block.reason is None and block.language == "python":
            lines += ["python - <<'END_OF_PYTHON'", block.body, "END_OF_PYTHON"]
    return "\n".join(lines)


@pytest.mark.full
@pytest.mark.parametrize("name", ["README.md", "docs/getting-started.md", "docs/operations.md"])
def test_the_commands_of_a_document_run_in_a_fresh_clone(name: str, fresh_clone: Path) -> None:
    """With only Python and make before the first line; a document that does not install gets the base first."""
    unset = ("NEOCUBE_", "PREFECT_", "ODC_", "VIRTUAL_ENV", "PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unset)}
    outside = [each for each in kept["PATH"].split(os.pathsep) if not each.startswith(str(REPOSITORY))]
    path = os.pathsep.join([str(fresh_clone / ".venv" / "bin"), *outside])
    environment = kept | {"PATH": path, "NEOCUBE_HOME": str(fresh_clone / "var" / Path(name).stem), "MAKEFLAGS": ""}
    lines = script(REPOSITORY / name)
    if "make " not in lines:
        subprocess.run(["make", ".venv/neocube-base"], cwd=fresh_clone, env=environment, check=True)
    done = subprocess.run(["bash", "-x", "-c", lines], cwd=fresh_clone, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


def test_every_runnable_document_is_run() -> None:
    runnable = {str(path.relative_to(REPOSITORY)) for path in DOCUMENTS if script(path).count("\n")}
    assert runnable == {"README.md", "docs/getting-started.md", "docs/operations.md"}
