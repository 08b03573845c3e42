"""An existing Open Data Cube with its own products is used as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from click.testing import CliRunner
from datacube.index.hl import Doc2Dataset
from odc.geo.geobox import GeoBox
from odc.geo.geom import box
from rasterio.transform import from_origin

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.external_products import external_scene
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from products.errors import RequestError
from products.external import MaskRule
from products.period import parse_period
from products.pixel.causes import Cause
from products.registry import parse_recipe
from products.source_spec import SourceSpec
from products.spec import FeaturesRecipe

RECIPE = """
name: ard_features
version: 1
kind: features
grid: {crs: "EPSG:32656", resolution_m: 30, tile_px: 16, anchor: landsat}
period: P1Y
sources:
  - product: ga_ls8c_ard_3
    sensor: oli
    bands: {blue: nbart_blue, green: nbart_green, red: nbart_red, nir: nbart_nir, swir1: nbart_swir_1, swir2: nbart_swir_2}
    scale: 0.0001
    nodata: -999
    mask: {band: oa_fmask, values: {0: nodata, 2: cloud, 3: shadow, 4: snow}}
features:
  - geomedian: {bands: [red, nir]}
"""
WEST, NORTH = 600000 + 15, -3100000 - 15 + 10
YEAR = parse_period("2020")


def recipe(text: str = RECIPE) -> FeaturesRecipe:
    found = parse_recipe(text, "ard.recipe.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


@pytest.fixture
def index(embedded_settings: Settings, shared_data: Path) -> Iterator[Index]:
    """An index that holds ga_ls8c_ard_3 as its publisher defines it."""
    with open_index(embedded_settings) as opened:
        for path in sorted((shared_data / "odc").glob("eo3_landsat_ard.odc-type.yaml")):
            types = opened.dc.index.metadata_types
            types.add(types.from_doc(yaml.safe_load(path.read_text())))
        definition = yaml.safe_load((shared_data / "odc/ga_ls8c_ard_3.odc-product.yaml").read_text())
        opened.dc.index.products.add(opened.dc.index.products.from_doc(definition))
        yield opened


def document(shared_data: Path) -> dict[str, Any]:
    name = "stac/dea_deafrica/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.odc-metadata.yaml"
    return dict(yaml.safe_load((shared_data / name).read_text()))


def add(index: Index, metadata: dict[str, Any], location: str) -> None:
    dataset, error = Doc2Dataset(index.dc.index, skip_lineage=True)(metadata, location)
    assert error is None
    index.dc.index.datasets.add(dataset, with_lineage=False)


def test_a_published_dataset_is_a_scene_by_our_names(index: Index, shared_data: Path) -> None:
    add(
        index,
        document(shared_data),
        "s3://dea-public-data/baseline/ga_ls8c_ard_3/088/080/2020/05/25/a.odc-metadata.yaml",
    )
    (scene,) = find_scenes(index, recipe().sources, YEAR, box(153, -29, 154, -28, "EPSG:4326"))
    assert str(scene.id) == "2aa69fcf-aa55-4747-9d95-3652f9fe79b0"
    assert (scene.platform, scene.sensor, scene.collection) == ("landsat-8", "oli", "ga_ls8c_ard_3")
    assert scene.pass_id == "landsat-8/088/2020-05-26"
    red = scene.bands["red"]
    assert (red.scale, red.offset, red.nodata, red.shape) == (0.0001, 0.0, -999, (7841, 7781))
    assert red.href == (
        "s3://dea-public-data/baseline/ga_ls8c_ard_3/088/080/2020/05/25/"
        "ga_ls8c_nbart_3-1-0_088080_2020-05-25_final_band04.tif"
    )
    assert set(scene.bands) == {"blue", "green", "red", "nir", "swir1", "swir2", "qa_pixel"}
    assert not find_scenes(index, recipe().sources, parse_period("2019"), box(153, -29, 154, -28, "EPSG:4326"))


def test_rows_of_a_path_across_the_antimeridian_are_one_pass_where_they_lie(index: Index, shared_data: Path) -> None:
    metadata = document(shared_data)
    metadata["properties"] |= {"datetime": "2020-01-18T22:30:00Z", "odc:region_code": "073080"}
    product = recipe().sources[0].product
    assert product is not None
    scenes = []
    for west in (50_000, 110_000, 230_000):
        ring = [[west, -3_100_000], [west + 230_000, -3_100_000], [west + 230_000, -2_900_000], [west, -2_900_000]]
        moved = {"crs": "epsg:32601", "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}}
        dataset, error = Doc2Dataset(index.dc.index, skip_lineage=True)(metadata | moved, "s3://bucket/a.yaml")
        assert error is None and dataset is not None
        scenes.append(external_scene(dataset, product))
    boxes = [scene.ground.boundingbox for scene in scenes]
    assert all(0 < box.span_x < 3 for box in boxes)
    assert [round(box.left) for box in boxes] == [178, 179, -180]
    assert len({scene.pass_id for scene in scenes}) == 1
    assert scenes[0].pass_id == "landsat-8/073/2020-01-18"


def test_its_signed_pixels_and_its_mask_are_read_and_accounted(index: Index, shared_data: Path, tmp_path: Path) -> None:
    metadata = document(shared_data)
    fmask = np.array([[1, 1, 2, 3], [5, 4, 0, 1], [1] * 4, [1] * 4], np.uint8)
    pixels = np.full((4, 4), 3000, np.int16)
    pixels[1, 3], pixels[2, 0], pixels[2, 1] = -999, -20, 32000
    for name in recipe().sources[0].product.bands.values():  # type: ignore[union-attr]
        write(tmp_path / metadata["measurements"][name]["path"], pixels, -999)
    write(tmp_path / metadata["measurements"]["oa_fmask"]["path"], fmask, 0)
    add(index, metadata, (tmp_path / "a.odc-metadata.yaml").as_uri())
    geobox = GeoBox((4, 6), rasterio.Affine(30, 0, WEST, 0, -30, NORTH), "EPSG:32656")
    scenes = find_scenes(index, recipe().sources, YEAR, geobox.extent)
    seen = load_observations(recipe(), scenes, geobox, 2, RasterAccess()).seen
    used, no, cloud, shadow, snow = Cause.USED, Cause.NODATA, Cause.CLOUD, Cause.SHADOW, Cause.SNOW
    np.testing.assert_array_equal(
        seen.causes[0, :, :4],
        [[used, used, cloud, shadow], [used, snow, no, no], [no, used, used, used], [used] * 4],
    )
    assert (seen.causes[0, :, 4:] == 255).all()
    np.testing.assert_array_equal(seen.block[0, 0, 2, :4], [0, 32000, 3000, 3000])
    assert seen.gain[0, 0] == pytest.approx(0.0001) and seen.bias[0, 0] == 0


@pytest.mark.parametrize(("kind", "nodata"), [("int16", 32767), ("int16", 0), ("uint16", 10001), ("uint16", 65535)])
@pytest.mark.parametrize("method", ["nearest", "average", "cubic"])
@pytest.mark.parametrize("resolution_m", [30, 60])
def test_no_number_that_says_no_data_is_a_reflectance(
    index: Index, shared_data: Path, tmp_path: Path, kind: str, nodata: int, method: str, resolution_m: int
) -> None:
    metadata, side = document(shared_data), resolution_m // 30
    fmask, pixels = np.ones((8, 8), np.uint8), np.full((8, 8), 3000, kind)
    pixels[:4, :4], pixels[4:, 4:] = nodata, -20 if kind == "int16" and method != "cubic" else nodata
    asked = recipe(RECIPE.replace("nodata: -999", f"nodata: {nodata}\n    resampling: {method}"))
    for name in asked.sources[0].product.bands.values():  # type: ignore[union-attr]
        write(tmp_path / metadata["measurements"][name]["path"], pixels, nodata)
    write(tmp_path / metadata["measurements"]["oa_fmask"]["path"], fmask, 0)
    add(index, metadata, (tmp_path / "a.odc-metadata.yaml").as_uri())
    grid = rasterio.Affine(resolution_m, 0, WEST, 0, -resolution_m, NORTH)
    geobox = GeoBox((8 // side, 8 // side), grid, "EPSG:32656")
    seen = load_observations(
        asked, find_scenes(index, asked.sources, YEAR, geobox.extent), geobox, 1, RasterAccess()
    ).seen
    is_missing = pixels[::side, ::side] != 3000
    np.testing.assert_array_equal(seen.causes[0], np.where(is_missing, Cause.NODATA, Cause.USED))
    np.testing.assert_array_equal(
        seen.block[:, 0], np.broadcast_to(np.where(is_missing, 0, 3000), seen.block[:, 0].shape)
    )


def write(path: Path, pixels: np.ndarray[Any, Any], nodata: int) -> None:
    height, width = pixels.shape
    profile = {"driver": "GTiff", "count": 1, "dtype": pixels.dtype, "nodata": nodata, "crs": "EPSG:32656"}
    with rasterio.open(
        path, "w", height=height, width=width, transform=from_origin(WEST, NORTH, 30, 30), **profile
    ) as file:
        file.write(pixels, 1)


def test_a_product_or_measurement_that_the_index_lacks_is_named(index: Index) -> None:
    area = box(153, -29, 154, -28, "EPSG:4326")
    with pytest.raises(RequestError, match="the index has no product 'ga_ls9c_ard_3': expected one of .*ga_ls8c_ard_3"):
        find_scenes(index, recipe(RECIPE.replace("ga_ls8c", "ga_ls9c")).sources, YEAR, area)
    with pytest.raises(RequestError, match="ga_ls8c_ard_3 has no measurement 'nbart_rouge'"):
        find_scenes(index, recipe(RECIPE.replace("nbart_red", "nbart_rouge")).sources, YEAR, area)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sensor: oli", "sensor: viirs", "tm"),
        ("bands: {blue", "bands: {bleu", "unknown band 'bleu' of oli"),
        ("product: ga", "collection: landsat-c2-l2\n    product: ga", "a source is a collection or a product"),
        ("values: {0: nodata,", "bits: {1: cloud}, values: {0: nodata,", "expected `values` or `bits`, one of them"),
        ("2: cloud", "2: fog", "cloud"),
        ("nodata: -999", "nodata: -99999", "nodata"),
        ("nodata: -999", "nodata: 70000", "nodata"),
        ("bands: [red, nir]", "bands: [red, coastal]", "needs the band 'coastal', which not every source has"),
    ],
)  # fmt: skip
def test_a_wrong_source_is_answered_in_words(old: str, new: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        recipe(RECIPE.replace(old, new))


@pytest.mark.parametrize(
    ("platform", "harmonise", "is_refused"),
    [
        (None, "{tm_etm: roy2016}", True),
        ("Landsat 7 ETM+", "{tm_etm: roy2016}", True),
        ("LANDSAT_7", "{tm_etm: roy2016}", False),
        (None, "{tm_etm: none}", False),
        (None, "none", False),
    ],
)  # fmt: skip
def test_the_plan_refuses_scenes_that_no_table_harmonises(
    index: Index, shared_data: Path, tmp_path: Path, platform: str | None, harmonise: str, is_refused: bool
) -> None:
    definition = yaml.safe_load((shared_data / "odc/ga_ls8c_ard_3.odc-product.yaml").read_text())
    of_any_platform = {**definition, "name": "my_ard", "metadata": {"product": {"name": "my_ard"}}}
    index.dc.index.products.add(index.dc.index.products.from_doc(of_any_platform))
    metadata = {**document(shared_data), "product": {"name": "my_ard"}}
    del metadata["properties"]["eo:platform"]
    metadata["properties"] |= {"eo:platform": platform} if platform else {}
    add(index, metadata, (tmp_path / "a.odc-metadata.yaml").as_uri())
    path = tmp_path / "ard.recipe.yaml"
    path.write_text(
        RECIPE.replace("ga_ls8c_ard_3", "my_ard")
        .replace("sensor: oli", "sensor: etm")
        .replace("period:", f"harmonise: {harmonise}\nperiod:")
    )
    arguments = ["plan", str(path), "--area=154.017,-28.026,154.018,-28.025", "--period", "2020"]
    result = CliRunner().invoke(main, arguments)
    if is_refused:
        assert result.exit_code == 2
        name = (platform or "").lower()
        assert f"ga_ls8c_ard_3-1-0_088080_2020-05-25_final of platform {name!r}" in result.stderr
        assert "expected one of landsat-4, landsat-5, " in result.stderr
    else:
        assert result.exit_code == 0, result.output


def test_how_a_product_is_read_is_part_of_the_recipe() -> None:
    assert recipe().digest() != recipe(RECIPE.replace("3: shadow", "3: cloud")).digest()
    assert recipe().digest() == recipe(RECIPE.replace("nodata: -999", "nodata: -999   # of the collection")).digest()
    assert isinstance(SourceSpec.model_validate(recipe().sources[0].model_dump()), SourceSpec)


def test_of_several_mask_bits_the_first_cause_counts() -> None:
    table = MaskRule.model_validate(
        {"band": "qa", "bits": {1: "shadow", 2: "cloud", 3: "snow"}, "nodata": 65535}
    ).table()
    assert [table[value] for value in (0, 0b0010, 0b0110, 0b1010, 65535)] == [
        Cause.USED, Cause.SHADOW, Cause.CLOUD, Cause.SHADOW, Cause.NODATA,
    ]  # fmt: skip
    kept = MaskRule.model_validate({"band": "qa", "values": {4: "snow", 5: "cloud"}}).table(("snow",))
    assert (kept[4], kept[5], kept[0]) == (Cause.USED, Cause.CLOUD, Cause.NODATA)
