"""Retiring: previewed with what depends on it, applied whole, undone as long as nothing replaced it, swept for good."""

import json
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pytest
from click.testing import CliRunner
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import select, text

import flows.steps.upkeep.sweeping
from datacube_config.connection import Index, open_index
from datacube_config.errors import StorageUnavailable
from datacube_config.schema import archive_reason
from datacube_config.settings import Settings
from flows.cli import main
from flows.retire import retire, retire_selected, retirements, sweep_retired, undo
from flows.steps.areas import find_area
from flows.steps.cubes.cells import CellDraft, cell_path, publish_cell
from flows.steps.cubes.cube_pointers import CubeKey, current_cube
from flows.steps.index.index_rows import dataset_rows
from flows.steps.index.scene_index import list_scenes, record_reasons
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.simulation.archive import Simulation, write_archive
from flows.steps.storage import Storage, open_storage
from flows.steps.upkeep.retire_selection import Selection
from flows.steps.upkeep.sweeping import _sweep_row, to_sweep
from products.errors import RequestError
from products.identity import NAMESPACE, CellKey
from products.period import parse_period
from products.template import CellTemplate
from tests.flows.killing import Patch, after, before, die, killed_by
from tests.flows.product_chain import ARRAYS, GRID, YEAR, Chain, chain


@pytest.fixture(scope="module")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive of 48 x 48 pixels a scene, one pass a platform; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny") / "archive"
    write_archive(folder, Simulation(find_area("demo"), YEAR, 3, 48, "none", 1))
    return folder


@pytest.fixture
def home(embedded_settings: Settings, tiny_archive: Path) -> Settings:
    """A home of its own with the archive ingested."""
    return filled(embedded_settings, tiny_archive)


