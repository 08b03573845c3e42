"""Scenes of which their archive says something else than when they were indexed: the rows follow, under the ids that they have.

Cells know a scene by its acquisition and rendition. A change of what the pixels are or mean is therefore counted in
`neocube:revision`, which is part of what a cell is made of; a file that moved, or another cloud cover, is not.
"""

from collections.abc import Mapping, Sequence
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
from flows.steps.scenes.normalise import SceneDocument

REVISION = "neocube:revision"
OF_INGEST = (REVISION, "neocube:radiometry_verdict")
DESCRIBES = ("label", "crs", "geometry", "grids", "properties", "measurements", "accessories")
ANY_CHANGE = {(): allow_any}
STORED = r"""
select id, metadata from {schema}.dataset where id = any(:ids) and metadata #>> '{{properties,neocube\:archive}}' = any(:archives)
"""

REMEMBERED = "select dataset_id from neocube.known_item where archive = any(:archives) and dataset_id = any(:ids)"


def revised_scenes(index: Index, known: Sequence[SceneDocument]) -> list[SceneDocument]:
    """Those of some indexed scenes that the same item of the same archive describes otherwise by now, as they are to be stored."""
    if not known:
        return []
    values = {"ids": [scene.id for scene in known], "archives": list({scene.archive for scene in known})}
    with index.engine.connect() as connection:
        rows = connection.execute(text(STORED.format(schema=ODC_SCHEMAS[index.driver])), values)
        stored: dict[UUID, dict[str, Any]] = {row.id: row.metadata for row in rows}
    return [again for scene in known if scene.id in stored and (again := _revised(scene, stored[scene.id]))]


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


def _revised(scene: SceneDocument, stored: Mapping[str, Any]) -> SceneDocument | None:
    now = orjson.loads(orjson.dumps(scene.document))
    facts = stored["properties"]
    if any(now["properties"][name] != facts.get(name) for name in ("neocube:archive", "neocube:item_id")):
        return None  # another copy of the scene: the first that was found stays
    if _described(now) == _described(stored):
        return None
    revision = int(facts.get(REVISION, 0)) + (_pixels(now) != _pixels(stored))
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
