"""Scenes in the index: the chosen rendition of each acquisition active, the others archived with a reason."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datacube.index.abstract import DatasetTuple
from datacube.model import Dataset, Range
from sqlalchemy import insert, select, text

from datacube_config.connection import Index
from datacube_config.schema import archive_reason
from flows.steps.normalise import SceneDocument
from flows.steps.scene_identity import rendition_difference, rendition_rank
from products.area import Area
from products.period import Period
from products.sensors import SENSORS

LOCK = "neocube ingest"
POLICY = "policy"
ACQUISITIONS_PER_QUERY = 100


@dataclass(slots=True)
class Decision:
    """What indexing some scenes does: which are new, and which of new and known ones are archived, with the reason."""

    added: list[SceneDocument] = field(default_factory=list)
    replaced: list[SceneDocument] = field(default_factory=list)
    superseded: list[SceneDocument] = field(default_factory=list)
    unchanged: int = 0
    reasons: dict[UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rendition:
    id: UUID
    name: str
    is_active: bool


def take_scenes(index: Index, scenes: Sequence[SceneDocument], *, dry_run: bool = False) -> Decision:
    """Index the scenes that are not known yet, in one transaction; with `dry_run`, only say what that would do."""
    if dry_run:
        return decide(index, scenes)
    with _alone(index):
        decision = decide(index, scenes)
        fresh = [*decision.added, *decision.replaced, *decision.superseded]
        if fresh:
            with index.dc.index.transaction():
                index.dc.index.datasets.bulk_add(_tuples(index, fresh))
                index.dc.index.datasets.archive(list(decision.reasons))
                # Committed before the archiving it explains, so that no archived scene lacks its reason.
                record_reasons(index, decision.reasons, POLICY)
    return decision


def decide(index: Index, scenes: Sequence[SceneDocument]) -> Decision:
    """The policy of archives.yaml: the highest rendition of an acquisition is chosen; a known one is never restored."""
    first = {scene.id: scene for scene in reversed(scenes)}
    ids = list(first)
    has = index.dc.index.datasets.bulk_has(ids) if ids else []
    known = {number for number, is_known in zip(ids, has, strict=True) if is_known}
    fresh = [scene for number, scene in reversed(first.items()) if number not in known]
    decision = Decision(unchanged=len(scenes) - len(fresh))
    indexed = _known_renditions(index, fresh)
    groups: dict[tuple[str, str], list[SceneDocument]] = defaultdict(list)
    for scene in fresh:
        groups[scene.product, scene.acquisition].append(scene)
    for key, group in groups.items():
        _choose(group, indexed.get(key, []), decision)
    return decision


def record_reasons(index: Index, reasons: dict[UUID, str], by: str) -> None:
    """Say why datasets are archived, and who did it: `policy` or `operator`."""
    if reasons:
        rows = [{"dataset_id": number, "reason": reason, "by": by} for number, reason in reasons.items()]
        with index.engine.begin() as connection:
            connection.execute(insert(archive_reason), rows)


def list_scenes(
    index: Index, product: str | None = None, area: Area | None = None, period: Period | None = None
) -> list[dict[str, Any]]:
    """The indexed scenes, archived ones with their reason, in order of time."""
    query: dict[str, Any] = {"time": Range(period.start, period.end)} if period else {}
    if area:
        bounds = area.geometry.boundingbox
        query |= {"lon": Range(bounds.left, bounds.right), "lat": Range(bounds.bottom, bounds.top)}
    found: list[Dataset] = []
    for name in [product] if product else sorted({sensor.product for sensor in SENSORS.values()}):
        found += index.dc.index.datasets.search(product=name, archived=None, **query)
    reasons = _reasons(index)
    inside = [each for each in found if (period is None or period.contains(each.center_time)) and _meets(each, area)]
    return [_scene_row(each, reasons) for each in sorted(inside, key=lambda each: (each.center_time, str(each.id)))]


def _choose(group: list[SceneDocument], known: list[_Rendition], decision: Decision) -> None:
    """Of the new renditions of one acquisition and the known ones, keep the highest."""
    by_rank = sorted(group, key=lambda scene: rendition_rank(scene.rendition))
    top = by_rank.pop()
    above = max(known, key=lambda each: rendition_rank(each.name), default=None)
    chosen_id, chosen = top.id, top.rendition
    if above is not None and rendition_rank(above.name) > rendition_rank(top.rendition):
        by_rank.append(top)
        chosen_id, chosen = above.id, above.name
    else:
        beaten = [each for each in known if each.is_active]
        (decision.replaced if beaten else decision.added).append(top)
        for each in beaten:
            decision.reasons[each.id] = _superseded(chosen_id, chosen, each.name)
    for scene in by_rank:
        decision.superseded.append(scene)
        decision.reasons[scene.id] = _superseded(chosen_id, chosen, scene.rendition)


def _superseded(chosen_id: UUID, chosen: str, other: str) -> str:
    return f"superseded by {chosen_id}: {rendition_difference(chosen, other)}"


def _known_renditions(index: Index, scenes: Iterable[SceneDocument]) -> dict[tuple[str, str], list[_Rendition]]:
    """The renditions already indexed of the acquisitions of some scenes, archived ones included."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for scene in scenes:
        wanted[scene.product].append(scene.acquisition)
    found: dict[tuple[str, str], list[_Rendition]] = defaultdict(list)
    for product, acquisitions in wanted.items():
        keys = list(dict.fromkeys(acquisitions))
        for start in range(0, len(keys), ACQUISITIONS_PER_QUERY):
            some = keys[start : start + ACQUISITIONS_PER_QUERY]
            for each in index.dc.index.datasets.search(product=product, acquisition=some, archived=None):
                facts = each.metadata_doc["properties"]
                rendition = _Rendition(each.id, facts["neocube:rendition"], not each.is_archived)
                found[product, facts["neocube:acquisition"]].append(rendition)
    return found