@pytest.fixture
def each_home(any_settings: Settings, tiny_archive: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same on each kind of index in turn."""
    if any_settings.index_url is not None:
        monkeypatch.setenv("NEOCUBE_INDEX_URL", any_settings.index_url.get_secret_value())
        monkeypatch.setenv("NEOCUBE_INDEX_DRIVER", any_settings.index_driver)
    return filled(any_settings, tiny_archive)


def filled(settings: Settings, archive: Path) -> Settings:
    with open_index(settings) as index:
        assert ingest_archive(index, str(archive)).added > 4
    return settings


def current(made: Chain, product: str) -> str | None:
    """The URL of its cube over demo."""
    found = current_cube(made.index, CubeKey(product, 1, "demo", GRID.crs))
    return found.snapshot_url if found else None


def reasons(index: Index) -> dict[UUID, tuple[str, str]]:
    with index.engine.connect() as connection:
        rows = connection.execute(select(archive_reason).order_by(archive_reason.c.at))
        return {row.dataset_id: (row.by, row.reason) for row in rows}


def test_a_preview_counts_what_depends_on_a_scene_and_changes_nothing(each_home: Settings) -> None:
    with chain(each_home) as made:
        before = made.active()
        document = retire_selected(Selection(scenes=(str(made.scenes[0]),)))
        assert (document["id"], document["applied"]) == (None, False)
        counts = document["plan"]["counts"]
        assert counts == {
            "scenes": 1, "cells": 0, "models": 0, "maps": 0,
            "dependent_cells": 1, "dependent_models": 1, "dependent_maps": 2, "cubes_closed": 0, "cubes_stale": 2,
        }  # fmt: skip
        dependent = {each["product"]: each["examples"] for each in document["plan"]["dependent"]}
        assert dependent["known"] == [CellKey("known", 1, made.tile, YEAR).label]
        assert made.active() == before
        assert retirements() == []


def test_retired_scenes_are_archived_with_the_reason_and_undone(each_home: Settings, tiny_archive: Path) -> None:
    with chain(each_home) as made:
        before, cubes = (
            made.active(),
            [current(made, name) for name in ("known", "known_map")],
        )
        chosen = list_scenes(made.index, "landsat_oli_c2_l2")
        done = retire_selected(Selection(source_product="landsat_oli_c2_l2", reason="haze"), yes=True)
        gone = {UUID(row["id"]) for row in chosen}
        assert done["plan"]["counts"]["scenes"] == len(gone) > 0
        assert made.active() == before - gone
        assert {reasons(made.index)[number] for number in gone} == {("operator", "haze")}
        report = ingest_archive(made.index, str(tiny_archive))
        assert report.added == report.replaced == 0
        assert made.active() == before - gone
        (listed,) = retirements()
        assert (listed["id"], listed["datasets"]) == (done["id"], len(gone))
        assert listed["selection"] == {"source_product": "landsat_oli_c2_l2", "reason": "haze"}
        undone = undo(done["id"])
        assert {UUID(each["id"]) for each in undone["restored"]} == gone
        assert undone["kept"] == undone["cubes"] == []
        assert made.active() == before
        assert [current(made, name) for name in ("known", "known_map")] == cubes
        with pytest.raises(RequestError, match="was undone at .* already"):
            undo(done["id"])


def test_a_product_takes_its_maps_along_but_no_model_and_not_what_only_a_model_links(each_home: Settings) -> None:
    with chain(each_home) as made:
        before = made.active()
        done = retire_selected(Selection(product="known", area="demo"), yes=True)
        assert made.active() == before - {made.cells[0], made.maps[0]}
        assert done["plan"]["counts"] == {
            "scenes": 0, "cells": 1, "models": 0, "maps": 1,
            "dependent_cells": 0, "dependent_models": 1, "dependent_maps": 1, "cubes_closed": 2, "cubes_stale": 0,
        }  # fmt: skip
        assert current(made, "known") is None
        undone = undo(done["id"])
        assert made.active() == before
        assert [each["opened"] for each in undone["cubes"]] == [True, True]
        assert current(made, "known") == made.storage.url(made.cubes[0])


def test_a_model_takes_its_maps_along(home: Settings) -> None:
    with chain(home) as made:
        before = made.active()
        retire_selected(Selection(product="known_model", version=1), yes=True)
        assert made.active() == before - {made.model, *made.maps}


def test_area_and_period_alone_retire_what_lies_there(home: Settings) -> None:
    with chain(home) as made:
        before = made.active()
        nothing = retire_selected(Selection(area="0,0,1,1"))["plan"]["counts"]
        assert set(nothing.values()) == {0}
        assert retire_selected(Selection(period="2019"))["plan"]["retired"] == []
        month = list_scenes(made.index)[0]["datetime"][:7]
        done = retire_selected(Selection(period=month, area="demo"), yes=True)
        in_month = {UUID(row["id"]) for row in list_scenes(made.index, period=parse_period(month))}
        assert made.active() == before - in_month
        assert done["plan"]["counts"]["cells"] == 0
        with pytest.raises(RequestError, match="nothing active is selected: nothing was retired"):
            retire_selected(Selection(period=month), yes=True)


def test_a_retired_rendition_gives_its_place_to_the_best_below_it(
    any_settings: Settings, tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any_settings.index_url is not None:
        monkeypatch.setenv("NEOCUBE_INDEX_URL", any_settings.index_url.get_secret_value())
        monkeypatch.setenv("NEOCUBE_INDEX_DRIVER", any_settings.index_driver)
    write_archive(tmp_path / "usual", Simulation(find_area("demo"), YEAR, 3, 48, "usual", 1))
    with open_index(any_settings) as index:
        ingest_archive(index, str(tmp_path / "usual"))
        below = next(row for row in list_scenes(index) if row["status"].startswith("archived: superseded"))
        chosen = next(
            row
            for row in list_scenes(index)
            if row["acquisition"] == below["acquisition"] and row["status"] == "active"
        )
        asked = Selection(renditions=(f"{chosen['acquisition']}={chosen['rendition']}",))
        done = retire_selected(asked, yes=True)
        assert [each["id"] for each in done["plan"]["promoted"]] == [below["id"]]
        status = {row["id"]: row["status"] for row in list_scenes(index)}
        assert (status[below["id"]], status[chosen["id"]]) == ("active", "archived: retired by the operator")
        ingest_archive(index, str(tmp_path / "usual"))
        assert {row["id"]: row["status"] for row in list_scenes(index)} == status
        undo(done["id"])
        status = {row["id"]: row["status"] for row in list_scenes(index)}
        assert status[chosen["id"]] == "active"
        assert status[below["id"]].startswith("archived: superseded by what the undoing")
        starred = retire_selected(Selection(renditions=(f"*={chosen['rendition'][:3]}*",)))
        assert starred["plan"]["counts"]["scenes"] >= 1


def test_undoing_leaves_what_was_replaced_and_says_why(home: Settings) -> None:
    with chain(home) as made:
        done = retire_selected(Selection(product="known"), yes=True)
        key = CellKey("known", 1, made.tile, YEAR)
        other = CellDraft(
            uuid5(NAMESPACE, "other"), key, CellTemplate("known", 1, "", ARRAYS), GRID, "d", {"scene": made.scenes[:1]}
        )
        publish_cell(made.index, made.storage, other, {"features": np.zeros((1, 1, 64, 64), "float32")})
        made.index.dc.index.datasets.restore([made.maps[1]])
        made.index.dc.index.datasets.archive([made.maps[1]])
        record_reasons(made.index, {made.maps[1]: "replaced by another"}, "build")
        made.index.dc.index.datasets.restore([made.maps[0]])
        undone = undo(done["id"])
        assert [UUID(each["id"]) for each in undone["restored"]] == [made.cells[1]]
        assert {UUID(each["id"]): each["why"] for each in undone["kept"]} == {
            made.cells[0]: f"replaced since by {other.id}",
            made.maps[0]: "it is active already",
            made.maps[1]: "archived again since: replaced by another",
        }
        assert {each["product"]: each["opened"] for each in undone["cubes"]} == {"known": False, "known_map": True}


def test_sweeping_deletes_what_was_retired_and_nothing_else(each_home: Settings, tiny_archive: Path) -> None:
    sources = {path: path.stat().st_mtime_ns for path in tiny_archive.rglob("*") if path.is_file()}
    with chain(each_home) as made:
        map_folder = made.storage.path("maps", "known_map", "demo", "epsg_32647", "abc")
        item = {"properties": {"neocube:cells": [str(made.maps[0])]}}
        made.storage.write_bytes(f"{map_folder}/2020/item.json", json.dumps(item).encode())
        made.storage.write_bytes(f"{map_folder}/collection.json", b"{}")
        other = map_folder.replace("abc", "def")
        made.storage.write_bytes(f"{other}/2020/item.json", json.dumps({"properties": {"neocube:cells": []}}).encode())
        done = retire_selected(Selection(product="known", area="demo"), yes=True)
        kept = {made.cells[1], made.maps[1], made.model}
        preview = sweep_retired([done["id"]])
        assert preview["applied"] is False
        assert preview["swept"] == [
            {"id": done["id"], "rows": 2, "cubes": made.cubes, "maps": [map_folder], "unindexed": []}
        ]
        assert made.storage.exists(cell_path(made.storage, "known", made.cells[0]))
        (swept,) = sweep_retired([done["id"]], yes=True)["swept"]
        assert (swept["rows"], swept["cubes"], swept["maps"]) == (2, made.cubes, [map_folder])
        # the model keeps its lineage, and the row that it was learned from
        assert (swept["purged"], swept["kept_rows"]) == (1, 1)
        for path in (cell_path(made.storage, "known", made.cells[0]), *made.cubes, map_folder):
            assert not made.storage.exists(path)
        assert made.storage.exists(other)
        for product, number in (("known", made.cells[1]), ("known_map", made.maps[1]), ("known_model", made.model)):
            assert made.storage.exists(cell_path(made.storage, product, number))
        assert made.active() >= kept
        assert sweep_retired([done["id"]], older_than_days=0, yes=True)["swept"] == []
        why = {UUID(each["id"]): each["why"] for each in undo(done["id"])["kept"]}
        assert why == {
            made.cells[0]: "its files were swept: build it again",
            made.maps[0]: "its row was purged by the sweep: build it again",
        }
    assert {path: path.stat().st_mtime_ns for path in tiny_archive.rglob("*") if path.is_file()} == sources


def dies_in_the_middle_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted when the first cell lost some of its pixels."""
    remove = LocalFileSystem.rm

    def rm(self: LocalFileSystem, path: str, recursive: bool = False, **options: Any) -> None:
        part = Path(path, "features")
        is_cell = "/cells/" in path and part.exists()
        remove(self, str(part) if is_cell else path, recursive=recursive, **options)
        if is_cell:
            raise KeyboardInterrupt("by the operator")

    monkeypatch.setattr(LocalFileSystem, "rm", rm)


def dies_before_a_row_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted when the first cell lost all of its files."""
    monkeypatch.setattr(flows.steps.upkeep.sweeping, "_sweep_row", dying_purge(_sweep_row, 1, interrupted))


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt("by the operator")


@pytest.mark.parametrize("interrupt", [dies_in_the_middle_of_a_folder, dies_before_a_row_goes])
def test_undoing_a_half_done_sweep_restores_what_still_has_its_files(
    interrupt: Patch, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chain(home) as made:
        done = retire_selected(Selection(product="known"), yes=True)
        with monkeypatch.context() as inside:
            interrupt(inside)
            with pytest.raises(KeyboardInterrupt, match="by the operator"):
                sweep_retired([done["id"]], yes=True)
        undone = undo(done["id"])
        restored = {UUID(each["id"]) for each in undone["restored"]}
        ((lost, why),) = {UUID(each["id"]): each["why"] for each in undone["kept"]}.items()
        assert lost in made.maps and why == "its files were swept: build it again"
        assert restored == {*made.cells, *made.maps} - {lost}
        assert restored <= made.active() and lost not in made.active()
        assert [each["opened"] for each in undone["cubes"]] == [False, False]
        assert current(made, "known") is None
        tile = (made.tile, made.far)[made.maps.index(lost)]
        lineage = {"features": [made.cells[made.maps.index(lost)]], "model": [made.model]}
        assert made.publish("known_map", tile, lineage, "map") == lost and lost in made.active()
        again = made.storage.open_group(cell_path(made.storage, "known_map", lost))["features"]
        np.testing.assert_array_equal(np.asarray(again), 1)


def test_undoing_asks_the_store_that_keeps_the_cells(home: Settings) -> None:
    with chain(home) as made:
        done = retire_selected(Selection(product="known"), yes=True)
        root = Path(made.storage.root)
        root.rename(root.with_name("elsewhere"))
        with pytest.raises(StorageUnavailable, match=f"cannot read the store {root}: .*check NEOCUBE_STORE_URL"):
            undo(done["id"])
        root.with_name("elsewhere").rename(root)
        assert undo(done["id"])["kept"] == []


@pytest.mark.parametrize("is_mount_point", [False, True])
def test_a_sweep_without_the_store_purges_nothing(home: Settings, is_mount_point: bool) -> None:
    with chain(home) as made:
        done = retire_selected(Selection(product="known"), yes=True)
        root = Path(made.storage.root)
        root.rename(root.with_name("elsewhere"))
        if is_mount_point:
            root.mkdir()
        words = "holds nothing of known, known_map, of which 4 rows" if is_mount_point else "cannot read the store"
        for options in ([], ["--yes"]):
            swept = CliRunner().invoke(main, ["retire", "--sweep", done["id"], *options])
            assert swept.exit_code == 2 and words in swept.stderr and "NEOCUBE_STORE_URL" in swept.stderr
        if is_mount_point:
            root.rmdir()
        root.with_name("elsewhere").rename(root)
        assert undo(done["id"])["kept"] == []
        assert made.active() >= {*made.cells, *made.maps}


def test_a_sweep_that_was_killed_at_its_end_finishes_where_no_folder_is_left(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chain(home) as made:
        done = retire_selected(Selection(product="known"), yes=True)
        with monkeypatch.context() as inside:
            inside.setattr(flows.steps.upkeep.sweeping, "_noted", interrupted)
            with pytest.raises(KeyboardInterrupt, match="by the operator"):
                sweep_retired([done["id"]], yes=True)
        for product in ("known", "known_map"):
            made.storage.remove(
                made.storage.path("cells", product)
            )  # as on S3, where a folder goes with its last object
        assert sweep_retired([done["id"]], yes=True)["swept"][0]["rows"] == 1


def test_an_undoing_that_restores_nothing_leaves_a_swept_retirement_swept(home: Settings) -> None:
    with chain(home) as made:
        done = retire_selected(Selection(product="known_map"), yes=True)
        sweep_retired([done["id"]], yes=True)
        assert not made.active() & set(made.maps)
    undone = CliRunner().invoke(main, ["retire", "--undo", done["id"]])
    assert undone.exit_code == 1 and "None" not in undone.stdout
    assert "its row was purged by the sweep: build it again" in undone.stdout
    (told,) = retirements()
    assert told["swept_at"] is not None and told["restored_at"] is None


def purging(call: int) -> Patch:
    """Die when the `call`-th row is to be purged."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flows.steps.upkeep.sweeping._sweep_row", dying_purge(_sweep_row, call))

    return patch


