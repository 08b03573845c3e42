"""The whole way against what the simulation knows: an archive with the usual faults, and how near the features come to the clear ground."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.index.catalogue import published_cells
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from products.period import parse_period

ASKED = ("mangrove_features", "--area", "demo", "--period", "2020")
BANDS = ["blue", "green", "red", "nir", "swir1", "swir2"]


@dataclass(frozen=True)
class Known:
    """A faulty archive, what its truth says, and what ingest and build said."""

    settings: Settings
    truth: Path
    ingested: dict[str, Any]
    built: dict[str, Any]

    def faults(self, kind: str) -> list[dict[str, Any]]:
        """The faults of a kind, as the truth lists them."""
        return [each for each in json.loads((self.truth / "faults.json").read_text()) if each["kind"] == kind]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    folder = tmp_path_factory.mktemp("known")
    settings = Settings(home=folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOCUBE_HOME", str(settings.home))
        patch.setenv("NEOCUBE_FAILURE_BUDGET", "0.2")
        init_index(settings, PRODUCT_DEFINITIONS)
        size = ("--size-px", "96", "--max-scenes-per-platform", "8")
        answered("simulate", str(folder / "archive"), "--seed", "5", "--faults", "usual", *size)
        ingested = answered("ingest", str(folder / "archive"), exit_code=1)
        yield Known(settings, folder / "archive" / "truth", ingested, answered("build", *ASKED, exit_code=1))


def answered(*arguments: str, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def test_an_item_whose_file_is_missing_is_in_quarantine_and_no_other(known: Known) -> None:
    missing = {each["item_id"]: each["file"] for each in known.faults("missing_asset")}
    assert len(missing) == 1
    causes = {each["id"]: each["cause"] for each in known.ingested["quarantined"]}
    assert set(causes) == set(missing)
    for item, file in missing.items():
        assert "missing asset" in causes[item] and Path(file).name in causes[item]


def test_of_reprocessed_and_doubled_acquisitions_one_rendition_each_is_active(known: Known) -> None:
    n_reprocessed, n_doubled = len(known.faults("reprocessing")), len(known.faults("duplicate"))
    assert (n_reprocessed, n_doubled) == (2, 2)
    counts = known.ingested
    assert (counts["superseded"], counts["replaced"], counts["unchanged"]) == (n_reprocessed, 0, n_doubled)
    assert counts["found"] == counts["added"] + n_reprocessed + n_doubled + len(counts["quarantined"])


def test_a_file_that_is_cut_off_is_unread_in_the_manifest_of_its_cells_and_no_other(known: Known) -> None:
    (fault,) = known.faults("corrupt_asset")
    assert known.built["failed"] == []
    assert {each["item_id"] for each in known.built["unread"]} == {fault["item_id"]}
    assert all(Path(fault["file"]).name in each["cause"] for each in known.built["unread"])
    with open_index(known.settings) as index:
        cells = published_cells(index, "mangrove_features", 1, [parse_period("2020")])
    failed = [each for cell in cells.values() for each in cell.properties["neocube:manifest"]["failed"]]
    assert {each["item_id"] for each in failed} == {fault["item_id"]}
    assert sum(cell.properties["neocube:accounts"]["unread"] for cell in cells.values()) > 0


def test_the_geomedian_is_near_the_clear_ground(known: Known) -> None:
    cube = xr.open_zarr(known.built["cube"]).isel(period=0).load()
    with rasterio.open(known.truth / "reflectance.tif") as file:
        truth = file.read()
        x = file.transform.c + (np.arange(file.width) + 0.5) * file.transform.a
        y = file.transform.f + (np.arange(file.height) + 0.5) * file.transform.e
    rows, columns = np.isin(y, cube.y.values), np.isin(x, cube.x.values)
    assert rows.mean() > 0.8 and columns.mean() > 0.8
    here = cube.sel(x=x[columns], y=y[rows])
    often = here.accounts.sel(cause="used").values >= 5
    assert often.mean() > 0.9
    found = here.features.sel(feature=BANDS).values
    error = np.abs(found - truth[:, rows][:, :, columns])[:, often]
    assert (np.median(error, axis=1) < 0.004).all()  # 0.0016 when this was written
    assert (np.percentile(error, 95, axis=1) < 0.03).all()  # 0.020 in swir1, where tides wet the ground
