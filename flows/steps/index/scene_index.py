"""Scenes in the index: the chosen rendition of each acquisition active, the others archived with a reason."""

import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datacube.index.abstract import DatasetTuple
from datacube.model import Dataset
from sqlalchemy import insert, select

from datacube_config.connection import Index
from datacube_config.schema import archive_reason
from flows.steps.index.advisory_locks import alone
from flows.steps.index.bulk_index import bulk_index
from flows.steps.index.catalogue import acquired_at, footprint_of
from flows.steps.index.index_statistics import refresh_statistics
from flows.steps.index.known_scenes import known_ids, known_renditions
from flows.steps.index.revised_scenes import REVISION, remembered_scenes, revised_scenes, rewrite
from flows.steps.index.scene_lookup import find_datasets
from flows.steps.scenes.normalise import SceneDocument
from flows.steps.scenes.rendition_policy import Candidate, rendition_difference, superseded
from products.area import Area
from products.covered_ground import covered_ground
from products.errors import RequestError
from products.formula import near
from products.period import Period
from products.sensors import SENSORS

LOCK = "neocube ingest"
POLICY = "policy"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Decision:
    """What indexing some scenes does: which are new, told of anew, found elsewhere, and which are archived, with the reason."""

    added: list[SceneDocument] = field(default_factory=list)
    revised: list[SceneDocument] = field(default_factory=list)
    moved: list[SceneDocument] = field(default_factory=list)
    replaced: list[SceneDocument] = field(default_factory=list)
    superseded: list[SceneDocument] = field(default_factory=list)
    unchanged: int = 0
    reasons: dict[UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rendition:
    candidate: Candidate
    is_active: bool


def take_scenes(
    index: Index, scenes: Sequence[SceneDocument], *, dry_run: bool = False, revisable: Container[UUID] | None = None
) -> Decision:
    """Index the scenes that are not known yet, in one transaction; with `dry_run`, only say what that would do.

    `revisable`: the scenes of items that were seen before and say something else now; None: any may be. Others are revised where no item is
    known to be theirs: the run that took them died before it could remember that.
    """
    if dry_run:
        return decide(index, scenes, revisable)
    with alone(index, LOCK):
        decision = decide(index, scenes, revisable)
        fresh = [*decision.added, *decision.replaced, *decision.superseded]
        again = [*decision.revised, *decision.moved]
        if fresh or again:
            with index.dc.index.transaction():
                if fresh:
                    bulk_index(index, list(dataset_tuples(index, fresh)))
                rewrite(index, list(dataset_tuples(index, again)))
                index.dc.index.datasets.archive(list(decision.reasons))
                # Committed before the archiving it explains, so that no archived scene lacks its reason.
                record_reasons(index, decision.reasons, POLICY)
            refresh_statistics(index)
        _tell(decision)
    return decision


def _tell(decision: Decision) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    named = {
        "added": decision.added,
        "replacing": decision.replaced,
        "superseded": decision.superseded,
        "moved": decision.moved,
    }
    for role, scenes in named.items():
        for scene in scenes:
            _log.info("scene indexed", extra={"scene": str(scene.id), "product": scene.product, "role": role})


def decide(index: Index, scenes: Sequence[SceneDocument], revisable: Container[UUID] | None = None) -> Decision:
    """The policy of archives.yaml: the highest rendition of an acquisition is chosen; a known one may be revised or moved, and is never restored."""
    first = {scene.id: scene for scene in reversed(scenes)}
    known = known_ids(index, first)
    fresh = [scene for number, scene in reversed(first.items()) if number not in known]
    revised, moved = revised_scenes(index, [first[number] for number in known])
    decision = Decision(revised=revised, moved=moved)
    if revisable is not None:
        others = remembered_scenes(index, [scene for scene in decision.revised if scene.id not in revisable])
        decision.revised = [scene for scene in decision.revised if scene.id not in others]
    decision.unchanged = len(scenes) - len(fresh) - len(decision.revised) - len(moved)
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
        for number, reason in reasons.items():
            _log.info("dataset archived", extra={"dataset": str(number), "reason": reason, "by": by})


def list_scenes(
    index: Index, product: str | None = None, area: Area | None = None, period: Period | None = None
) -> list[dict[str, Any]]:
    """The indexed scenes, archived ones with their reason, in order of time; RequestError for a product that holds none."""
    known = sorted({sensor.product for sensor in SENSORS.values()})
    if product is not None and product not in known:
        raise RequestError(f"no source product of scenes {product!r}{near(product, known)}")
    found = find_datasets(
        index, [product] if product else known, period, area.geometry if area else None, archived=None
    )
    reasons = _reasons(index)
    inside = [each for each in found if (period is None or period.contains(acquired_at(each))) and _meets(each, area)]
    ordered = sorted(inside, key=lambda each: (acquired_at(each), each.metadata_doc["id"]))
    return [_scene_row(each, reasons) for each in ordered]


def _choose(group: list[SceneDocument], known: list[_Rendition], decision: Decision) -> None:
    """Of the new renditions of one acquisition and the known ones, keep the highest of each slice."""
    if not known and len(group) == 1:
        decision.added += group
        return
    new = {scene.id: Candidate(scene.id, scene.rendition, scene.archive, scene.slice) for scene in group}
    lost = superseded([*new.values(), *(each.candidate for each in known)])
    beaten = {each.candidate.id for each in known if each.is_active and lost.get(each.candidate.id) in new.values()}
    for scene in group:
        if scene.id in lost:
            decision.superseded.append(scene)
        elif any(lost[number].id == scene.id for number in beaten):
            decision.replaced.append(scene)
        else:
            decision.added.append(scene)
    every = {**new, **{each.candidate.id: each.candidate for each in known}}
    decision.reasons |= {
        number: _superseded(lost[number], every[number]) for number in lost.keys() & (new.keys() | beaten)
    }


def _superseded(chosen: Candidate, other: Candidate) -> str:
    difference = rendition_difference(chosen.rendition, other.rendition, chosen.archive, other.archive)
    return f"superseded by {chosen.id}: {difference}"


def _known_renditions(index: Index, scenes: Iterable[SceneDocument]) -> dict[tuple[str, str], list[_Rendition]]:
    """The renditions already indexed of the acquisitions of some scenes, archived ones included."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for scene in scenes:
        wanted[scene.product].append(scene.acquisition)
    found: dict[tuple[str, str], list[_Rendition]] = defaultdict(list)
    for product, renditions in known_renditions(index, wanted).items():
        for each in renditions:
            one = Candidate(each.id, each.rendition, each.archive, each.slice)
            found[product, each.acquisition].append(_Rendition(one, each.is_active))
    return found


def dataset_tuples(index: Index, scenes: Iterable[SceneDocument]) -> Iterator[DatasetTuple]:
    """The scenes as ODC's bulk interface takes them, with the lineage section that its `add` stores."""
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
    return area is None or area.meets(covered_ground(footprint_of(dataset)).geom)


def _scene_row(dataset: Dataset, reasons: dict[UUID, str]) -> dict[str, Any]:
    document, number = dataset.metadata_doc, UUID(dataset.metadata_doc["id"])
    facts = document["properties"]
    status = "active"
    if dataset.is_archived:
        status = f"archived: {reasons[number]}" if number in reasons else "archived"
    return {
        "id": str(number),
        "item_id": facts["neocube:item_id"],
        "product": dataset.product.name,
        "acquisition": facts["neocube:acquisition"],
        "rendition": facts["neocube:rendition"],
        "revision": facts.get(REVISION, 0),
        "datetime": facts["datetime"],
        "crs": document["crs"],
        "offset": facts["neocube:radiometry"]["red"]["offset"],
        "radiometry": facts.get("neocube:radiometry_verdict"),
        "status": status,
        "location": dataset.uri,
    }
