"""Three stores of cubes for `icechunk_trial.py`: the same pixels, codec and chunks in each.

Plain: a cube links the shards of its cells, and a file names the current one. Icechunk: pixels are written into one repository, a commit makes a snapshot.
Virtual: a repository whose chunks are references into the shards of cells. `opened(root)` is what a reader does; it knows nothing of the writer.
"""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle

SIDE, TILE, CHUNK, FEATURES = 3, 512, 256, 6
PLACES = [(row, column) for row in range(SIDE) for column in range(SIDE)]
CODEC = BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.shuffle)
NAMES = ("period", "feature", "y", "x")


def pixels(place: tuple[int, int], generation: int) -> NDArray[np.float32]:
    """One tile; the first pixel of each is the generation, so that a reader of two generations at once sees it."""
    random = np.random.default_rng([*place, generation])
    made = random.integers(0, 4000, (1, FEATURES, TILE, TILE)).astype(np.float32) / 10000
    made[..., 0, 0] = generation
    return made


def array_in(store: Any, shape: tuple[int, ...], shards: bool) -> zarr.Array[Any]:
    group = zarr.create_group(store, zarr_format=3, overwrite=True)
    return group.create_array(
        "features", shape=shape, chunks=(1, 1, CHUNK, CHUNK), shards=(1, FEATURES, TILE, TILE) if shards else None,
        dtype="float32", fill_value=float("nan"), compressors=CODEC, dimension_names=NAMES, config={"write_empty_chunks": True},
    )  # fmt: skip


WHOLE = (1, FEATURES, SIDE * TILE, SIDE * TILE)


class Plain:
    """Cells as Zarr groups, cubes as links to their shards."""

    def __init__(self, root: Path) -> None:
        self.root, self.held, self.number = root, {}, 0
        root.mkdir(parents=True)

    def cell(self, place: tuple[int, int], generation: int) -> Path:
        path = self.root / "cells" / f"{place[0]}-{place[1]}-{generation}"
        array_in(str(path), (1, FEATURES, TILE, TILE), True)[...] = pixels(place, generation)
        return path / "features/c/0/0/0/0"

    def publish(self, changed: dict[tuple[int, int], int]) -> None:
        self.held |= {place: self.cell(place, generation) for place, generation in changed.items()}
        self.number += 1
        cube = self.root / "cubes" / f"{self.number}.zarr"
        array_in(str(cube), WHOLE, True)
        for (row, column), shard in self.held.items():
            target = cube / f"features/c/0/0/{row}/{column}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(shard)
        zarr.consolidate_metadata(str(cube))
        (self.root / "current.new").write_text(str(cube))
        (self.root / "current.new").replace(self.root / "current")

    def pin(self) -> None:
        cube = Path((self.root / "current").read_text())
        shutil.copytree(cube, self.root / "pinned.zarr", copy_function=os.link)

    @staticmethod
    def opened(root: Path) -> Any:
        return zarr.open_group((root / "current").read_text(), mode="r", use_consolidated=True)["features"]

    def sweep(self) -> None:
        for folder in [*(self.root / "cubes").iterdir(), *(self.root / "cells").iterdir()]:
            if str(folder) != (self.root / "current").read_text() and folder not in [
                each.parents[5] for each in self.held.values()
            ]:
                shutil.rmtree(folder)


class Icechunk:
    """One repository: cubes are its snapshots, there are no cells."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = self.create(root)
        session = self.repository.writable_session("main")
        array_in(session.store, WHOLE, self.sharded)
        session.commit("metadata")

    sharded = True

    def create(self, root: Path) -> icechunk.Repository:
        return icechunk.Repository.create(icechunk.local_filesystem_storage(str(root)))

    def publish(self, changed: dict[tuple[int, int], int]) -> None:
        session = self.repository.writable_session("main")
        array = zarr.open_group(session.store)["features"]
        for (row, column), generation in changed.items():
            place = (slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE))
            array[:, :, *place] = pixels((row, column), generation)
        session.commit("cells")

    def pin(self) -> None:
        self.repository.create_tag("pinned", snapshot_id=self.repository.lookup_branch("main"))

    @staticmethod
    def opened(root: Path) -> Any:
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(root)))
        return zarr.open_group(repository.readonly_session("main").store, mode="r")["features"]

    def sweep(self) -> None:
        late = datetime.now(UTC) + timedelta(seconds=1)
        self.repository.expire_snapshots(older_than=late)
        self.repository.garbage_collect(late)


class Virtual(Icechunk):
    """Cells as Zarr groups, and a repository whose chunks are places in their shards."""

    sharded = False

    def create(self, root: Path) -> icechunk.Repository:
        self.cells = Plain(root / "plain")
        prefix = f"file://{root}/plain/"
        config = icechunk.RepositoryConfig.default()
        config.set_virtual_chunk_container(
            icechunk.VirtualChunkContainer(prefix, icechunk.local_filesystem_store(f"{root}/plain/"))
        )
        storage = icechunk.local_filesystem_storage(str(root / "repository"))
        return icechunk.Repository.create(storage, config, authorize_virtual_chunk_access={prefix: None})

    @staticmethod
    def opened(root: Path) -> Any:
        storage = icechunk.local_filesystem_storage(str(root / "repository"))
        allowed = {f"file://{root}/plain/": None}
        repository = icechunk.Repository.open(storage, authorize_virtual_chunk_access=allowed)
        return zarr.open_group(repository.readonly_session("main").store, mode="r")["features"]

    def publish(self, changed: dict[tuple[int, int], int]) -> None:
        session = self.repository.writable_session("main")
        for place, generation in changed.items():
            refused = session.store.set_virtual_refs("features", list(self.references(place, generation)))
            assert not refused, refused
        session.commit("cells")

    def references(self, place: tuple[int, int], generation: int) -> Iterator[icechunk.VirtualChunkSpec]:
        shard = self.cells.cell(place, generation)
        across = TILE // CHUNK
        count = FEATURES * across**2
        index = np.frombuffer(shard.read_bytes()[-16 * count - 4 : -4], "<u8").reshape(FEATURES, across, across, 2)
        for feature, row, column in np.ndindex(FEATURES, across, across):
            offset, length = (int(value) for value in index[feature, row, column])
            there = [0, feature, place[0] * across + row, place[1] * across + column]
            yield icechunk.VirtualChunkSpec(there, f"file://{shard}", offset, length)
