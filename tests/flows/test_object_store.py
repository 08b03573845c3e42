"""The whole job with the archive, the cubes, the model and the map in an S3 object store."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import s3fs
import xarray as xr

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.map_here import make_map
from flows.plan_cells import plan
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.storage import open_storage, s3_options
from flows.train_here import train
from products.errors import RequestError


@pytest.fixture
def s3_settings(embedded_settings: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with the store in a bucket, and the credentials of the test server."""
    values = {
        "STORE_URL": "s3://whole-job/store",
        "S3_ENDPOINT_URL": s3_endpoint,
        "S3_ACCESS_KEY_ID": "who",
        "S3_SECRET_ACCESS_KEY": "secret",
        "S3_REGION": "eu-west-2",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"NEOCUBE_{name}", value)
    settings = Settings(home=embedded_settings.home)
    files = s3fs.S3FileSystem(**s3_options(settings), skip_instance_cache=True)
    for bucket in ("whole-job", "archive"):
        files.mkdir(bucket)
    return settings


@pytest.mark.full
def test_the_whole_job_runs_in_an_object_store_with_the_same_pixels(
    s3_settings: Settings,
    small_archive: Path,
    small_recipe: Path,
    ingested_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    files = s3fs.S3FileSystem(**s3_options(s3_settings), skip_instance_cache=True)
    files.put(str(small_archive), "archive/", recursive=True)
    with open_index(s3_settings) as index:
        report = ingest_archive(index, "s3://archive/archive/catalog.json", s3_options=s3_options(s3_settings))
    assert (report.added, report.quarantined) == (report.found, [])
    first = build(str(small_recipe), "demo", "2020")
    assert (first["failed"], first["unread"]) == ([], [])
    assert first["cube"].startswith("s3://whole-job/store/cubes/mangrove_features-v1/")
    assert build(str(small_recipe), "demo", "2020")["built"] == 0
    assert all(cell.state == "fresh" for cell in plan(str(small_recipe), "demo", "2020").cells)
    there = xr.open_zarr(first["cube"], storage_options=s3_options(s3_settings)).load()

    store = open_storage(s3_settings)
    model_recipe = tmp_path / "model.recipe.yaml"
    text = (Path(__file__).parents[2] / "products/definitions/mangrove_extent.recipe.yaml").read_text()
    model_recipe.write_text(
        text.replace("features: mangrove_features", f"features: {small_recipe}").replace("trees: 100", "trees: 10")
    )
    model = train(str(model_recipe), "demo", "2020", "s3://archive/archive/truth/labels.geojson")
    assert model.card["trained_from"]["labels"] == "labels.geojson"
    with pytest.raises(RequestError, match="no label file at s3://archive/archive/truth/none.geojson"):
        train(str(model_recipe), "demo", "2020", "s3://archive/archive/truth/none.geojson")
    mapped = make_map(str(model.id), "demo", "2020").document()
    assert mapped["cube"].startswith("s3://whole-job/store/") and all(store.exists(cog) for cog in mapped["cogs"])

    for name in ("STORE_URL", "S3_ENDPOINT_URL"):
        monkeypatch.delenv(f"NEOCUBE_{name}")
    home = tmp_path / "local"

    subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
    monkeypatch.setenv("NEOCUBE_HOME", str(home))
    here = xr.open_zarr(build(str(small_recipe), "demo", "2020")["cube"]).load()
    for name in ("features", "accounts"):
        np.testing.assert_array_equal(here[name].values, there[name].values)
