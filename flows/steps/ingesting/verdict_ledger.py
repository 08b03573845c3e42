"""What the pixels were found to say of a claimed scale and offset: one row for each archive, collection, baseline and claim."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, case, func, null, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import radiometric_verdict
from products.radiometric_verdict import SceneVerdict, Verdict, combine

TABLE = radiometric_verdict.c


class Key(NamedTuple):
    """What one verdict is about; `claim` is the scale and offset in words."""

    archive: str
    collection: str
    baseline: str
    claim: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """The scenes sampled for a key, by dataset id, with what each says; `not_sampled` has the reason and instant of the last failure."""

    verdict: Verdict = "undetermined"
    scenes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    not_sampled: Mapping[str, str] = field(default_factory=dict)
    is_stored: bool = False


def read_ledgers(index: Index, keys: Collection[Key]) -> dict[Key, Ledger]:
    """The ledger of each key, an empty one where there is none; without the evidence of what is confirmed."""
    evidence = case((TABLE.verdict == "confirmed", null()), else_=TABLE.evidence).label("evidence")
    columns = TABLE.archive, TABLE.collection, TABLE.baseline, TABLE.claim
    found = dict.fromkeys(keys, Ledger())
    if found:
        query = select(*columns, TABLE.verdict, evidence).where(tuple_(*columns).in_(list(found)))
        with index.engine.connect() as connection:
            found |= {Key(*row[:4]): _ledger(row.verdict, row.evidence) for row in connection.execute(query)}
    return found


def add_verdicts(
    index: Index, key: Key, verdicts: Mapping[str, tuple[str, SceneVerdict]], not_sampled: str | None = None
) -> Ledger:
    """The ledger with what more scenes (dataset id: item id, verdict) say, and why others were not sampled; stored."""
    ours = and_(*(column == value for column, value in zip(radiometric_verdict.primary_key, key, strict=True)))
    empty = dict(zip(("archive", "collection", "baseline", "claim"), key, strict=True))
    with index.engine.begin() as connection:
        row = {**empty, "verdict": "undetermined", "evidence": {}}
        connection.execute(insert(radiometric_verdict).values(row).on_conflict_do_nothing())
        known = connection.execute(select(TABLE.verdict, TABLE.evidence).where(ours).with_for_update()).one()
        ledger = joined(_ledger(known.verdict, known.evidence), verdicts, not_sampled)
        evidence = {"scenes": ledger.scenes, "not_sampled": ledger.not_sampled}
        values = {"verdict": ledger.verdict, "evidence": evidence, "checked_at": func.now()}
        connection.execute(update(radiometric_verdict).where(ours).values(values))
    return ledger


def joined(known: Ledger, verdicts: Mapping[str, tuple[str, SceneVerdict]], not_sampled: str | None = None) -> Ledger:
    """A ledger with more scenes; the last look at a scene counts."""
    scenes = {
        **known.scenes,
        **{number: {"item_id": item, **asdict(each)} for number, (item, each) in verdicts.items()},
    }
    failure = {"reason": not_sampled, "at": datetime.now(UTC).isoformat()} if not_sampled else known.not_sampled
    verdict = combine(Counter(scene["verdict"] for scene in scenes.values()))
    return Ledger(verdict, scenes, failure, is_stored=True)


def _ledger(verdict: Verdict, evidence: Mapping[str, Any] | None) -> Ledger:
    told = evidence or {}
    return Ledger(verdict, told.get("scenes", {}), told.get("not_sampled", {}), is_stored=True)
