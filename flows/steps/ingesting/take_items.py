"""A batch of items into the index: each becomes a scene, is known already, or goes to quarantine with its cause."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.items import FoundItem
from flows.steps.index.scene_index import take_scenes
from flows.steps.ingesting.admission import admission_policy, admit, sampled_host
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.ingesting.known_items import FreshItem, KnownItem, Sifted, refused_keys, remember, sift
from flows.steps.ingesting.quarantine import keep, release
from flows.steps.ingesting.radiometric_check import check_radiometry
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.scenes.footprint import lonlat_footprint
from flows.steps.scenes.item_facts import sensing_time
from flows.steps.scenes.normalise import SceneDocument
from flows.steps.scenes.read_scenes import NotTaken, Reading
from flows.steps.scenes.scene_pool import Read, ScenePool


@dataclass(frozen=True, slots=True)
class Take:
    """One run of ingest: where it writes, how it reads pixels, and what it tells; what it `refused`, of its listing or `tried_again` before, by key."""

    index: Index
    archive: str
    report: IngestReport
    files: ArchiveFiles
    access: RasterAccess = field(default_factory=RasterAccess)
    radiometric_check: Literal["auto", "off"] = "auto"
    run: UUID = field(default_factory=uuid4)
    pool: ScenePool = field(default_factory=lambda: ScenePool(0))
    refused: dict[tuple[str, str], list["Refused"]] = field(default_factory=dict)
    tried_again: dict[tuple[str, str], list["Refused"]] = field(default_factory=dict)

    def begin_listing(self) -> None:
        """What was refused until now was tried from quarantine."""
        self.tried_again.update(self.refused)
        self.refused.clear()


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that is refused, as the report tells it, and what is told where another item of its id is taken."""

    row: dict[str, str]
    is_another: str


@dataclass(slots=True)
class _Outcome:
    """What became of a batch, by item."""

    scenes: list[tuple[FreshItem, SceneDocument]] = field(default_factory=list)
    notes: list[tuple[FreshItem, str]] = field(default_factory=list)
    refused: list[tuple[FreshItem, str]] = field(default_factory=list)
    others: list[tuple[FreshItem, str]] = field(default_factory=list)

    def refuse(self, causes: dict[UUID, str]) -> None:
        """Take scenes out of what is to be indexed."""
        self.refused += [(item, causes[scene.id]) for item, scene in self.scenes if scene.id in causes]
        self.scenes = [(item, scene) for item, scene in self.scenes if scene.id not in causes]

    @property
    def refused_keys(self) -> set[tuple[str, str]]:
        """What of it goes to quarantine."""
        return {item.key for item, _ in self.refused}

    @property
    def passed_keys(self) -> set[tuple[str, str]]:
        """What of it is taken."""
        return {item.key for item, _ in (*self.scenes, *self.notes)}

    def take_turns(self, turn: "_Outcome") -> None:
        """Add what became of items that were tried in place of refused ones of their ids: where they pass, these are told as others."""
        passed = turn.passed_keys
        self.others += [(item, f"{cause}; {item.is_another}") for item, cause in self.refused if item.key in passed]
        self.refused = [each for each in self.refused if each[0].key not in passed] + turn.refused
        self.scenes += turn.scenes
        self.notes += turn.notes


