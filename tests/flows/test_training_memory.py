"""Training keeps under the peak of memory that its plan states, and is refused where there is not so much."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datacube_config.settings import Settings
from flows.build_here import build
from tests.flows.command_line import neocube, refused

SCRIPT = Path(__file__).parents[1] / "bench" / "training_peak.py"
BUDGET = "NEOCUBE_MEMORY_LIMIT_BYTES"
N_FEATURES = 40
TABLE = """name: wide_table
version: 1
kind: model
estimator: {estimator}
table: {{target: kind, features: [{features}], max_per_class: 1000000, classes: {{low: [0], high: [1]}}}}
"""
FEATURES = """name: many
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: 1024, anchor: landsat}
period: P1Y
sources: [{collection: sentinel-2-l2a}]
features:
  - index: {names: [NDVI, NDWI], reduce: [p10, p25, p50, p75, p90]}
  - count: {}
"""
MODEL = """name: many_model
version: 1
kind: model
features: {features}
area: demo
period: 2020
samples: {{labels: {labels}, classes: [west, east], max_per_class: 1000000, edge_px: 0}}
split: {{block_m: 1500, folds: 4, buffer_m: 100}}
estimator: {estimator}
map: {{name: many_map}}
"""


def write_tables(folder: Path, n: int) -> list[str]:
    """Two groups of so many rows each, of forty features of which one tells the class."""
    random, places = np.random.default_rng(1), []
    for group in ("north", "south"):
        values = random.standard_normal((n, N_FEATURES), dtype=np.float32)
        table = pd.DataFrame(values, columns=[f"f{k}" for k in range(N_FEATURES)])
        table.assign(kind=(values[:, 0] + random.normal(0, 0.3, n) > 0).astype(np.int64)).to_parquet(
            folder / f"{group}.parquet"
        )
        places.append(str(folder / f"{group}.parquet"))
    return places


def write_recipe(folder: Path, estimator: str) -> Path:
    path = folder / "wide_table.recipe.yaml"
    path.write_text(TABLE.format(estimator=estimator, features=", ".join(f"f{k}" for k in range(N_FEATURES))))
    return path


def test_a_training_beyond_the_memory_limit_is_refused_before_its_table_is_read(
    neocube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [each for place in write_tables(tmp_path, 50) for each in ("--table", place)]
    recipe = write_recipe(tmp_path, "linear")
    monkeypatch.setenv(BUDGET, "1000000")
    words = ("wide_table on a table of 100 rows needs 0.6 GB, 0.0 GB may be used", "max_per_class", BUDGET)
    refused(neocube("train", recipe, *tables), *words)
    assert not list(Path(Settings(home=neocube_home).store_url).rglob("card.json"))
    monkeypatch.delenv(BUDGET)
    document = json.loads(neocube("train", recipe, *tables, "--json").stdout)
    assert document["host_bytes"] > 500_000_000 and document["trained"]


@pytest.mark.full
@pytest.mark.parametrize("estimator", ["linear", "random_forest"])
def test_a_training_on_a_table_keeps_under_its_planned_peak(neocube_home: Path, tmp_path: Path, estimator: str) -> None:
    check_peak(write_recipe(tmp_path, estimator), *write_tables(tmp_path, 250_000), least=0.3)


@pytest.mark.full
@pytest.mark.parametrize("estimator", ["linear", "{random_forest: {trees: 10, max_depth: 8}}", "gradient_boosting"])
def test_a_training_on_cells_keeps_under_its_planned_peak(
    ingested_settings: Settings, tmp_path: Path, estimator: str
) -> None:
    features = tmp_path / "many.recipe.yaml"
    features.write_text(FEATURES)
    assert not build(str(features), "demo", "2020")["failed"]
    labels = tmp_path / "halves.geojson"
    boxes = {"west": (100.5, 100.845), "east": (100.8451, 101.2)}
    shapes = [
        {
            "type": "Feature",
            "properties": {"class": name},
            "geometry": {"type": "Polygon", "coordinates": [[[w, 4.5], [e, 4.5], [e, 5.3], [w, 5.3], [w, 4.5]]]},
        }
        for name, (w, e) in boxes.items()
    ]
    labels.write_text(json.dumps({"type": "FeatureCollection", "simulated": True, "features": shapes}))
    model = tmp_path / "many_model.recipe.yaml"
    model.write_text(MODEL.format(features=features, labels=labels, estimator=estimator))
    check_peak(model, least=0.4)


def check_peak(recipe: Path, *tables: str, least: float) -> None:
    command = [sys.executable, str(SCRIPT), str(recipe), *tables]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert least * found["planned_bytes"] < found["peak_bytes"] <= found["planned_bytes"], found
