"""`neocube report`: the page about how a cube was made says what its cells say, and escapes what others wrote."""

import contextlib
import io
import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datacube_config.connection import Index, open_index
from datacube_config.logs import PACKAGES
from datacube_config.settings import Settings
from flows.build_here import build
from flows.cli import main
from flows.steps.cubes.cells import SECONDS, THREADS
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.pictures.cube_report import Rates, cube_report
from products.errors import RequestError
from tests.flows.published_product import PublishedProduct

TITLE = "<script>alert(1)</script>"


@dataclass(frozen=True)
class Page:
    """A written page: its text, the rows of its tables by heading, its pictures; what the build said of the cube, and what it logged."""

    text: str
    rows: dict[str, list[list[str]]]
    pictures: list[str]
    built: dict[str, Any]
    facts: list[dict[str, Any]]
    logs: list[dict[str, Any]]


class Reader(HTMLParser):
    """Reads the rows of tables beneath each h2, and the sources of pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.pictures: list[str] = []
        self._tag, self._heading = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        if tag == "tr":
            self.rows.setdefault(self._heading, []).append([])

    def handle_data(self, data: str) -> None:
        if self._tag == "h2" and data.strip():
            self._heading = data
        elif self._tag in ("td", "th", "code") and data.strip() and self.rows.get(self._heading):
            self.rows[self._heading][-1].append(data)


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, initialised_home: Path, small_archive: Path, small_recipe: Path
) -> Iterator[Page]:
    """The page of a cube whose recipe has markup for a title, built of an archive of which one file is cut off."""
    folder = tmp_path_factory.mktemp("report")
    archive = shutil.copytree(small_archive, folder / "archive")
    subprocess.run(["cp", "-a", str(initialised_home), str(folder / "home")], check=True)
    band = next(archive.rglob("LC08*/*_SR_B4.TIF"))
    recipe = folder / "marked.recipe.yaml"
    lines = [
        f'title: "{TITLE}"' if line.startswith("title:") else line for line in small_recipe.read_text().splitlines()
    ]
    recipe.write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOCUBE_HOME", str(folder / "home"))
        patch.setenv("NEOCUBE_FAILURE_BUDGET", "1")
        patch.setenv("NEOCUBE_LOGS", "json")
        patch.setenv("NEOCUBE_PRICE_PER_CORE_HOUR", "3600")
        patch.setenv("NEOCUBE_CORE_POWER_W", "10")
        with open_index(Settings(home=folder / "home")) as index:
            ingest_archive(index, str(archive))
            band.write_bytes(band.read_bytes()[: band.stat().st_size // 2])
            with contextlib.redirect_stderr(io.StringIO()) as stderr:
                built = build(str(recipe), "demo", "2020")
            facts = facts_of(index)
            done = CliRunner().invoke(
                main, ["report", str(recipe), str(folder / "out" / "page.html"), "--area", "demo"]
            )
            assert done.exit_code == 0, done.output
        text = (folder / "out" / "page.html").read_text()
        read = Reader(text)
        logs = [json.loads(line) for line in stderr.getvalue().splitlines() if line.startswith("{")]
        yield Page(text, read.rows, read.pictures, built, facts, logs)
    for package in PACKAGES:
        logging.getLogger(package).handlers.clear()
        logging.getLogger(package).setLevel(logging.NOTSET)


def facts_of(index: Index) -> list[dict[str, Any]]:
    """The properties of the cells."""
    return [each.metadata_doc["properties"] for each in index.dc.index.datasets.search(product="mangrove_features")]


def test_a_cell_says_what_its_building_took(page: Page) -> None:
    assert len(page.facts) == page.built["built"] >= 4
    assert sum(said["neocube:decoded_bytes"] for said in page.facts) == page.built["bytes_read"] > 0
    for said in page.facts:
        seconds = said[SECONDS]
        assert seconds.keys() == {"loading", "computing", "total"}
        assert 0 < seconds["loading"] + seconds["computing"] <= seconds["total"] + 0.002


def test_the_stages_share_the_seconds_of_all_cells(page: Page) -> None:
    stages = page.rows["Seconds by stage"][1:]
    assert [row[0] for row in stages] == ["loading", "computing", "publishing and the rest"]
    assert sum(float(row[1]) for row in stages) == pytest.approx(
        sum(said[SECONDS]["total"] for said in page.facts), abs=0.2
    )
    assert sum(float(row[2].removesuffix(" %")) for row in stages) == pytest.approx(100, abs=0.2)


def test_the_observations_are_those_of_the_accounts(page: Page) -> None:
    rows = {row[0]: int(row[1].replace(",", "")) for row in page.rows["What became of the observations"][1:]}
    assert rows == {
        name: total for name in rows if (total := sum(said["neocube:accounts"][name] for said in page.facts))
    }
    assert rows["expected"] == sum(count for name, count in rows.items() if name != "expected")
    assert rows["unread"] > 0


def test_what_could_not_be_read_stands_there_with_its_cause(page: Page) -> None:
    shown = page.rows["What could not be read"][1:]
    assert [row[1:3] for row in shown] == [[each["item_id"], each["band"]] for each in page.built["unread"]]
    assert all(len(row) == 4 and row[1].startswith("LC08") for row in shown)


def test_every_cell_and_two_pictures_are_in_the_page(page: Page) -> None:
    assert len(page.rows["Cells"]) == 1 + page.built["built"]
    assert [each.partition(",")[0] for each in page.pictures] == ["data:image/png;base64"] * 2


def test_cost_and_energy_are_those_of_the_core_time_by_area_and_year(page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.rows["Cost and energy"][1:]}
    core_s = sum(said[SECONDS]["total"] * said[THREADS] for said in page.facts)
    square_km = len(page.facts) * (96 * 30 / 1000) ** 2
    assert float(rows["core hours"][0].replace(",", "")) == pytest.approx(core_s / 3600, abs=6e-4)
    assert float(rows["cost, GBP"][0].replace(",", "")) == pytest.approx(core_s, rel=1e-3)
    assert float(rows["energy, kWh"][0]) == pytest.approx(core_s * 10 / 3.6e6, abs=6e-4)
    assert float(rows["cost, GBP"][1]) == pytest.approx(core_s / square_km / (366 / 365.25), rel=0.02)


def test_the_logs_have_the_run_its_cells_and_the_scenes_that_were_not_read(page: Page) -> None:
    assert {each["event"] for each in page.logs} == {"run begun", "asset not read", "cell published", "run ended"}
    assert len({each["run"] for each in page.logs}) == 1
    published = [each for each in page.logs if each["event"] == "cell published"]
    assert {each["cell"] for each in published} == {each["id"] for each in page.built["cells"]}
    unread = [each for each in page.logs if each["event"] == "asset not read"]
    failures = [failure for said in page.facts for failure in said["neocube:manifest"]["failed"]]
    assert {(each["scene"], each["band"]) for each in unread} == {(each["scene"], each["band"]) for each in failures}
    assert all(each["cell"] and each["label"] for each in unread)


def test_markup_in_a_title_stays_text(page: Page) -> None:
    assert TITLE not in page.text
    assert "<h1>&lt;script&gt;alert(1)&lt;/script&gt;</h1>" in page.text


def test_a_cube_that_was_not_built_from_scenes_is_refused(published: PublishedProduct) -> None:
    with pytest.raises(RequestError, match="expected a cube that was built from scenes"):
        cube_report(published.index, published.cube_url, {}, Rates())


def test_a_snapshot_that_is_not_there_is_said_in_one_line(embedded_settings: Settings, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path / "gone.zarr"), str(tmp_path / "page.html")])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"neocube: no cube at {tmp_path}/gone.zarr: expected a snapshot" in done.stderr