def _tuples(index: Index, scenes: Iterable[SceneDocument]) -> Iterator[DatasetTuple]:
    products = {name: index.dc.index.products.get_by_name(name) for name in {scene.product for scene in scenes}}
    lineage: dict[str, Any] = {} if index.driver == "postgis" else {"source_datasets": {}}
    for scene in scenes:
        yield DatasetTuple(products[scene.product], {**scene.document, "lineage": lineage}, scene.location)


def _reasons(index: Index) -> dict[UUID, str]:
    """The last reason of each dataset that has one."""
    with index.engine.connect() as connection:
        rows = connection.execute(select(archive_reason).order_by(archive_reason.c.at))
        return {row.dataset_id: row.reason for row in rows}


def _meets(dataset: Dataset, area: Area | None) -> bool:
    extent = dataset.extent
    return area is None or extent is None or bool(extent.to_crs("EPSG:4326").intersects(area.geometry))


def _scene_row(dataset: Dataset, reasons: dict[UUID, str]) -> dict[str, Any]:
    facts = dataset.metadata_doc["properties"]
    status = "active"
    if dataset.is_archived:
        status = f"archived: {reasons[dataset.id]}" if dataset.id in reasons else "archived"
    return {
        "id": str(dataset.id),
        "item_id": facts["neocube:item_id"],
        "product": dataset.product.name,
        "acquisition": facts["neocube:acquisition"],
        "rendition": facts["neocube:rendition"],
        "datetime": facts["datetime"],
        "crs": str(dataset.crs),
        "offset": facts["neocube:radiometry"]["red"]["offset"],
        "status": status,
        "location": dataset.uri,
    }


@contextmanager
def _alone(index: Index) -> Iterator[None]:
    """One writer of scenes at a time, so that two ingests cannot both choose."""
    with index.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("select pg_advisory_lock(hashtext(:lock))"), {"lock": LOCK})
        try:
            yield
        finally:
            connection.execute(text("select pg_advisory_unlock(hashtext(:lock))"), {"lock": LOCK})
