"""Fixtures of the tests of flows: an empty index, items of an archive, a small published product, and a coast to learn from."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from datacube_config.connection import Index, database_url, open_index
from datacube_config.settings import Settings
from flows.steps.index.index_setup import init_index
from flows.steps.storage import open_storage
from tests.flows.published_product import PublishedProduct, publish
from tests.flows.sampled_coast import Coast, known_coast


@pytest.fixture
def index(embedded_settings: Settings) -> Iterator[Index]:
    """An open, empty index."""
    with open_index(embedded_settings) as opened:
        yield opened


@pytest.fixture
def each_index(any_settings: Settings) -> Iterator[Index]:
    """An open, empty index of each kind in turn."""
    with open_index(any_settings) as opened:
        yield opened


@pytest.fixture
def items(shared_data: Path) -> list[dict[str, Any]]:
    """Ten Sentinel-2 items of Earth Search c1."""
    document = json.loads((shared_data / "stac/earth_search/c1/13TDE_2024_10_items.json").read_text())
    features: list[dict[str, Any]] = document["features"]
    return features


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedProduct]:
    """The product in a local store whose path has a space in it, its embedded index open."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), store_url=str(tmp_path_factory.mktemp("a store")))
    init_index(settings, tmp_path_factory.mktemp("no_definitions"))
    with open_index(settings) as index:
        yield publish(settings, index)


@pytest.fixture(scope="session")
def published_on_s3(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedProduct]:
    """The same in an S3 bucket."""
    access = {"s3_access_key_id": "reader", "s3_secret_access_key": "secret", "s3_region": "eu-west-1"}
    place = {
        "home": tmp_path_factory.mktemp("home"),
        "store_url": "s3://cubes/published",
        "s3_endpoint_url": s3_endpoint,
    }
    settings = Settings.model_validate(access | place)
    open_storage(settings).filesystem.mkdir("cubes")
    init_index(settings, tmp_path_factory.mktemp("no_definitions"))
    with open_index(settings) as index:
        yield publish(settings, index)


@pytest.fixture
def published_on_postgis(postgis_settings: Settings) -> Iterator[PublishedProduct]:
    """The same, indexed by ODC's postgis driver."""
    with open_index(postgis_settings) as index:
        yield publish(postgis_settings, index)


@pytest.fixture(scope="session")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    """A known coast that training sets are drawn from, its embedded index open."""
    folder = tmp_path_factory.mktemp("coast")
    with known_coast(Settings(home=folder / "home"), folder) as found:
        yield found


@pytest.fixture(scope="module")
def asked_settings(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path) -> Iterator[Settings]:
    """Settings of a home with the small archive, for all tests of a module; its embedded index runs."""
    home = tmp_path_factory.mktemp("asked") / "home"
    subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
    settings = Settings(home=home)
    with database_url(settings):
        yield settings


@pytest.fixture(scope="module")
def asked_module_index(asked_settings: Settings) -> Iterator[Index]:
    """The index of that home."""
    with open_index(asked_settings) as opened:
        yield opened


@pytest.fixture
def asked_index(asked_module_index: Index) -> Index:
    """The same, without requests."""
    with asked_module_index.engine.begin() as connection:
        connection.execute(text("truncate neocube.request, neocube.audit"))
    return asked_module_index


@pytest.fixture
def unreadable_cube(tmp_path: Path) -> Path:
    """A cube in a folder whose path has a space in it; its metadata are there and cannot be read."""
    cube = tmp_path / "a cube.zarr"
    cube.mkdir()
    (cube / "zarr.json").symlink_to("zarr.json")
    return cube