@dataclass(frozen=True, slots=True)
class Taken:
    """How many items of a batch were new to the run, how many of these became or were scenes, how many it had before."""

    n_new: int
    n_scenes: int
    n_repeated: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch whose new items are being read: how many it has, which of them are new, and what each of those is, when asked."""

    n_items: int
    sifted: Sifted
    read: Read

    @property
    def digests(self) -> dict[tuple[str, str], bytes]:
        """What its new items will be known by, if they are not refused."""
        return {item.key: item.digest for item in (*reversed(self.sifted.others), *self.sifted.fresh)}


def prepare(
    take: Take, batch: Sequence[FoundItem], before: Iterable[Prepared] = (), since: datetime | None = None
) -> Prepared:
    """Find out what is new in a batch, and have it read; `before`: the batches of this run that are not taken yet; `since`: as in `sift`."""
    ahead = reversed(list(before)) if since else before
    under_way = {key: digest for each in ahead for key, digest in each.digests.items()}
    sifted = sift(
        take.index.engine, take.archive, batch, take.run, dry_run=take.report.dry_run, under_way=under_way, since=since
    )
    return Prepared(len(batch), sifted, take.pool.submit([item.found for item in sifted.fresh], take.archive))


def take_items(take: Take, batch: Sequence[FoundItem]) -> Taken:
    """Index a batch, keep what is refused."""
    return take_prepared(take, prepare(take, batch))


def take_prepared(take: Take, prepared: Prepared) -> Taken:
    """Index what is new in a batch, keep what is refused."""
    report, sifted = take.report, prepared.sifted
    outcome = _checked(take, sifted.fresh, prepared.read())
    _try_others(take, outcome, sifted.others)
    scenes = [scene for _, scene in outcome.scenes]
    known = {scene.id for item, scene in outcome.scenes if item.is_known}
    decision = take_scenes(take.index, scenes, dry_run=report.dry_run, revisable=known)
    if not report.dry_run:
        _keep(take, outcome)
    report.found += prepared.n_items - sifted.repeated
    report.added += len(decision.added)
    report.replaced += len(decision.replaced) + len(decision.moved)
    report.superseded += len(decision.superseded)
    report.revised += len(decision.revised)
    report.unchanged += decision.unchanged + sifted.unchanged
    report.skipped += [{"id": name, "note": note} for name, note in sifted.skipped]
    report.skipped += [{"id": item.found.id, "note": note} for item, note in (*outcome.notes, *outcome.others)]
    _tell_refused(take, outcome)
    return Taken(prepared.n_items - sifted.repeated, len(outcome.scenes) + sifted.unchanged, sifted.repeated)


def _try_others(take: Take, outcome: _Outcome, others: Sequence[FreshItem]) -> None:
    """Take of the other items of an id the first that can be, where the one before them was refused; what is left is told."""
    earlier = set() if take.report.dry_run else refused_keys(take.index.engine, take.archive, others, take.run)
    while open_keys := (earlier | outcome.refused_keys) - outcome.passed_keys:
        turn = {item.key: item for item in reversed(others) if item.key in open_keys}
        if not turn:
            break
        items = list(turn.values())
        outcome.take_turns(_checked(take, items, take.pool.submit([item.found for item in items], take.archive)()))
        others = [item for item in others if turn.get(item.key) is not item]
    outcome.others += [(item, item.is_another) for item in others]


def _tell_refused(take: Take, outcome: _Outcome) -> None:
    """Add what is refused to the report; what was refused before and has its id taken now is told as another, or, as it lay in quarantine, not at all."""
    report = take.report
    for key in outcome.passed_keys:
        for before in take.refused.pop(key, ()):
            report.quarantined.withdraw(before.row)
            report.skipped += [{"id": before.row["id"], "note": f"{before.row['cause']}; {before.is_another}"}]
        for before in take.tried_again.pop(key, ()):
            report.quarantined.withdraw(before.row)
            report.found -= 1
    for item, cause in outcome.refused:
        row = {"id": item.found.id, "cause": cause}
        report.quarantined += [row]
        if report.quarantined[-1] is row:
            take.refused.setdefault(item.key, []).append(Refused(row, item.is_another))


def _checked(take: Take, fresh: Sequence[FreshItem], readings: Sequence[Reading]) -> _Outcome:
    """What items became, by what was read of them and then by their files."""
    outcome = _Outcome()
    for item, reading in zip(fresh, readings, strict=True):
        if not isinstance(reading, NotTaken):
            outcome.scenes.append((item, reading))
        elif reading.is_part:
            outcome.notes.append((item, reading.reason))
        else:
            outcome.refused.append((item, reading.reason))
    _check(take, outcome)
    return outcome


def _check(take: Take, outcome: _Outcome) -> None:
    """Refuse what is not complete, and what its own pixels contradict."""
    scenes = [scene for _, scene in outcome.scenes]
    policy, dry_run, mode = admission_policy(take.archive), take.report.dry_run, take.radiometric_check
    outcome.refuse(admit(scenes, take.files, policy, sampled_host(take.archive)))
    scenes = [scene for _, scene in outcome.scenes]
    outcome.refuse(check_radiometry(take.index, take.archive, scenes, take.access, mode=mode, dry_run=dry_run))


def _keep(take: Take, outcome: _Outcome) -> None:
    """Settle a batch whose scenes are committed: quarantine, and what is known from now on."""
    release(take.index, take.archive, outcome.passed_keys - outcome.refused_keys)
    keep(take.index, take.archive, [(item.found, cause) for item, cause in outcome.refused])
    known = [_known(item) for item, _ in outcome.refused]
    known += [_known(item, note) for item, note in outcome.notes]
    known += [_known_scene(item, scene) for item, scene in outcome.scenes]
    remember(take.index.engine, take.archive, known, take.run)


def _known_scene(item: FreshItem, scene: SceneDocument) -> KnownItem:
    extent, acquired = scene.document["extent"], datetime.fromisoformat(scene.document["properties"]["datetime"])
    lon, lat = extent["lon"], extent["lat"]
    return KnownItem(item, scene.id, None, acquired, (lon["begin"], lat["begin"], lon["end"], lat["end"]))


def _known(item: FreshItem, note: str | None = None) -> KnownItem:
    """An item that is no scene, with its sensing time and its bounds in degrees where it says them."""
    document = item.found.document or {}
    try:
        acquired = sensing_time(document["properties"])
        west, south, east, north = lonlat_footprint(document).bounds
    except (ItemRefused, KeyError, TypeError, AttributeError):
        return KnownItem(item, None, note)
    return KnownItem(item, None, note, acquired, (west, south, east, north))
