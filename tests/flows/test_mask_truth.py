"""`neocube masks score`: the masks of the chain against the sky of the simulated archive. Regression figures, never accuracy."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from datacube_config.settings import Settings
from flows.cli import main
from flows.score_masks import score_masks

GROUNDS = ["all", "mangrove", "sand", "built_up", "mudflat", "turbid_water", "fringe"]
HELD = {
    "landsat-c2-l2": {
        "all": (0.0006, 0.0197, 0.0011, 0.2491),
        "sand": (0.0011, 0.0881, 0.0015, 0.4032),
        "mudflat": (0.0, 0.0114, 0.0, 0.3568),
        "turbid_water": (0.0016, 0.02, 0.0, 0.1561),
        "fringe": (0.0009, 0.0094, 0.0, 0.2508),
    },
    "sentinel-2-l2a": {
        "all": (0.0001, 0.0103, 0.0006, 0.2635),
        "sand": (0.0, 0.0257, 0.0, 0.3811),
        "mudflat": (None, None, None, 0.0213),
        "turbid_water": (0.0, 0.002, 0.0, 0.1951),
        "fringe": (0.0, 0.0049, 0.0007, 0.211),
    },
}  # omission and commission of cloud, omission of shadow, clear lost; None where none is true or called


def asked(recipe: Path, archive: Path, area: str = "demo") -> list[str]:
    return ["masks", "score", str(recipe), "--truth", str(archive / "truth"), "--area", area, "--period", "2020"]


@pytest.fixture
def ungrown(small_recipe: Path, tmp_path: Path) -> Path:
    """The recipe with masks as they are delivered."""
    text = small_recipe.read_text().replace("dilate_px: 2", "dilate_px: 0").replace("dilate_px: 3", "dilate_px: 0")
    path = tmp_path / "ungrown.recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("ingested_settings")
def test_the_figures_of_the_mask_chain_are_held(small_recipe: Path, ungrown: Path, small_archive: Path) -> None:
    result = CliRunner().invoke(main, [*asked(small_recipe, small_archive), "--json"])
    assert result.exit_code == 0, result.output
    grown = json.loads(result.stdout)
    plain = score_masks(str(ungrown), str(small_archive / "truth"), "demo", "2020")["scores"]

    assert grown["scenes"] == 16 and grown["without_truth"] == []
    assert grown["clear"]["sentinel-2-l2a"]["dilate_px"] == 3
    for collection, limits in HELD.items():
        found, before = grown["scores"][collection], plain[collection]
        assert list(found) == GROUNDS
        for ground, (omission, commission, shadow, lost) in limits.items():
            cloud = found[ground]["cloud"]
            figures = cloud["omission"], cloud["commission"], found[ground]["cloud_shadow"]["omission"]
            expected = omission, commission, shadow, lost
            for figure, held in zip((*figures, found[ground]["clear_lost"]), expected, strict=True):
                assert figure == (held if held is None else pytest.approx(held, abs=0.002)), (collection, ground)
        assert found["all"]["cloud"]["omission"] < before["all"]["cloud"]["omission"]
        assert found["all"]["clear_lost"] > before["all"]["clear_lost"]
        assert found["all"]["cloud"]["commission"] == before["all"]["cloud"]["commission"]
        assert found["sand"]["clear_lost"] > found["all"]["clear_lost"]


@pytest.mark.usefixtures("ingested_settings")
def test_the_command_prints_a_table_of_grounds(small_recipe: Path, small_archive: Path) -> None:
    centre = json.loads((small_archive / "truth" / "labels.geojson").read_text())["features"][0]["geometry"]
    west, south = centre["coordinates"][0][0]
    area = f"{west:.5f},{south:.5f},{west + 0.0005:.5f},{south + 0.0005:.5f}"
    table = CliRunner().invoke(main, asked(small_recipe, small_archive, area)).stdout.splitlines()
    assert " scenes, 0 without truth" in table[0]
    assert [line.split()[0] for line in table if line[:2] == "  " and line[2] != " "] == GROUNDS * 2


def test_a_folder_that_is_no_truth_is_named(small_recipe: Path, small_archive: Path, neocube_home: Path) -> None:
    result = CliRunner().invoke(main, asked(small_recipe, small_archive / "truth"))
    assert result.exit_code == 2 and not neocube_home.exists()
    assert (
        f"no truth in {small_archive / 'truth' / 'truth'}: expected the folder that `neocube simulate` calls truth"
        in result.stderr
    )


def test_the_truth_of_another_archive_is_refused(
    ingested_settings: Settings, small_recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "acquisitions.json").write_text(json.dumps([{"item_id": "another"}]))
    result = CliRunner().invoke(main, asked(small_recipe, tmp_path))
    assert result.exit_code == 2
    assert "knows none of the" in result.stderr and "expected that of the archive" in result.stderr
    assert ingested_settings.home.exists()
