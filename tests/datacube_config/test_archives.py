"""The archives we know are data: whole, in order of preference, and extended by a file whose errors name the line."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from datacube_config.archives import archive_table, asset_names, collection_aliases, load_archives, use_archives
from datacube_config.errors import SettingsError
from datacube_config.settings import get_settings

OURS = ("landsat-c2-l2", "sentinel-2-l2a")


@pytest.fixture(autouse=True)
def built_in_afterwards() -> Iterator[None]:
    yield
    use_archives(None)


def own_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    return path


def test_every_common_provider_is_known_with_its_collections() -> None:
    archives = load_archives().archives
    assert set(archives) >= {"earth-search", "earth-search-v0", "earth-search-v1", "planetary-computer", "usgs", "cdse",
                             "dea", "deafrica"}  # fmt: skip
    assert archives["earth-search"].collections["sentinel-2-l2a"] == ("sentinel-2-c1-l2a",)
    assert archives["deafrica"].collections["landsat-c2-l2"] == ("ls5_sr", "ls7_sr", "ls8_sr", "ls9_sr")
    assert [name for name in archives if not set(OURS) & set(archives[name].collections)] == ["dea"]
    assert collection_aliases()["landsat-c2l2-sr"] == "landsat-c2-l2"


def test_every_archive_of_an_api_says_hosts_rate_paging_and_signing_of_no_other_host() -> None:
    for name, archive in load_archives().archives.items():
        assert archive.kind == "api" and archive.url.startswith("https://"), name
        assert archive.hosts and archive.requests_per_second > 0 and archive.paging.items >= 100, name
        assert {host for rule in archive.signing for host in rule.hosts} <= set(archive.hosts), name
        assert not any("*" in host for host in archive.hosts), f"{name}: anyone may take a name that a pattern fits"


def test_the_order_of_preference_goes_on_with_the_archives_that_it_does_not_name(tmp_path: Path) -> None:
    assert load_archives().order[:2] == ("earth-search", "usgs")
    own = own_file(tmp_path, "order: [usgs]\narchives:\n  mine: {kind: folder, url: /data/scenes}\n")
    table = load_archives(own)
    assert table.order[0] == "usgs"
    assert table.order[-1] == "mine" and set(table.order) == set(table.archives)


def test_a_file_of_ones_own_adds_archives_and_changes_single_values(tmp_path: Path) -> None:
    own = own_file(
        tmp_path,
        "archives:\n"
        "  earth-search: {requests_per_second: 1}\n"
        "  mine:\n"
        "    kind: prefix\n"
        "    url: s3://scenes/l2a\n"
        "    collections: {sentinel-2-l2a: [my-s2]}\n"
        "    assets: {msi: {red: [rot]}}\n",
    )
    use_archives(own)
    changed = archive_table().archives["earth-search"]
    assert (changed.requests_per_second, changed.url) == (1, load_archives().archives["earth-search"].url)
    assert asset_names("msi", "mine")["red"] == ("rot",)
    assert asset_names("msi", "mine")["blue"] == asset_names("msi")["blue"]
    assert asset_names("msi", "earth-search")["red"] == asset_names("msi")["red"]
    assert collection_aliases()["my-s2"] == "sentinel-2-l2a"


def test_the_setting_names_the_file(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_ARCHIVES", str(neocube_home / "own.yaml"))
    assert get_settings().archives == neocube_home / "own.yaml"


def test_the_example_of_the_documentation_is_taken(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    (example,) = (block for block in re.findall(r"```yml\n(.*?)```", text, re.DOTALL) if "our-s2" in block)
    table = load_archives(own_file(tmp_path, example))
    assert (table.order[0], table.archives["our-s2"].kind) == ("our-s2", "prefix")


WRONG = [
    ("archives:\n  mine:\n    url: /data\n    kind: tape\n", r"own.yaml, line 4, archives.mine.kind: Input should be 'api'"),
    ("archives:\n  mine:\n    kind: folder\n", r"own.yaml, line 2, archives.mine.url: Field required"),
    ("archives:\n  mine:\n    kind: folder\n    url: /d\n    host: [a]\n", r"line 5, archives.mine.host: unknown key"),
    ("archives:\n  usgs:\n    paging: {items: 0}\n", r"own.yaml, line 3, archives.usgs.paging.items: Input should be gr"),
    ("archives:\n  mine:\n    kind: queue\n    url: https://q\n", "line 2, archives.mine: expected the url of a queue to"),
    ("archives:\n  mine:\n    url: https://a.org/stac\n", "line 2, archives.mine: expected hosts"),
    ("order: [nowhere]\n", "order: nowhere is no archive of this file"),
    ("archives:\n  a: {kind: folder, url: /a}\n  a: {kind: folder, url: /b}\n", "line 3: the key 'a' stands twice"),
    ("archives: [\n", "own.yaml is not readable YAML"),
    ("- mine\n", "own.yaml, line 1: expected a mapping, got list"),
    ("archives: !!python/object/apply:os.system ['true']\n", "own.yaml is not readable YAML: could not determine a constr"),
    (f"archives: {'[' * 40}{']' * 40}\n", "line 1: nested deeper than 16 levels"),
    ("archives:\n  a:\n    kind: folder\n    url: /a\n    signing: [{kind: s3, hosts: [b], endpoint: 'http://k:s@h'}]\n",
     r"line 5, archives.a.signing.0.endpoint: String should match"),
    ("archives:\n  a:\n    kind: folder\n    url: /a\n    signing: [{kind: planetary-computer, hosts: [b]}]\n",
     "line 5, archives.a.signing.0: expected an endpoint that gives tokens"),
    ("archives:\n  a: {url: 'https://me:secret@a.example.org/stac', hosts: [a.example.org]}\n",
     "line 2, archives.a: expected a url without user and password"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cause"), WRONG)
def test_what_is_wrong_in_a_file_of_ones_own_is_named_with_its_line(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(SettingsError, match=cause):
        use_archives(own_file(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"NEOCUBE_ARCHIVES: .*gone.yaml cannot be read"):
        use_archives(tmp_path / "gone.yaml")