def dying_purge(original: Any, call: int, end: Any = die) -> Any:
    calls = iter(range(1, 1000))

    def sweep_row(index: Index, storage: Storage, each: Any) -> str:
        if next(calls) == call:
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(type(index.dc.index.datasets), "purge", end)
                return str(original(index, storage, each))
        return str(original(index, storage, each))

    return sweep_row


SWEEP_STAGES = {
    "before anything": before(Storage, "remove"),
    "with the collection of a map gone, its files there": before(Storage, "remove_folder"),
    "in the middle of the files of a map": after(LocalFileSystem, "rm_file"),
    "with the files of the maps gone": before(Storage, "remove", 3),
    "in the middle of the files of a cube": after(LocalFileSystem, "rm_file", 5),
    "between two cubes": after(Storage, "remove_folder", 2),
    "with the cubes gone": before(flows.steps.upkeep.sweeping, "_sweep_row"),
    "with the files of a row gone": purging(1),
    "with one row swept": after(flows.steps.upkeep.sweeping, "_sweep_row"),
    "with all swept, not noted": before(flows.steps.upkeep.sweeping, "_noted"),
    "at the end": after(flows.steps.upkeep.sweeping, "_noted"),
}


def left_by(settings: Settings) -> tuple[list[str], list[str], list[str]]:
    """What there is after a sweep: files of the store, rows of ODC, pointers of cubes."""
    root = Path(open_storage(settings).root)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    with open_index(settings) as index, index.engine.connect() as connection:
        rows = connection.scalars(text(f"select cast(id as text) from {dataset_rows(index)} r order by 1")).all()
        pointers = connection.scalars(text("select product from neocube.cube_pointer order by 1")).all()
    return files, list(rows), list(pointers)


