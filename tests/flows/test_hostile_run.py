"""A real STAC server behind a proxy that commits every fault at once: the ingest equals an undisturbed one of what is there at the end."""

import copy
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from datacube_config.archives import use_archives
from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archives.polite_requests import Patience
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.service.prefect_processes import free_port
from tests.flows.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.flows.gone_items import gone_items
from tests.flows.server_programs import RUSTAC, serving

Item = dict[str, Any]
HASTY = Patience(total_s=60, tries=6, first_pause_s=0.01, longest_pause_s=0.05, timeout_s=2.0, body_s=10)
FAULTS = {
    2: Fault("status", 429, "slow down", {"retry-after": "1"}),
    4: Fault("hang", seconds=3.0),
    6: Fault("again"),
    8: Fault("drop"),
    10: Fault("cut"),
    12: Fault("short"),
    14: Fault("status", 500, "the database is tired"),
    16: Fault("again"),
    18: Fault("status", 503, "maintenance", {"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT"}),
    20: Fault("cut"),
}


@pytest.fixture
def states(shared_data: Path) -> list[list[Item]]:
    """26 real Sentinel-2 items as a catalogue has them at three moments: some go, some come, one is processed anew, one described anew."""
    found: list[Item] = []
    for name in ("c1/13TDE_2024_10_items.json", "v0/S2_36MYB_2020_16_items.json"):
        found += json.loads((shared_data / "stac/earth_search" / name).read_text())["features"]
    found = [item | {"collection": "sentinel-2-c1-l2a", "links": []} for item in found]
    first = found[:24]
    second = [found[24], *first[1:12], *first[13:]]
    third = [found[25], *second[:2], processed_anew(second[2]), described_anew(second[3]), *second[4:20], *second[21:]]
    return [first, second, third]


def processed_anew(item: Item) -> Item:
    """The item of the same acquisition, processed a month later."""
    changed = copy.deepcopy(item)
    properties = changed["properties"]
    stem, _, _ = properties["s2:product_uri"].rpartition("_")
    properties |= {
        "s2:product_uri": f"{stem}_20240601T000000.SAFE",
        "s2:generation_time": "2024-06-01T00:00:00Z",
        "updated": "2024-06-02T00:00:00Z",
    }
    return changed


def described_anew(item: Item) -> Item:
    """The item of the same rendition, whose files have moved and whose cloud cover was corrected."""
    changed = copy.deepcopy(item)
    changed["properties"] |= {"eo:cloud_cover": 77.0, "updated": "2024-06-02T00:00:00Z"}
    for asset in changed["assets"].values():
        folder, _, file = asset["href"].rpartition("/")
        asset["href"] = f"{folder}/moved/{file}"
    return changed


@pytest.fixture
def servers(states: list[list[Item]], tmp_path: Path) -> Iterator[list[str]]:
    """A real STAC server with the catalogue of each moment."""
    with ExitStack() as running:
        urls = []
        for number, items in enumerate(states):
            path, address = tmp_path / f"state{number}.json", f"127.0.0.1:{free_port()}"
            path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
            command = (RUSTAC, "serve", "--create-collections", "-a", address, str(path))
            running.enter_context(serving(f"http://{address}/", *command))
            urls.append(f"http://{address}")
        yield urls


@pytest.fixture
def undisturbed_home(initialised_home: Path, tmp_path: Path) -> Settings:
    """Settings of another home of its own."""
    subprocess.run(["cp", "-a", str(initialised_home), str(tmp_path / "undisturbed")], check=True)
    return Settings(home=tmp_path / "undisturbed")


def ingested(index: Index, url: str, folder: Path, **options: Any) -> IngestReport:
    """An ingest of the API at a URL as the archive `own`, five items a page."""
    own = folder / f"own-{url.rpartition(':')[2]}.yaml"
    own.write_text(
        f"archives:\n  own:\n    url: {url}\n    collections: {{sentinel-2-l2a: [sentinel-2-c1-l2a]}}\n"
        "    hosts: ['*.amazonaws.com', 'sentinel-cogs']\n    paging: {items: 5}\n    admission: 'off'\n"
        "    requests_per_second: 50\n"
    )
    use_archives(own)
    try:
        return ingest_archive(index, "own", radiometric_check="off", patience=HASTY, **options)
    finally:
        use_archives(None)


def scenes(index: Index, url: str) -> dict[str, Any]:
    """The documents of the active scenes by item id, their server's address left out; an id that comes twice is an error."""
    found: dict[str, Any] = {}
    for dataset in index.dc.index.datasets.search(product="sentinel2_msi_l2a"):
        name = dataset.metadata_doc["properties"]["neocube:item_id"]
        assert name not in found
        text = json.dumps([str(dataset.id), dataset.uri, dataset.metadata_doc], sort_keys=True, default=str)
        found[name] = json.loads(text.replace(url, "https://own"))
    return found


def test_an_ingest_from_a_hostile_server_equals_an_undisturbed_one_of_the_final_state(
    embedded_settings: Settings,
    undisturbed_home: Settings,
    servers: list[str],
    states: list[list[Item]],
    tmp_path: Path,
) -> None:
    def becomes(number: int) -> Any:
        def switch(proxy: FaultyProxy) -> None:
            proxy.upstream = servers[number]

        return switch

    with open_index(undisturbed_home) as index:
        calm = ingested(index, servers[2], tmp_path)
        assert (calm.added, calm.quarantined) == (len(states[2]), [])
        expected = scenes(index, servers[2])
    with open_index(embedded_settings) as index, faulty_proxy(servers[0], counts="/search") as proxy:
        proxy.faults, proxy.between = FAULTS, {5: becomes(1), 11: becomes(2)}
        report = ingested(index, proxy.url, tmp_path)
        assert (report.stopped, report.quarantined) == ([], [])
        assert set(FAULTS) <= set(range(1, len(proxy.asked) + 1)), "some faults were not committed"
        found = scenes(index, proxy.url)
        assert {name: found.get(name) for name in expected} == expected
        assert set(found) - set(expected) <= {item["id"] for item in states[0]}
        asked = len(proxy.asked)
        proxy.faults = {asked + number: fault for number, fault in FAULTS.items()}
        again = ingested(index, proxy.url, tmp_path, full=True)
        gone = {row["id"] for row in gone_items(index)}
        assert (again.added, again.stopped, set(again.gone)) == (0, [], gone)
        found = scenes(index, proxy.url)
        assert {name: document for name, document in found.items() if name not in gone} == expected
        assert gone == set(found) - set(expected)
        assert states[0][0]["id"] in gone
        anew = states[1][2]["id"]
        assert expected[anew][2]["properties"]["neocube:rendition"].endswith("/20240601T000000")
        assert found[anew] == expected[anew]
        assert "/moved/" in found[states[1][3]["id"]][2]["measurements"]["red"]["path"]
