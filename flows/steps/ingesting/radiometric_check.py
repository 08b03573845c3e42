"""Scale and offset as the metadata have them, held against the pixels at first sight of each archive, collection and baseline."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from uuid import UUID

from datacube_config.connection import Index
from flows.steps.ingesting.pixel_sample import read_sample
from flows.steps.ingesting.verdict_ledger import Key, Ledger, add_verdicts, joined, read_ledgers
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import UnreadBand
from flows.steps.scenes.normalise import SceneDocument
from products.radiometric_verdict import BANDS, Scalings, SceneVerdict, judge, words
from products.sensors import SENSORS

Mode = Literal["auto", "off"]
PROPERTY = "neocube:radiometry_verdict"
SCENES_AT_ONCE, SCENES_AT_MOST = 3, 10
THREADS, PATIENCE_S = 8, 30.0
TRY_AGAIN_AFTER = timedelta(hours=1)

Looks = Mapping[UUID, SceneVerdict | str]
"""What a look at each scene gave: its verdict, or why there is none."""


def check_radiometry(
    index: Index,
    archive: str,
    scenes: Sequence[SceneDocument],
    access: RasterAccess,
    *,
    mode: Mode = "auto",
    dry_run: bool = False,
) -> dict[UUID, str]:
    """Why scenes are refused, by id: the pixels contradict their metadata. The others are flagged with the verdict of their key."""
    groups: dict[Key, list[SceneDocument]] = defaultdict(list)
    for scene in scenes:
        if (key := _key(archive, scene)) is not None:
            groups[key].append(scene)
    ledgers = read_ledgers(index, groups)
    if mode == "off":
        _record_unchecked(index, ledgers, dry_run)
        _flag(scenes, "undetermined")
        return {}
    chosen = {key: _to_look_at(ledgers[key], group) for key, group in groups.items()}
    looks = _look_at([scene for some in chosen.values() for scene in some], access)
    refusals: dict[UUID, str] = {}
    for key, group in groups.items():
        ledger = ledgers[key]
        if chosen[key]:
            ledger = _with_looks(index, key, ledger, chosen[key], looks, dry_run)
        _flag(group, ledger.verdict)
        refusals |= {scene.id: cause for scene in group if (cause := _refusal(key, ledger, scene))}
    return refusals


def _key(archive: str, scene: SceneDocument) -> Key | None:
    """What the verdict on a scene is filed under; None for what has no known convention."""
    facts = scene.document["properties"]
    if facts.get("eo:instrument") not in SENSORS or any(band not in facts["neocube:radiometry"] for band in BANDS):
        return None
    return Key(
        archive, facts["neocube:collection"], scene.rendition.split("/")[0], _words(tuple(_claim(scene).items()))
    )


@lru_cache(1024)
def _words(claim: tuple[tuple[str, tuple[float, float]], ...]) -> str:
    return words(dict(claim))


def _claim(scene: SceneDocument) -> Scalings:
    radiometry = scene.document["properties"]["neocube:radiometry"]
    return {band: (radiometry[band]["scale"], radiometry[band]["offset"]) for band in BANDS}


def _to_look_at(ledger: Ledger, group: Sequence[SceneDocument]) -> list[SceneDocument]:
    """Scenes to sample: those that contradicted once, for they may have been mended, and the least cloudy new ones while undetermined."""
    if ledger.verdict == "confirmed":
        return []
    again = [scene for scene in group if _contradicts(ledger.scenes.get(str(scene.id), {}))]
    if ledger.verdict == "contradicted":
        return again
    # The same batch chooses the same scenes, so that a repeated ingest samples no more than the first.
    best = sorted(group, key=lambda s: (s.document["properties"].get("eo:cloud_cover", 50.0), s.id))[:SCENES_AT_ONCE]
    new = [scene for scene in best if str(scene.id) not in ledger.scenes]
    room = max(SCENES_AT_MOST - len(ledger.scenes), 0)
    return [*again, *(scene for scene in new[:room] if not (_is_remote(scene) and _failed_lately(ledger)))]


def _is_remote(scene: SceneDocument) -> bool:
    return "://" in scene.document["measurements"][BANDS[0]]["path"]


def _failed_lately(ledger: Ledger) -> bool:
    failed = ledger.not_sampled.get("at")
    return failed is not None and datetime.now(UTC) - datetime.fromisoformat(failed) < TRY_AGAIN_AFTER


def _look_at(scenes: Iterable[SceneDocument], access: RasterAccess) -> dict[UUID, SceneVerdict | str]:
    """Look at scenes side by side, as many as PATIENCE_S allows."""
    pool = ThreadPoolExecutor(THREADS)
    running = {scene.id: pool.submit(_look, scene, access) for scene in {s.id: s for s in scenes}.values()}
    wait(running.values(), PATIENCE_S)
    pool.shutdown(wait=False, cancel_futures=True)
    late = f"not sampled: no answer within {PATIENCE_S:g} s"
    return {
        number: future.result() if future.done() and not future.cancelled() else late
        for number, future in running.items()
    }


def _look(scene: SceneDocument, access: RasterAccess) -> SceneVerdict | str:
    mask = SENSORS[scene.document["properties"]["eo:instrument"]].mask
    hrefs = {name: measurement["path"] for name, measurement in scene.document["measurements"].items()}
    try:
        return judge(read_sample(hrefs, mask, access), _claim(scene))
    except UnreadBand as error:
        return f"not sampled: {error}"
    except (KeyError, TypeError, ValueError) as error:  # no such band, or pixels that are no integers
        return f"not sampled: {type(error).__name__}: {error}"


def _with_looks(
    index: Index, key: Key, ledger: Ledger, chosen: Iterable[SceneDocument], looks: Looks, dry_run: bool
) -> Ledger:
    """The ledger with the looks at the chosen scenes, stored unless it is a trial."""
    names = {scene.id: scene.document["properties"]["neocube:item_id"] for scene in chosen}
    verdicts = {str(n): (name, look) for n, name in names.items() if isinstance(look := looks[n], SceneVerdict)}
    failures = [look for number in names if isinstance(look := looks[number], str)]
    failure = failures[0] if failures else None
    return joined(ledger, verdicts, failure) if dry_run else add_verdicts(index, key, verdicts, failure)


def _record_unchecked(index: Index, ledgers: Mapping[Key, Ledger], dry_run: bool) -> None:
    for key, ledger in ledgers.items():
        if not ledger.is_stored and not dry_run:
            add_verdicts(index, key, {}, "not sampled: radiometric_check is off")


def _flag(scenes: Iterable[SceneDocument], verdict: str) -> None:
    for scene in scenes:
        scene.document["properties"][PROPERTY] = verdict


def _refusal(key: Key, ledger: Ledger, scene: SceneDocument) -> str:
    """Why a scene is refused, empty if it is not: its own pixels, or those of two others of its key, contradict it."""
    against = sorted(
        ((each["item_id"], number, each["reason"]) for number, each in ledger.scenes.items() if _contradicts(each))
    )
    own = [reason for _, number, reason in against if number == str(scene.id)]
    if not own and ledger.verdict != "contradicted":
        return ""
    seen = "its pixels" if own else f"the pixels of {' and '.join(item for item, _, _ in against)}"
    reason = own[0] if own else against[0][2]
    place = f"{key.archive}, {key.collection}, baseline {key.baseline}"
    return f"radiometry: the metadata say {key.claim}, {seen} contradict it ({place}): {reason}"


def _contradicts(seen: Mapping[str, str]) -> bool:
    return seen.get("verdict") == "contradicted"
