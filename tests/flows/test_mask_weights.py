"""Weights for masks by a model from simulated scenes: what they learn is held on scenes of another seed and year. Regression figures, never accuracy."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.score_masks import score_masks
from flows.steps.areas import find_area
from flows.steps.loading.cloud_model import network_files, weight_keys
from flows.steps.simulation.archive import Simulation, write_archive
from flows.steps.simulation.mask_weights import LOOP, write_mask_weights
from products.errors import RequestError
from products.identity import SourceKey
from products.period import parse_period
from products.registry import features_recipe
from products.source_spec import SourceSpec

pytestmark = pytest.mark.skipif(find_spec("omnicloudmask") is None, reason="omnicloudmask is not installed")
FEATURES = Path(__file__).parents[2] / "docs/features.md"
AREA = "100.826,4.931,100.86,4.969"  # one tile of the demo
MOST = {
    "landsat-c2-l2": {
        "all": (0.2, 0.55),
        "sand": (0.15, 0.75),
        "mudflat": (0.15, 0.2),
        "turbid_water": (0.3, 0.2),
        "fringe": (0.2, 0.35),
    },
    "sentinel-2-l2a": {"all": (0.15, 0.35), "sand": (0.12, 0.5), "turbid_water": (0.1, 0.2), "fringe": (0.18, 0.3)},
}  # omission and commission of cloud after 120 parts of pictures, which are too few to learn shadows; no cloud over mudflat for Sentinel-2


@pytest.fixture(scope="session")
def other_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes to learn from: another coast, under other skies, in another year than those of the small archive."""
    folder = tmp_path_factory.mktemp("other") / "archive"
    write_archive(folder, Simulation(find_area("demo"), parse_period("2019"), 7, 240, "none", 2))
    return folder


@pytest.fixture
def shown_recipe(tmp_path: Path) -> Path:
    """The recipe of the document of features that has `mask_agreement`."""
    shown = [text for text in re.findall(r"```yaml\n(.*?)```", FEATURES.read_text(), re.S) if "mask_agreement" in text]
    assert len(shown) == 1
    path = tmp_path / "masks_agree.recipe.yaml"
    path.write_text(shown[0])
    return path


def test_a_folder_that_is_no_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"no truth in {tmp_path / 'truth'}"):
        write_mask_weights(tmp_path / "weights", tmp_path, 0)


def test_an_archive_with_a_broken_file_is_named(small_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").symlink_to(small_archive / "truth")
    (tmp_path / "items.json").symlink_to(small_archive / "items.json")
    with pytest.raises(RequestError, match=r"cannot be learned from \(cannot read .*with --faults none"):
        write_mask_weights(tmp_path / "weights", tmp_path, 0)
    assert not (tmp_path / "weights").exists()


def test_weights_that_are_there_are_never_written_over(small_archive: Path, tmp_path: Path) -> None:
    name = next(iter(network_files(4)))
    (tmp_path / name).write_bytes(b"published")
    result = CliRunner().invoke(main, ["masks", "learn", str(small_archive), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert f"{tmp_path} holds {name} already, which may be published weights: choose another folder" in result.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"published"]


def test_weights_that_are_not_the_published_ones_are_part_of_what_makes_a_cell(
    shown_recipe: Path, tmp_path: Path
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    recipe, names = features_recipe(str(shown_recipe)), list(network_files(4))

    def keys(value: float, metadata: dict[str, str] | None) -> tuple[SourceKey, ...]:
        for name in names:
            save_file({"a": np.full(3, value)}, tmp_path / name, metadata)
            os.utime(tmp_path / name, (0, 0))  # as of files written within one tick of the clock
        return weight_keys(recipe, tmp_path)

    assert keys(1, None) == keys(2, {"format": "pt"}) == weight_keys(recipe, None) == ()
    one, other = keys(1, {"neocube": "simulated"}), keys(2, {"neocube": "simulated"})
    assert [key.acquisition for key in one] == [key.acquisition for key in other] == names
    assert not set(one) & set(other) and keys(1, {"neocube": "simulated"}) == one
    without = recipe.model_copy(update={"sources": [SourceSpec(collection="landsat-c2-l2")]})
    assert weight_keys(without, tmp_path) == ()


@pytest.mark.full
def test_the_same_seed_gives_the_same_weights(other_archive: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    short = LOOP.model_copy(update={"epochs": 1, "batch": 2})
    folders = [tmp_path / name for name in ("first", "again", "other")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        write_mask_weights(folder, other_archive, seed, short, 4)
    for file in folders[0].iterdir():
        assert (folders[1] / file.name).read_bytes() == file.read_bytes() != (folders[2] / file.name).read_bytes()
        with safe_open(file, "numpy") as opened:
            assert (
                "made by neocube simulate; not the weights that the package publishes" in opened.metadata()["neocube"]
            )
    assert len(list(folders[0].iterdir())) == 2


@pytest.mark.full
@pytest.mark.usefixtures("ingested_settings")
def test_learned_masks_hold_on_other_scenes(
    other_archive: Path, small_archive: Path, shown_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    write_mask_weights(weights, other_archive, 0, LOOP.model_copy(update={"epochs": 3}), 40)
    monkeypatch.setenv("NEOCUBE_MASK_WEIGHTS", str(weights))
    by_model = tmp_path / "by_model.recipe.yaml"
    text = re.sub("decide: either, dilate_px: [0-9]", "decide: model", shown_recipe.read_text())
    by_model.write_text(text.replace("masks_agree", "by_model"))

    scores = score_masks(str(by_model), str(small_archive / "truth"), AREA, "2020")["scores"]
    for collection, grounds in MOST.items():
        for ground, most in grounds.items():
            found = scores[collection][ground]
            assert found["cloud"]["true"] > 500, (collection, ground)
            figures = found["cloud"]["omission"], found["cloud"]["commission"]
            assert all(figure < limit for figure, limit in zip(figures, most, strict=True)), (collection, ground, found)
