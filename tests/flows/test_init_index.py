"""`init_index` on each kind of index."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from datacube.index.hl import Doc2Dataset
from sqlalchemy import create_engine, text

from datacube_config.connection import database_url, open_index
from datacube_config.settings import Settings
from flows.steps.index.cell_product import declare_cells
from flows.steps.index.index_setup import METADATA_TYPES, PRODUCT_DEFINITIONS, add_product, init_index
from products.errors import RequestError
from products.registry import features_recipe
from products.sensors import ANGLE_BANDS, SENSORS
from products.template import features_template, odc_product_definition

REPOSITORY = Path(__file__).parents[2]
SOURCE_PRODUCTS = sorted(sensor.product for sensor in SENSORS.values())
ANGLES = {f"{body}_{angle}": {"path": "x.tif"} for body in ("sun", "view") for angle in ("zenith", "azimuth")}
SCENE: dict[str, Any] = {
    "$schema": "https://schemas.opendatacube.org/dataset",
    "id": "6b8bd0ac-0b8d-5a52-8a0d-0a3ac2b6a3a1",
    "label": "scene",
    "product": {"name": "landsat_oli_c2_l2"},
    "crs": "EPSG:32647",
    "grids": {"default": {"shape": [10, 20], "transform": [30, 0, 600015, 0, -30, 500025, 0, 0, 1]}},
    "measurements": {name: {"path": f"{name}.tif"} for name in (*SENSORS["oli"].reflectance, "qa_pixel", "qa_radsat")},
    "properties": {
        "datetime": "2020-02-03T04:05:06Z",
        "eo:platform": "landsat-8",
        "eo:instrument": "oli",
        "odc:processing_datetime": "2020-02-20T00:00:00Z",
        "odc:file_format": "GeoTIFF",
        "odc:region_code": "127057",
        "neocube:item_id": "LC08_L2SP_127057_20200203_02_T1",
        "neocube:acquisition": "landsat-8/127057/2020-02-03T04:05:06Z",
        "neocube:rendition": "02/T1/2020-02-20",
        "neocube:pass": "landsat-8/127/2020-02-03",
    },
    "lineage": {},
}


@pytest.fixture(params=["embedded", "postgres", "postgis"])
def new_settings(request: pytest.FixtureRequest, neocube_home: Path) -> Settings:
    """Each kind of index, not initialised."""
    if request.param == "embedded":
        return Settings(home=neocube_home)
    request.getfixturevalue(f"{'postgis' if request.param == 'postgis' else 'server'}_settings")
    new_database: Callable[[str], str] = request.getfixturevalue("new_database")
    url = new_database("template1")
    return Settings.model_validate({"home": neocube_home, "index_url": url, "index_driver": request.param})


def changed(tmp_path: Path, **fields: Any) -> Path:
    """A folder with one product definition, some of whose fields differ."""
    document = yaml.safe_load((PRODUCT_DEFINITIONS / "landsat_oli_c2_l2.odc-product.yaml").read_text())
    (tmp_path / "landsat_oli_c2_l2.odc-product.yaml").write_text(yaml.safe_dump(document | fields))
    return tmp_path


def test_init_says_what_it_made_and_is_safe_to_repeat(new_settings: Settings) -> None:
    first = init_index(new_settings, PRODUCT_DEFINITIONS)
    assert first["driver"] == new_settings.index_driver
    assert first["products"] == SOURCE_PRODUCTS
    assert first["index"].startswith("postgresql+psycopg://")
    assert ":***@" in first["index"]
    assert init_index(new_settings, PRODUCT_DEFINITIONS) == first


def test_an_index_of_others_keeps_its_products(neocube_home: Path, new_database: Callable[[str], str]) -> None:
    url = new_database("template1")
    settings = Settings.model_validate({"home": neocube_home, "index_url": url, "index_driver": "postgres"})
    with open_index(settings, initialised=False) as index:
        index.dc.index.init_db()
        theirs = {
            "name": "theirs", "description": "Theirs", "metadata_type": "eo3", "metadata": {"product": {"name": "theirs"}},
            "measurements": [{"name": "red", "dtype": "int16", "nodata": -999, "units": "1"}],
        }  # fmt: skip
        index.dc.index.products.add_document(theirs)
    assert init_index(settings, PRODUCT_DEFINITIONS)["products"] == sorted([*SOURCE_PRODUCTS, "theirs"])


def test_inits_at_once_make_one_index(new_settings: Settings) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: init_index(new_settings, PRODUCT_DEFINITIONS), range(3)))
    assert [each["products"] for each in done] == [SOURCE_PRODUCTS] * 3


@pytest.mark.parametrize(
    "odc_table",
    [
        "agdc.dataset_type",
        *(pytest.param(f"agdc.{name}", marks=pytest.mark.full) for name in ("metadata_type", "dataset_location")),
    ],
)
def test_an_init_that_was_killed_is_made_good(neocube_home: Path, odc_table: str) -> None:
    settings = Settings(home=neocube_home)
    exists = text(f"select to_regclass('{odc_table}') is not null")
    with database_url(settings) as url:
        engine = create_engine(url)
        init = subprocess.Popen([sys.executable, "-m", "flows.cli", "init"], cwd=REPOSITORY)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(exists):
                assert init.poll() is None
        init.kill()
        init.wait()
        engine.dispose()
        assert init_index(settings, PRODUCT_DEFINITIONS)["products"] == SOURCE_PRODUCTS
    with open_index(settings) as index:
        assert {"eo3", "neocube_scene", "neocube_cell"} <= {
            each.name for each in index.dc.index.metadata_types.get_all()
        }


def test_a_scene_is_found_by_the_fields_of_its_metadata_type(any_settings: Settings) -> None:
    with open_index(any_settings) as index:
        dataset, error = Doc2Dataset(index.dc.index, eo3=True)(
            SCENE | {"measurements": SCENE["measurements"] | ANGLES}, "file:///archive/scene.json"
        )
        assert error is None
        index.dc.index.datasets.add(dataset)
        search: dict[str, Any] = {"product": "landsat_oli_c2_l2"}
        for field, key in {
            "region_code": "odc:region_code",
            "pass": "neocube:pass",
            "item_id": "neocube:item_id",
        }.items():
            found = index.dc.find_datasets(**search, **{field: SCENE["properties"][key]})
            assert [str(each.id) for each in found] == [SCENE["id"]]
            assert not index.dc.find_datasets(**search, **{field: "another"})
        found = index.dc.find_datasets(**search, time="2020-02", platform="landsat-8", lon=(99.9, 100.1), lat=(4, 5))
        assert len(found) == 1


def test_the_measurements_of_a_source_product_are_the_bands_of_its_sensor(embedded_settings: Settings) -> None:
    with open_index(embedded_settings) as index:
        for sensor in SENSORS.values():
            product = index.dc.index.products.get_by_name(sensor.product)
            saturation = (sensor.saturation,) if sensor.saturation else ()
            likely = (sensor.cloud_probability,) if sensor.cloud_probability else ()
            assert tuple(product.measurements) == (*sensor.reflectance, sensor.mask, *saturation, *likely, *ANGLE_BANDS)
            assert product.measurements["red"].dtype == "uint16"
            assert product.measurements["red"].nodata == 0
            assert product.measurements[sensor.mask].flags_definition


def test_bands_are_found_by_the_number_of_the_sensor(embedded_settings: Settings) -> None:
    numbers = {"landsat_tm_c2_l2": "SR_B3", "landsat_oli_c2_l2": "SR_B4", "sentinel2_msi_l2a": "B04"}
    with open_index(embedded_settings) as index:
        for name, number in numbers.items():
            assert index.dc.index.products.get_by_name(name).canonical_measurement(number) == "red"


def test_metadata_types_have_all_fields_of_eo3(embedded_settings: Settings) -> None:
    with open_index(embedded_settings) as index:
        eo3 = index.dc.index.metadata_types.get_by_name("eo3").dataset_fields
        for path in METADATA_TYPES.glob("*.odc-type.yaml"):
            ours = index.dc.index.metadata_types.get_by_name(path.name.partition(".")[0]).dataset_fields
            assert set(eo3) - set(ours) <= {"dataset_maturity", "cloud_cover", "product_family"}


def test_a_new_description_of_a_product_is_taken(embedded_settings: Settings, tmp_path: Path) -> None:
    init_index(embedded_settings, changed(tmp_path, description="another"))
    with open_index(embedded_settings) as index:
        assert index.dc.index.products.get_by_name("landsat_oli_c2_l2").definition["description"] == "another"


@pytest.mark.parametrize("gone", [0, 3])
def test_an_index_of_before_gains_the_measurements_of_now(any_settings: Settings, tmp_path: Path, gone: int) -> None:
    """A bare ODC index, with one of the products as it was when it had fewer."""
    document = yaml.safe_load((PRODUCT_DEFINITIONS / "landsat_oli_c2_l2.odc-product.yaml").read_text())
    names = [each["name"] for each in document["measurements"]]
    before = [each for number, each in enumerate(document["measurements"]) if number != gone]
    with open_index(any_settings) as index:
        products = index.dc.index.products
        products.update(products.from_doc({**document, "measurements": before}), allow_unsafe_updates=True)
        assert names[gone] not in products.get_by_name("landsat_oli_c2_l2").measurements
    init_index(any_settings, PRODUCT_DEFINITIONS)
    with open_index(any_settings) as index:
        assert list(index.dc.index.products.get_by_name("landsat_oli_c2_l2").measurements) == names


def test_an_index_of_before_is_told_the_units_of_features(any_settings: Settings) -> None:
    template = features_template(features_recipe("every_surrounding"))
    definition: dict[str, Any] = odc_product_definition(template)
    before = [each | {"units": "1"} for each in definition["measurements"]]
    with open_index(any_settings) as index:
        add_product(index.dc, {**definition, "measurements": before})
        declare_cells(index, template)
        measurements = index.dc.index.products.get_by_name("every_surrounding").measurements
        assert [measurements[name].units for name in ("slope", "land_distance")] == ["degree", "metre"]


def test_measurements_that_stored_scenes_would_not_fit_are_refused(embedded_settings: Settings, tmp_path: Path) -> None:
    other = changed(tmp_path, measurements=[{"name": "red", "dtype": "int16", "nodata": -999, "units": "1"}])
    with pytest.raises(RequestError, match=r"product landsat_oli_c2_l2 is already defined otherwise: Unsafe changes"):
        init_index(embedded_settings, other)


def test_a_further_definition_is_added(embedded_settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(PRODUCT_DEFINITIONS, tmp_path, dirs_exist_ok=True)
    document = yaml.safe_load((tmp_path / "sentinel2_msi_l2a.odc-product.yaml").read_text())
    document = document | {"name": "another", "metadata": {"product": {"name": "another"}}}
    (tmp_path / "another.odc-product.yaml").write_text(yaml.safe_dump(document))
    assert init_index(embedded_settings, tmp_path)["products"] == ["another", *SOURCE_PRODUCTS]
