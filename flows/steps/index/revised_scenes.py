"""Scenes of which their archive says something else than when they were indexed: the rows follow, under the ids that they have.

Cells know a scene by its acquisition and rendition. A change of what the pixels are or mean is therefore counted in
`neocube:revision`, which is part of what a cell is made of; a file that moved, or another cloud cover, is not.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
from datacube.index.abstract import DatasetTuple
from datacube.model import Dataset
from datacube.utils.changes import allow_any
from sqlalchemy import delete, text

from datacube_config.connection import ODC_SCHEMAS, Index
from datacube_config.schema import mirror_file
from flows.steps.archives.asset_sizes import MISSING, local_sizes
from flows.steps.scenes.normalise import SceneDocument
from flows.steps.storage import path_of

REVISION = "neocube:revision"
OF_INGEST = (REVISION, "neocube:radiometry_verdict")
DESCRIBES = ("label", "crs", "geometry", "grids", "properties", "measurements", "accessories")
ANY_CHANGE = {(): allow_any}
STORED = "select id, metadata from {schema}.dataset where id = any(:ids)"
ARCHIVE, ITEM = "neocube:archive", "neocube:item_id"
GONE = """
select dataset_id, archive from neocube.known_item where dataset_id = any(:ids) and archive = any(:archives)
group by dataset_id, archive having bool_and(gone_at is not null)
"""
MARKED = "select dataset_id, digest from neocube.known_item where dataset_id = any(:ids) and archive = any(:archives)"
REMEMBERED = "select dataset_id from neocube.known_item where archive = any(:archives) and dataset_id = any(:ids)"


def revised_scenes(index: Index, known: Sequence[SceneDocument]) -> tuple[list[SceneDocument], list[SceneDocument]]:
    """Some indexed scenes as they are to be stored: those that their item describes otherwise by now, and those that were lost where they are.

    Another item of a scene changes nothing, be it of another archive, as long as the files that the index knows are not known
    to be lost and the archive that they are from was not found to have them no more.
    """
    if not known:
        return [], []
    stored = _stored(index, [scene.id for scene in known])
    own = [scene for scene in known if scene.id in stored and _is_of_item(scene, stored[scene.id])]
    copies = [scene for scene in known if scene.id in stored and not _is_of_item(scene, stored[scene.id])]
    lost = _lost(index, {scene.id: stored[scene.id] for scene in copies}, {scene.archive for scene in copies})
    changed = [scene for scene in own if _described(_as_stored(scene)) != _described(stored[scene.id])]
    moved = [scene for scene in copies if scene.id in lost]
    return [_revised(scene, stored[scene.id]) for scene in changed], [
        _revised(scene, stored[scene.id]) for scene in moved
    ]


def lost_marks(index: Index, scenes: Sequence[UUID]) -> dict[UUID, bytes]:
    """What an item is known by from which a scene is to be taken over, as its files are lost where the index has them now: by scene."""
    return {number: _lost_mark(document) for number, document in _stored(index, scenes).items()}


def remembered_scenes(index: Index, scenes: Sequence[SceneDocument]) -> set[UUID]:
    """Those of some scenes that an item of their archive is known to be."""
    if not scenes:
        return set()
    values = {"ids": [scene.id for scene in scenes], "archives": list({scene.archive for scene in scenes})}
    with index.engine.connect() as connection:
        return set(connection.execute(text(REMEMBERED), values).scalars())


def rewrite(index: Index, documents: Sequence[DatasetTuple]) -> None:
    """Put new documents and locations into the rows of known datasets; copies at mirrors of what has other pixels are forgotten."""
    changed = [UUID(document["id"]) for _, document, *_ in documents if REVISION in document["properties"]]
    if changed:
        with index.engine.begin() as connection:
            connection.execute(delete(mirror_file).where(mirror_file.c.dataset_id.in_(changed)))
    for product, document, location, _ in documents:
        index.dc.index.datasets.update(Dataset(product, document, uri=location), ANY_CHANGE)


def _is_of_item(scene: SceneDocument, stored: Mapping[str, Any]) -> bool:
    return all(scene.document["properties"][name] == stored["properties"].get(name) for name in (ARCHIVE, ITEM))


def _stored(index: Index, scenes: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    with index.engine.connect() as connection:
        rows = connection.execute(text(STORED.format(schema=ODC_SCHEMAS[index.driver])), {"ids": list(scenes)})
        return {row.id: row.metadata for row in rows}


def _lost_mark(stored: Mapping[str, Any]) -> bytes:
    paths = sorted(str(band["path"]) for band in stored["measurements"].values())
    return hashlib.sha256("\n".join(["lost", *paths]).encode()).digest()


def _lost(index: Index, stored: Mapping[UUID, Mapping[str, Any]], others: Collection[str]) -> set[UUID]:
    """Those of some stored documents whose files are lost, or whose items their archive has no more.

    Lost is a local file that is not there, and what `reconcile` has marked so where `others`, archives that have these scenes too, are known.
    """
    if not stored:
        return set()
    archives = {number: document["properties"].get(ARCHIVE) for number, document in stored.items()}
    values = {"ids": list(stored), "archives": list({archive for archive in archives.values() if archive})}
    with index.engine.connect() as connection:
        gone = connection.execute(text(GONE), values)
        lost = {row.dataset_id for row in gone if archives[row.dataset_id] == row.archive}
        marked = connection.execute(text(MARKED), {"ids": list(stored), "archives": list(others)})
        lost |= {row.dataset_id for row in marked if row.digest == _lost_mark(stored[row.dataset_id])}
    for number, document in stored.items():
        paths = (path_of(str(band["path"])) for band in document["measurements"].values())
        if number not in lost and MISSING in local_sizes(path for path in paths if "://" not in path).values():
            lost.add(number)
    return lost


def _as_stored(scene: SceneDocument) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(orjson.dumps(scene.document))
    return found


def _revised(scene: SceneDocument, stored: Mapping[str, Any]) -> SceneDocument:
    revision = int(stored["properties"].get(REVISION, 0)) + (_pixels(_as_stored(scene)) != _pixels(stored))
    properties = {**scene.document["properties"], **({REVISION: revision} if revision else {})}
    return replace(scene, document={**scene.document, "properties": properties})


def _described(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an item says of a scene."""
    facts = {name: value for name, value in document["properties"].items() if name not in OF_INGEST}
    return {**{name: document.get(name, {}) for name in DESCRIBES}, "properties": facts}


def _pixels(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of it says which pixels there are, where, and what their numbers mean."""
    bands = {name: measurement.get("grid") for name, measurement in document["measurements"].items()}
    facts = document["properties"]
    return {
        "crs": document["crs"], "grids": document["grids"], "bands": bands, "radiometry": facts["neocube:radiometry"],
        "pass": facts["neocube:pass"], "datetime": facts["datetime"],
    }  # fmt: skip
