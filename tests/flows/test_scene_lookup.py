"""Scenes of an area and a period: the same by the index of both as by ODC's search, and that index is used."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import shapely
from datacube.index.exceptions import NoProductsWarning
from odc.geo.geom import Geometry, box
from sqlalchemy import text

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.scene_index import list_scenes, take_scenes
from flows.steps.index.scene_lookup import PLACE_INDEX, find_datasets
from flows.steps.index.search_boxes import search_boxes
from flows.steps.scenes.normalise import SceneDocument
from products.area import Area
from products.period import Period, parse_period
from products.source_spec import SourceSpec

PRODUCT, OTHER = "sentinel2_msi_l2a", "landsat_oli_c2_l2"
YEAR = parse_period("2020")
ALL_YEARS = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def postgis(postgis_settings: Settings) -> Iterator[Index]:
    with open_index(postgis_settings) as opened:
        yield opened


def scene(west: float, south: float, sensed: str, product: str = PRODUCT, size: float = 1.0) -> SceneDocument:
    """A scene of one degree, no more than the index needs of it."""
    number = uuid4()
    ground = shapely.box(west, south, west + size, south + size).__geo_interface__
    sensor = "oli" if product == OTHER else "msi"
    document: dict[str, Any] = {
        "$schema": "https://schemas.opendatacube.org/dataset",
        "id": str(number),
        "label": "made",
        "product": {"name": product},
        "crs": "EPSG:4326",
        "grids": {"default": {"shape": [10, 10], "transform": [0.1, 0, west, 0, -0.1, south + size, 0, 0, 1]}},
        "properties": {
            "datetime": sensed,
            "eo:platform": "sentinel-2a",
            "eo:instrument": sensor,
            "odc:processing_datetime": "2020-02-20T00:00:00Z",
            "odc:file_format": "GeoTIFF",
            "neocube:item_id": str(number),
            "neocube:acquisition": str(number),
            "neocube:rendition": "05.00/20200901T000000",
            "neocube:collection": "c",
            "neocube:pass": "p",
            "neocube:archive": "test",
            "neocube:radiometry": {"red": {"scale": 1.0, "offset": 0.0, "nodata": 0}},
        },
        "measurements": {"red": {"path": "red.tif"}},
        "accessories": {},
        "grid_spatial": {"projection": {"spatial_reference": "EPSG:4326", "valid_data": ground}},
        "extent": {"lon": {"begin": west, "end": west + size}, "lat": {"begin": south, "end": south + size}},
    }
    return SceneDocument(
        number, product, str(number), "05.00/20200901T000000", f"https://e.org/{number}", document, "test", ""
    )


def ids(index: Index, area: Geometry | None, period: Period | None = YEAR, **how: Any) -> set[UUID]:
    return {UUID(found.metadata_doc["id"]) for found in find_datasets(index, [PRODUCT], period, area, **how)}


def test_scenes_are_found_by_place_time_and_product(each_index: Index) -> None:
    here, later = scene(10, 50, "2020-05-01T10:00:00Z"), scene(10, 50, "2021-05-01T10:00:00Z")
    far, other = scene(30, 50, "2020-05-01T10:00:00Z"), scene(10, 50, "2020-05-01T10:00:00Z", OTHER)
    take_scenes(each_index, [here, later, far, other])
    place = box(10.2, 50.2, 10.4, 50.4, "EPSG:4326")
    assert ids(each_index, place) == {here.id}
    assert ids(each_index, place, None) == {here.id, later.id}
    assert ids(each_index, None) == {here.id, far.id}
    both = find_datasets(each_index, [PRODUCT, OTHER], YEAR, place)
    assert {found.product.name for found in both} == {PRODUCT, OTHER}


def test_archived_scenes_are_found_where_they_are_asked_for(each_index: Index) -> None:
    kept, gone = scene(10, 50, "2020-05-01T10:00:00Z"), scene(10, 50, "2020-05-02T10:00:00Z")
    take_scenes(each_index, [kept, gone])
    each_index.dc.index.datasets.archive([gone.id])
    place = box(10.2, 50.2, 10.4, 50.4, "EPSG:4326")
    assert ids(each_index, place) == {kept.id}
    assert ids(each_index, place, archived=None) == {kept.id, gone.id}
    assert ids(each_index, place, archived=True) == {gone.id}
    rows = list_scenes(each_index, area=Area("here", place), period=YEAR)
    assert [row["status"] for row in rows] == ["active", "archived"]


def test_times_without_a_zone_are_utc_whatever_the_session_says(postgis: Index) -> None:
    take_scenes(postgis, [edge := scene(10, 50, "2020-01-01T00:30:00")])
    with postgis.engine.begin() as connection:
        name = postgis.engine.url.database
        connection.execute(text(f"alter database {name} set timezone = 'Asia/Tokyo'"))
    postgis.engine.dispose()
    place = box(10.2, 50.2, 10.4, 50.4, "EPSG:4326")
    assert ids(postgis, place, parse_period("2020-01-01")) == {edge.id}
    assert ids(postgis, place, parse_period("2019-12-31")) == set()


def test_scenes_at_the_antimeridian_are_the_same_with_and_without_the_index(postgis: Index) -> None:
    longitudes = (-180.0, -179.5, -179.0, 178.5, 179.0, 179.5, 179.99)
    take_scenes(postgis, [scene(west, -17.5, "2020-05-01T10:00:00Z") for west in longitudes])
    areas = [
        box(west, -17.2, west + width, -16.9, "EPSG:4326")
        for west in (-180, -179.7, -178.9, 177, 178.7, 179.4, 179.9, 180)
        for width in (0.05, 0.7, 3)
    ]
    source = SourceSpec(collection="sentinel-2-l2a")
    with_index = [[found.id for found in find_scenes(postgis, [source], YEAR, area)] for area in areas]
    with postgis.engine.begin() as connection:
        connection.execute(text(f"drop index odc.{PLACE_INDEX}"))
    without = [[found.id for found in find_scenes(postgis, [source], YEAR, area)] for area in areas]
    assert with_index == without
    assert {len(found) for found in with_index} >= {1, 2, 4}


def test_an_index_made_by_an_older_init_is_searched_as_odc_does_and_a_warning_says_so(
    postgis: Index, caplog: pytest.LogCaptureFixture
) -> None:
    take_scenes(postgis, [here := scene(10, 50, "2020-05-01T10:00:00Z"), scene(30, 50, "2020-05-01T10:00:00Z")])
    with postgis.engine.begin() as connection:
        connection.execute(text(f"drop index odc.{PLACE_INDEX}"))
    with caplog.at_level(logging.WARNING):
        assert ids(postgis, box(10.2, 50.2, 10.4, 50.4, "EPSG:4326")) == {here.id}
    assert "without an index of place and time, which is slower: run `neocube init`" in caplog.text


def test_a_question_of_place_and_time_reads_no_table_of_all_scenes(postgis: Index) -> None:
    take_scenes(postgis, [scene(west, 50, "2020-05-01T10:00:00Z") for west in range(-170, 170)])
    used = text("select coalesce(sum(idx_scan), 0) from pg_stat_all_indexes where indexrelname = :name")
    scans = text("select seq_scan from pg_stat_all_tables where schemaname = 'odc' and relname = 'dataset'")

    def counts() -> tuple[int, int]:
        postgis.engine.dispose()
        with postgis.engine.connect() as connection:
            found = [int(connection.scalar(query, {"name": PLACE_INDEX}) or 0) for query in (used, scans)]
            return found[0], found[1]

    uses_before, scans_before = counts()
    assert len(ids(postgis, box(10.2, 50.2, 10.4, 50.4, "EPSG:4326"))) == 1
    uses, all_scans = counts()
    assert (uses > uses_before, all_scans) == (True, scans_before)


def test_two_far_coasts_are_two_boxes_and_a_thousand_islets_are_one() -> None:
    coasts = shapely.union_all([shapely.box(10, 50, 10.2, 50.2), shapely.box(-60, -20, -59.5, -19.9)])
    west, east = sorted(search_boxes(Geometry(coasts, "EPSG:4326")))
    assert west == pytest.approx((-60, -20, -59.5, -19.9), abs=0.01) and east == pytest.approx(
        (10, 50, 10.2, 50.2), abs=0.01
    )
    islets = shapely.union_all([shapely.box(x / 50, 1, x / 50 + 0.01, 1.01) for x in range(1000)])
    [(west, south, east, north)] = search_boxes(Geometry(islets, "EPSG:4326"))
    assert (west, south, east, north) == pytest.approx((0, 1, 19.99, 1.01), abs=0.001)


def test_boxes_near_the_antimeridian_are_asked_for_under_both_longitudes() -> None:
    here, beyond = search_boxes(box(-179.5, 1, -179, 2, "EPSG:4326"))
    assert here == pytest.approx((-179.5, 1, -179, 2), abs=0.001) and beyond == pytest.approx(
        (180.5, 1, 181, 2), abs=0.001
    )
    across = search_boxes(box(160_000, 8_150_000, 200_000, 8_190_000, "EPSG:32701"))
    assert len(across) == 2
    assert across[0][2] - across[0][0] == pytest.approx(across[1][2] - across[1][0]) and across[0][2] < 182


def test_an_unknown_product_has_no_scenes_and_odc_says_so(each_index: Index) -> None:
    with pytest.warns(NoProductsWarning, match="no_such_product"):
        found = find_datasets(each_index, ["no_such_product"], ALL_YEARS, box(10, 50, 11, 51, "EPSG:4326"))
    assert found == []
