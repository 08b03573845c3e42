"""A build killed with SIGKILL at any stage, and run again, leaves the bytes of an undisturbed run."""

import signal
import subprocess
from pathlib import Path

import pytest

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.plan_cells import plan
from flows.steps.index.catalogue import published_cells
from products.period import parse_period
from tests.flows.build_stages import STAGES
from tests.flows.file_digests import digests
from tests.flows.killing import killed_by

AREA, YEAR = "demo", "2020"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, small_recipe: Path) -> dict[str, str]:
    """The digests of all files that one whole run leaves in the store."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        home = tmp_path_factory.mktemp("undisturbed") / "home"
        subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        assert build(str(small_recipe), AREA, YEAR)["failed"] == []
        return digests(home / "store")


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=[pytest.mark.full] * (number % 3 > 0)) for number, stage in enumerate(STAGES)]
)
def test_a_killed_build_run_again_leaves_the_same_bytes(
    stage: str, undisturbed: dict[str, str], ingested_settings: Settings, small_recipe: Path
) -> None:
    assert killed_by(lambda: build(str(small_recipe), AREA, YEAR), STAGES[stage]) == signal.SIGKILL
    report = build(str(small_recipe), AREA, YEAR)
    assert report["failed"] == []
    assert digests(Path(ingested_settings.store_url)) == undisturbed
    assert all(cell.state == "fresh" for cell in plan(str(small_recipe), AREA, YEAR).cells)
    with open_index(ingested_settings) as index:
        found = published_cells(index, "mangrove_features", 1, [parse_period(YEAR)])
    assert len(found) == report["built"] + report["fresh"]
