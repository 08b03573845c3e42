"""A build killed with SIGKILL at any stage, and run again, leaves the bytes of an undisturbed run."""

import hashlib
import os
import signal
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flows.build_here
import flows.steps.cubes.building
import flows.steps.cubes.cell_store
import flows.steps.cubes.cells
import flows.steps.cubes.snapshot
import flows.steps.cubes.strips
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.plan_cells import plan
from flows.steps.index.catalogue import published_cells
from products.period import parse_period

AREA, YEAR = "demo", "2020"
Patch = Callable[[pytest.MonkeyPatch], None]


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(module: Any, name: str, call: int = 1) -> Patch:
    """Die when `module.name` is called for the `call`-th time, instead of doing it."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(module, name), iter(range(1, 1_000_000))
        monkeypatch.setattr(module, name, lambda *a, **k: die() if next(calls) == call else original(*a, **k))

    return patch


def after(module: Any, name: str, call: int = 1) -> Patch:
    """Die when the `call`-th call of `module.name` is done."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(module, name), iter(range(1, 1_000_000))

        def done(*a: Any, **k: Any) -> Any:
            result = original(*a, **k)
            return die() if next(calls) == call else result

        monkeypatch.setattr(module, name, done)

    return patch


STAGES = {
    "after the plan, before any write": before(flows.build_here, "bind_product"),
    "before the first cell is loaded": before(flows.steps.cubes.strips, "load_observations"),
    "with the first cell in memory": before(flows.steps.cubes.strips, "compute_layers"),
    "with pixels written and half their metadata": before(flows.steps.cubes.cell_store, "create_array", 4),
    "with a cell written, coordinates missing": before(flows.steps.cubes.cell_store, "write_coordinates"),
    "with a cell written, not verified": before(flows.steps.cubes.cells, "verify_written"),
    "with a cell verified, not committed": before(flows.steps.cubes.cells, "_commit"),
    "inside the transaction of a cell": after(flows.steps.cubes.cells, "_add"),
    "after the commit of the first cell": after(flows.steps.cubes.building, "publish_cell"),
    "in the second cell": before(flows.steps.cubes.cells, "write_shards", 2),
    "before the cube": before(flows.build_here, "publish_cube"),
    "with half a cube linked": after(flows.steps.cubes.snapshot, "_link", 2),
    "with a cube linked, not marked complete": after(flows.steps.cubes.snapshot, "assemble"),
    "before the pointer": before(flows.steps.cubes.snapshot, "_point"),
    "after the pointer": after(flows.steps.cubes.snapshot, "_point"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, small_recipe: Path) -> dict[str, str]:
    """The digests of all files that one whole run leaves in the store."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        home = tmp_path_factory.mktemp("undisturbed") / "home"
        subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        assert build(str(small_recipe), AREA, YEAR)["failed"] == []
        return digests(home / "store")


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=[pytest.mark.full] * (number % 3 > 0)) for number, stage in enumerate(STAGES)]
)
def test_a_killed_build_run_again_leaves_the_same_bytes(
    stage: str, undisturbed: dict[str, str], ingested_settings: Settings, small_recipe: Path
) -> None:
    killed_by = run_in_child(lambda: build(str(small_recipe), AREA, YEAR), STAGES[stage])
    assert killed_by == signal.SIGKILL
    report = build(str(small_recipe), AREA, YEAR)
    assert report["failed"] == []
    assert digests(Path(ingested_settings.store_url)) == undisturbed
    assert all(cell.state == "fresh" for cell in plan(str(small_recipe), AREA, YEAR).cells)
    with open_index(ingested_settings) as index:
        found = published_cells(index, "mangrove_features", 1, [parse_period(YEAR)])
    assert len(found) == report["built"] + report["fresh"]


def run_in_child(work: Callable[[], object], patch: Patch) -> int:
    """Run `work` with a patch in a forked process and return the signal that ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside the threads of finished pools
        child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as monkeypatch:
                patch(monkeypatch)
                work()
        finally:
            os._exit(17)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def digests(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }
