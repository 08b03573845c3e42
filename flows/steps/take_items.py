"""A batch of items into the index: each becomes a scene, is known already, or goes to quarantine with its cause."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from datacube_config.connection import Index
from flows.steps.admission import admission_policy, admit
from flows.steps.archive_files import ArchiveFiles
from flows.steps.footprint import lonlat_footprint, read_file_grid
from flows.steps.ingest_report import IngestReport
from flows.steps.item_facts import sensing_time
from flows.steps.item_refused import ItemRefused, NotAScene
from flows.steps.items import FoundItem
from flows.steps.known_items import Bounds, FreshItem, KnownItem, remember, sift
from flows.steps.normalise import SceneDocument, normalise
from flows.steps.quarantine import keep, release
from flows.steps.radiometric_check import check_radiometry
from flows.steps.reading import RasterAccess
from flows.steps.scene_index import take_scenes


@dataclass(frozen=True, slots=True)
class Take:
    """One run of ingest: where it writes, how it reads pixels, and what it tells."""

    index: Index
    archive: str
    report: IngestReport
    files: ArchiveFiles
    access: RasterAccess = field(default_factory=RasterAccess)
    radiometric_check: Literal["auto", "off"] = "auto"
    run: UUID = field(default_factory=uuid4)


@dataclass(slots=True)
class _Outcome:
    """What became of a batch, by item."""

    scenes: list[tuple[FreshItem, SceneDocument]] = field(default_factory=list)
    notes: list[tuple[FreshItem, str]] = field(default_factory=list)
    refused: list[tuple[FreshItem, str]] = field(default_factory=list)

    def refuse(self, causes: dict[UUID, str]) -> None:
        """Take scenes out of what is to be indexed."""
        self.refused += [(item, causes[scene.id]) for item, scene in self.scenes if scene.id in causes]
        self.scenes = [(item, scene) for item, scene in self.scenes if scene.id not in causes]


@dataclass(frozen=True, slots=True)
class Taken:
    """How many items of a batch were new to the run, how many of these became or were scenes, how many it had before."""

    n_new: int
    n_scenes: int
    n_repeated: int


def take_items(take: Take, batch: Sequence[FoundItem]) -> Taken:
    """Index a batch, keep what is refused."""
    report, engine = take.report, take.index.engine
    sifted = sift(engine, take.archive, batch, take.run, dry_run=report.dry_run)
    outcome = _read(sifted.fresh, take.archive)
    _check(take, outcome)
    decision = take_scenes(take.index, [scene for _, scene in outcome.scenes], dry_run=report.dry_run)
    if not report.dry_run:
        _keep(take, outcome)
    report.found += len(batch) - sifted.repeated
    report.added += len(decision.added)
    report.replaced += len(decision.replaced)
    report.superseded += len(decision.superseded)
    report.unchanged += decision.unchanged + sifted.unchanged
    report.skipped += [{"id": name, "note": note} for name, note in sifted.skipped]
    report.skipped += [{"id": item.found.id, "note": note} for item, note in outcome.notes]
    report.quarantined += [{"id": item.found.id, "cause": cause} for item, cause in outcome.refused]
    return Taken(len(batch) - sifted.repeated, len(outcome.scenes) + sifted.unchanged, sifted.repeated)


def _read(fresh: Sequence[FreshItem], archive: str) -> _Outcome:
    outcome = _Outcome()
    for item in fresh:
        try:
            outcome.scenes.append((item, _scene(item.found, archive)))
        except NotAScene as note:
            outcome.notes.append((item, str(note)))
        except ItemRefused as refusal:
            outcome.refused.append((item, str(refusal)))
    return outcome


def _check(take: Take, outcome: _Outcome) -> None:
    """Refuse what is not complete, and what its own pixels contradict."""
    scenes = [scene for _, scene in outcome.scenes]
    policy, dry_run, mode = admission_policy(take.archive), take.report.dry_run, take.radiometric_check
    outcome.refuse(admit(scenes, take.files, policy))
    scenes = [scene for _, scene in outcome.scenes]
    outcome.refuse(check_radiometry(take.index, take.archive, scenes, take.access, mode=mode, dry_run=dry_run))


def _keep(take: Take, outcome: _Outcome) -> None:
    """Settle a batch whose scenes are committed: quarantine, and what is known from now on."""
    again = {item.found.id for item, _ in outcome.refused}
    passed = [item.found.id for item, _ in (*outcome.scenes, *outcome.notes)]
    release(take.index, take.archive, [name for name in passed if name not in again])
    keep(take.index, take.archive, [(item.found, cause) for item, cause in outcome.refused])
    known = [_known(item) for item, _ in outcome.refused]
    known += [_known(item, note=note) for item, note in outcome.notes]
    known += [_known(item, dataset_id=scene.id) for item, scene in outcome.scenes]
    remember(take.index.engine, take.archive, known, take.run)


def _known(item: FreshItem, *, dataset_id: UUID | None = None, note: str | None = None) -> KnownItem:
    acquired, bounds = _when_and_where(item.found)
    return KnownItem(item, dataset_id, note, acquired, bounds)


def _when_and_where(found: FoundItem) -> tuple[datetime | None, Bounds | None]:
    """The sensing time and the bounds in degrees of an item, where it says."""
    if found.document is None:
        return None, None
    try:
        acquired = sensing_time(found.document["properties"])
        west, south, east, north = lonlat_footprint(found.document).bounds
    except (ItemRefused, KeyError, TypeError, AttributeError):
        return None, None
    return acquired, (west, south, east, north)


def _scene(found: FoundItem, archive: str) -> SceneDocument:
    """The scene of an item; ItemRefused for whatever is wrong with it."""
    if found.document is None or found.cause is not None:
        raise ItemRefused(found.cause or "unreadable item")
    try:
        return normalise(found.document, found.place, archive, read_file_grid)
    except (ItemRefused, NotAScene):
        raise
    except Exception as error:  # the boundary: what one untrusted document provokes must not stop its page
        raise ItemRefused(f"unexpected content: {type(error).__name__}: {error}") from error
