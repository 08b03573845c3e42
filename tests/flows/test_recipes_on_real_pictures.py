"""The recipes of lines and boxes, trained and mapped whole as docs/recipes.md says, with settings that a processor core can bear."""

import json
from pathlib import Path
from typing import Any

import geopandas
import pytest
import yaml
from click.testing import CliRunner

from flows.cli import main
from flows.steps.simulation.track_pictures import write_track_pictures
from flows.steps.simulation.vehicle_pictures import write_vehicle_pictures

DEFINITIONS = Path(__file__).parents[2] / "products" / "definitions"
REASON = "the packages of the extra deep are not installed"
pytestmark = pytest.mark.full
SMALL: dict[str, dict[str, Any]] = {
    "glacier_fronts": {"patches": 64, "epochs": 6},
    "ship_tracks": {"patches": 128, "epochs": 8},
    "tree_crowns": {"patches": 32, "epochs": 12, "learning_rate": 0.001},
    "vessels": {"patches": 32, "epochs": 12, "learning_rate": 0.001},
    "vehicles": {"patches": 48, "epochs": 10, "learning_rate": 0.001},
}


def small(name: str, folder: Path) -> Path:
    """The recipe that comes with neocube, learning for a shorter time."""
    document = yaml.safe_load((DEFINITIONS / f"{name}.recipe.yaml").read_text())
    spec = document["retinanet"] if "retinanet" in document else document["estimator"]["unet"]
    spec.update(SMALL[name] | {"patience": SMALL[name]["epochs"]})
    path = folder / f"{name}.recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def asked(*words: str) -> dict[str, Any]:
    answer = CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def trained_and_mapped(name: str, pictures: Path, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What training says, and what the model then finds in the same pictures; the picture that is shown is no empty one."""
    pytest.importorskip("torchvision", reason=REASON)
    document = asked("train", str(small(name, folder)), "--pictures", str(pictures), "--device", "cpu")
    mapped = asked("map", name, "--pictures", str(pictures))
    assert mapped["model"] == document["model"] and mapped["looked"]
    assert Path(mapped["picture"]).stat().st_size > 20_000 and "a smoke test" in Path(document["card"]).read_text()
    return document, mapped
