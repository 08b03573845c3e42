"""What docs/operations.md shows beside commands stands the reality: its SQL, its line of cron, its entry of a source of one's own."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import rasterio
from affine import Affine
from prefect.client.schemas.schedules import CronSchedule
from sqlalchemy import insert, text

from datacube_config.connection import Index
from datacube_config.schema import mirror_file, radiometric_verdict
from datacube_config.sources import source_table
from flows.steps.ingesting.ingest_rasters import ingest_rasters
from tests.documents import REPOSITORY, blocks, parse

DOCUMENT = REPOSITORY / "docs" / "operations.md"


def shown(language: str) -> list[str]:
    return [block.body for block in blocks(DOCUMENT) if block.language == language]


def test_the_sql_shows_verdicts_and_deletes_what_it_says(index: Index) -> None:
    copied = {"band": "red", "href": "/x/red.tif", "sha256": "0", "size_bytes": 1}
    claim = {
        "collection": "sentinel-2-l2a",
        "baseline": "05.00",
        "claim": "DN x 1",
        "verdict": "contradicted",
        "evidence": {},
    }
    with index.engine.begin() as connection:
        for mirror in ("/data/mirror", "/data/other"):
            connection.execute(insert(mirror_file).values(copied | {"dataset_id": uuid4(), "mirror": mirror}))
        for archive in ("earth-search", "usgs"):
            connection.execute(insert(radiometric_verdict).values(claim | {"archive": archive}))
    statements = [
        each for body in shown("sql") if "create role" not in body for each in body.split(";") if each.strip()
    ]
    assert len(statements) == 3
    with index.engine.begin() as connection:
        found = {each.split()[0]: connection.execute(text(each)) for each in statements if "verdict" in each}
        assert {row.archive for row in found["select"]} == {"earth-search", "usgs"}
        for each in statements:
            if "mirror_file" in each:
                assert connection.execute(text(each)).rowcount == 1
        assert connection.scalars(text("select mirror from neocube.mirror_file")).all() == ["/data/other"]
        assert connection.scalars(text("select archive from neocube.radiometric_verdict")).all() == ["usgs"]


def test_the_line_of_cron_is_one_and_its_command_is_ours() -> None:
    (line,) = (body for body in shown("text") if "neocube " in body)
    when, _, command = line.strip().partition("  ")
    assert CronSchedule(cron=when, timezone="UTC").cron == "30 3 * * *"
    parse(command)


def test_the_entry_of_a_source_of_ones_own_takes_its_files(index: Index, tmp_path: Path) -> None:
    (entry,) = (body for body in shown("yml") if body.startswith("rasters:"))
    (tmp_path / "sources.yaml").write_text(entry)
    grid = {"crs": "EPSG:32647", "transform": Affine(0.1, 0, 500_000, 0, -0.1, 300_000)}
    profile = {"driver": "GTiff", "height": 20, "width": 30, "count": 4, "dtype": "uint8", "nodata": 0} | grid
    with rasterio.open(tmp_path / "12_20200131_ortho.tif", "w", **profile) as file:
        file.write(np.ones((4, 20, 30), np.uint8))
    table = source_table(tmp_path)
    report = ingest_rasters(index, "harbour_photos", str(tmp_path), table)
    assert (report.added, report.quarantined) == (1, [])
    (dataset,) = index.dc.index.datasets.search(product="harbour_photos")
    assert dataset.center_time.astimezone(UTC).date() == datetime(2020, 1, 31, tzinfo=UTC).date()
    assert set(dataset.measurements) == {"red", "nir"}


def test_the_arithmetic_of_ten_sites_prints_what_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    (arithmetic,) = (body for body in shown("python") if "PIXELS_PER_CORE_SECOND" in body)
    exec(compile(arithmetic, str(DOCUMENT), "exec"), {})
    assert capsys.readouterr().out in shown("text")