def retired_chain(made: Chain) -> str:
    """The chain with map files, its cells over the area retired; the id of the retirement."""
    folder = made.storage.path("maps", "known_map", "demo", "epsg_32647", "abc")
    item = {"properties": {"neocube:cells": [str(made.maps[0])]}}
    made.storage.write_bytes(f"{folder}/2020/item.json", json.dumps(item).encode())
    made.storage.write_bytes(f"{folder}/collection.json", b"{}")
    return str(retire_selected(Selection(product="known", area="demo"), yes=True)["id"])


@pytest.fixture(scope="module")
def chain_home(tmp_path_factory: pytest.TempPathFactory, initialised_home: Path, tiny_archive: Path) -> Path:
    """A home to copy from, with the archive ingested and the chain, part of which is retired."""
    home = tmp_path_factory.mktemp("chain") / "home"
    subprocess.run(["cp", "-a", str(initialised_home), str(home)], check=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        with chain(filled(Settings(home=home), tiny_archive)) as made:
            retired_chain(made)
    return home


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, chain_home: Path) -> tuple[list[str], list[str], list[str]]:
    """What an undisturbed sweep leaves."""
    home = tmp_path_factory.mktemp("swept") / "home"
    subprocess.run(["cp", "-a", str(chain_home), str(home)], check=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        assert sweep_retired(older_than_days=0, yes=True)["swept"][0]["rows"] == 2
        return left_by(Settings(home=home))


@pytest.mark.parametrize("stage", SWEEP_STAGES)
@pytest.mark.full
def test_a_sweep_that_is_killed_and_run_again_leaves_what_an_undisturbed_one_leaves(
    stage: str, chain_home: Path, swept: tuple[list[str], list[str], list[str]], neocube_home: Path
) -> None:
    subprocess.run(["cp", "-a", str(chain_home), str(neocube_home)], check=True)
    assert killed_by(lambda: sweep_retired(older_than_days=0, yes=True), SWEEP_STAGES[stage]) == signal.SIGKILL
    again = sweep_retired(older_than_days=0, yes=True)["swept"]
    assert len(again) == (stage != "at the end")
    assert left_by(Settings(home=neocube_home)) == swept
    assert sweep_retired(older_than_days=0, yes=True)["swept"] == []


def test_scenes_keep_their_rows_and_files_when_swept_and_ingest_does_not_bring_them_back(
    home: Settings, tiny_archive: Path
) -> None:
    done = retire_selected(Selection(source_product="sentinel2_msi_l2a"), yes=True)
    assert sweep_retired([done["id"]], yes=True)["swept"][0]["rows"] == 0
    with open_index(home) as index:
        assert ingest_archive(index, str(tiny_archive)).added == 0
        assert {row["status"] for row in list_scenes(index, "sentinel2_msi_l2a")} == {
            "archived: retired by the operator"
        }
    assert undo(done["id"])["kept"] == []


def test_a_retirement_is_all_or_nothing(home: Settings) -> None:
    with open_index(home) as index:
        before = {row["id"]: row["status"] for row in list_scenes(index)}
        with index.engine.begin() as connection:
            connection.execute(text("alter table neocube.retirement add constraint no check (false)"))
        with pytest.raises(Exception, match="violates check constraint"):
            retire_selected(Selection(period="2020"), yes=True)
        assert {row["id"]: row["status"] for row in list_scenes(index)} == before
        assert reasons(index) == {}


def test_only_old_enough_retirements_are_swept(home: Settings) -> None:
    done = retire_selected(Selection(source_product="sentinel2_msi_l2a"), yes=True)
    with open_index(home) as index:
        now = datetime.now(UTC)
        assert to_sweep(index, [], 1.0, now) == []
        assert [str(each["id"]) for each in to_sweep(index, [], 0.0, now)] == [done["id"]]
        with pytest.raises(RequestError, match="no retirement 'x': expected an id"):
            to_sweep(index, ["x"], None, now)
    undo(done["id"])
    with pytest.raises(RequestError, match="was undone: there is nothing to sweep"):
        sweep_retired([done["id"]])
    with pytest.raises(RequestError, match="--older-than: expected days, 0 to 36500, got -1"):
        sweep_retired(older_than_days=-1)
    with pytest.raises(RequestError, match="no retirement 'x': expected an id that `neocube retire --list` shows"):
        undo("x")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "nothing is selected: expected --scene"),
        ({"scenes": ("a",), "product": "b"}, "expected one of --scene, --rendition, --product and --source-product"),
        ({"version": 2, "area": "demo"}, "--version 2: expected the --product"),
        ({"renditions": ("05.00",)}, "expected ACQUISITION=RENDITION"),
    ],
)
def test_a_selection_that_says_nothing_clear_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Selection(**asked)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"scenes": ("nowhere",)}, "no active scene 'nowhere': expected the id or the item_id of one"),
        (
            {"product": "landsat_oli_c2_l2"},
            "--product 'landsat_oli_c2_l2': expected one of .*; it goes with --source-prod",
        ),
        ({"source_product": "landsat"}, "--source-product 'landsat': expected one of .*landsat_oli_c2_l2"),
    ],
)
def test_what_is_not_there_is_refused_by_name(home: Settings, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        retire_selected(Selection(**asked))


def test_the_command_previews_applies_lists_and_undoes(home: Settings) -> None:
    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(main, ["retire", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    asked = ("--source-product", "sentinel2_msi_l2a", "--period", "2020")
    assert run(*asked)["applied"] is False
    done = run(*asked, "--reason", "test", "--yes")
    assert done["plan"]["counts"]["scenes"] > 0
    assert [each["id"] for each in run("--list")] == [done["id"]]
    assert run("--sweep", done["id"])["swept"][0]["rows"] == 0
    assert len(run("--undo", done["id"])["restored"]) == done["plan"]["counts"]["scenes"]
    shown = CliRunner().invoke(main, ["retire", *asked])
    assert "nothing was changed; --yes does it" in shown.stdout
    wrong = CliRunner().invoke(main, ["retire", "--list", *asked])
    assert wrong.exit_code == 2
    assert "neocube: expected --list alone, got --list, --source-product, --period" in wrong.stderr
    assert retire.fn(source_product="sentinel2_msi_l2a")["applied"] is False
