"""A preview before an order: what it shows is what the loader and its masks give, from few passes, told with its time."""

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from fastapi.testclient import TestClient
from matplotlib import image
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

import flows
from datacube_config.accounts import Account, hashed_token
from datacube_config.settings import Settings
from flows.cli import main
from flows.preview_here import Preview
from flows.request_page.app import create_app
from flows.steps.loading.reading import read_band
from flows.steps.pictures.preview import preview_picture
from products.errors import RequestError
from products.scene import BandFile


@pytest.fixture(scope="module")
def look(asked_settings: Settings) -> Iterator[Preview]:
    """A preview of the demo over its whole year."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
        yield flows.preview("mangrove_features", "demo", "2020")


def test_it_shows_few_of_many_passes_and_accounts_for_every_observation(look: Preview) -> None:
    said = look.document
    assert 0 < said["passes"]["read"] < said["passes"]["indexed"]
    assert said["scenes"]["read"] == len(said["items"]) <= said["scenes"]["indexed"]
    counts = dict(said["counts"])
    assert counts.pop("expected") == sum(counts.values()) > 0
    assert counts["used"] > 0 and said["failed"] == []
    assert 0 < said["seconds"] < 60


def test_its_picture_shows_itself_in_a_notebook(look: Preview) -> None:
    assert look._repr_png_() == look.png
    assert repr(look).startswith("Preview of mangrove_features over demo: ")
    pixels = image.imread(BytesIO(look.png), format="png")
    assert pixels.shape[1] > pixels.shape[0] > 200
    assert np.unique(pixels[..., :3].reshape(-1, 3), axis=0).shape[0] > 50


def test_where_nothing_is_indexed_it_is_refused_in_words(
    asked_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
    with pytest.raises(
        RequestError, match=r"nothing to preview: no scene of landsat-c2-l2, sentinel-2-l2a over demo in 1999"
    ):
        flows.preview("mangrove_features", "demo", "1999")


def test_the_command_writes_the_picture_and_tells_counts_and_time(
    asked_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_HOME", str(asked_settings.home))
    out = tmp_path / "new" / "look.png"
    asked = ["preview", "coastal_observations", "--at", "100.845,4.95", "--period", "2020", "--out", str(out)]
    done = CliRunner().invoke(main, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["png"], said["resolution_m"], said["area"]) == (str(out), 30.0, "100.845,4.95")
    assert out.read_bytes().startswith(b"\x89PNG")
    for wrong in (["--area", "demo", "--at", "1,2"], []):
        refused = CliRunner().invoke(main, ["preview", "coastal_observations", *wrong])
        assert (refused.exit_code, "expected --area or --at, and not both" in refused.stderr) == (2, True)


def test_the_page_shows_it_to_who_signed_in_and_one_at_a_time(asked_settings: Settings) -> None:
    account = {"name": "ana", "role": "researcher", "projects": ["coast"], "token_hash": hashed_token("t")}
    app = create_app(asked_settings.model_copy(update={"accounts": (Account.model_validate(account),)}))
    asked = {"recipe": "mangrove_features", "area": "demo", "period": "2020"}
    with TestClient(app) as client:
        assert client.post("/api/preview", json=asked).status_code == 401
        client.headers["Authorization"] = "Bearer t"
        found = client.post("/api/preview", json=asked)
        assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
        assert "nothing to preview" in client.post("/api/preview", json={**asked, "period": "1999"}).json()["detail"]
        busy: Lock = app.state.preview_lock
        with busy:
            assert client.post("/api/preview", json=asked).status_code == 503
        assert not busy.locked()


def banded(path: Path, factors: tuple[int, ...]) -> BandFile:
    """A band of 640 m pixels' worth of values whose overviews say something else, so that one sees which was read."""
    pixels = np.full((256, 256), 1000, np.uint16)
    profile = {
        "driver": "GTiff",
        "height": 256,
        "width": 256,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32647",
        "nodata": 0,
    }
    with rasterio.open(path, "w", **profile, transform=Affine(10, 0, 500_000, 0, -10, 300_000), tiled=True) as file:
        file.write(pixels, 1)
        if factors:
            file.build_overviews(factors, Resampling.average)
    with rasterio.open(path, "r+") as file:  # the file itself changes, its overviews stay
        file.write(np.full((256, 256), 3000, np.uint16), 1)
    return BandFile(str(path), 1e-4, 0.0, 0, by_overview=True)


@pytest.mark.parametrize(
    ("pixel_m", "value", "decoded"),
    [
        (10.0, 3000, 256 * 256),
        (20.0, 1000, 128 * 128),
        (30.0, 1000, 128 * 128),
        (80.0, 1000, 64 * 64),
        (640.0, 1000, 64 * 64),
    ],
)
def test_the_coarsest_overview_that_is_fine_enough_is_read(
    tmp_path: Path, pixel_m: float, value: int, decoded: int
) -> None:
    file = banded(tmp_path / "band.tif", (2, 4))
    side = int(2560 // pixel_m)
    box = GeoBox((side, side), Affine(pixel_m, 0, 500_000, 0, -pixel_m, 300_000), CRS("EPSG:32647"))
    out = np.zeros(box.shape, np.uint16)
    read = read_band(replace(file, shape=(256, 256)), box, "average", out)
    assert np.unique(out).tolist() == [value]
    assert read.decoded_bytes == pytest.approx(2 * decoded, rel=0.05)
    assert read.note == ""
    read_band(replace(file, by_overview=False), box, "average", out)
    assert np.unique(out).tolist() == [3000]


def test_a_file_in_degrees_or_without_overviews_is_read_itself(tmp_path: Path) -> None:
    file = banded(tmp_path / "band.tif", ())
    box = GeoBox((32, 32), Affine(80, 0, 500_000, 0, -80, 300_000), CRS("EPSG:32647"))
    out = np.zeros(box.shape, np.uint16)
    read_band(file, box, "average", out)
    assert np.unique(out).tolist() == [3000]


def test_a_picture_of_nothing_clear_is_a_picture() -> None:
    nothing = preview_picture(np.full((3, 8, 8), np.nan, np.float32), np.zeros((8, 8), np.uint16), "none of $3$")
    assert nothing.startswith(b"\x89PNG")
    two = preview_picture(
        np.random.default_rng(1).random((2, 8, 8), np.float32), np.ones((8, 8), np.uint16), "two bands"
    )
    assert two != nothing
