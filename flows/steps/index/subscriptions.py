"""Subscriptions, what answers them, and how soon: rows of `neocube.follow_up` of the kinds `subscription` and `answer`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text

from datacube_config.connection import Index
from datacube_config.schema import follow_up
from flows.steps.index.follow_ups import FollowUp, claimed, note
from flows.steps.index.index_rows import dataset_rows
from products.errors import RequestError
from products.passes import passes_of
from products.scene import Scene

SUBSCRIPTION, ANSWER = "subscription", "answer"


@dataclass(frozen=True, slots=True)
class Subscription:
    """Answer new scenes over an area (GeoJSON): by `when` on passes of a recipe (a name or YAML), or by a model, where `when` is one of its classes.

    It alerts where at least `least_clear` of the ground was seen and `least_share` of what was seen is so. Scenes older than `max_age_days` are no news.
    """

    name: str
    recipe: str
    model: str | None
    area: str
    when: str | None
    least_share: float = 0.0
    least_clear: float = 0.0
    max_age_days: int = 30

    @property
    def row(self) -> FollowUp:
        """Its row."""
        return FollowUp(SUBSCRIPTION, self.name, asdict(self))


def keep(index: Index, subscription: Subscription) -> bool:
    """Remember a subscription from now on; False where it is kept already. RequestError for another one of that name."""
    with claimed(index, subscription.row, wait=True), index.engine.begin() as connection:
        wanted = follow_up.c.id == subscription.row.id
        known = connection.execute(select(follow_up.c.parameters, follow_up.c.done_at).where(wanted)).one_or_none()
        if known is not None and known.done_at is None:
            if known.parameters != asdict(subscription):
                raise RequestError(
                    f"there is another subscription {subscription.name}: take another name, or `neocube unsubscribe {subscription.name}` first"
                )
            return False
        values = {"parameters": asdict(subscription), "requested_at": func.now(), "done_at": None}
        if known is None:
            row = {"id": subscription.row.id, "kind": SUBSCRIPTION, "subject": subscription.name}
            connection.execute(follow_up.insert().values(**row, **values))
        else:
            connection.execute(follow_up.update().where(wanted).values(**values))
    return True


def kept(index: Index) -> list[tuple[Subscription, datetime]]:
    """The subscriptions that stand, and since when, by name."""
    wanted = (follow_up.c.kind == SUBSCRIPTION) & follow_up.c.done_at.is_(None)
    query = select(follow_up.c.parameters, follow_up.c.requested_at).where(wanted).order_by(follow_up.c.subject)
    with index.engine.connect() as connection:
        return [(Subscription(**row.parameters), row.requested_at) for row in connection.execute(query)]


def end(index: Index, name: str) -> int:
    """End a subscription and drop the answers that are due, whose number it returns; RequestError if there is none."""
    row = FollowUp(SUBSCRIPTION, name, {})
    with claimed(index, row, wait=True), index.engine.begin() as connection:
        wanted = (follow_up.c.id == row.id) & follow_up.c.done_at.is_(None)
        if not connection.execute(follow_up.update().where(wanted).values(done_at=func.now())).rowcount:
            known = connection.execute(
                select(follow_up.c.subject).where(follow_up.c.kind == SUBSCRIPTION, follow_up.c.done_at.is_(None))
            ).scalars()
            raise RequestError(f"no subscription {name!r}: there is {', '.join(sorted(known)) or 'none'}")
        return connection.execute(delete(follow_up).where(_of(name), follow_up.c.done_at.is_(None))).rowcount


def notice(index: Index, subscription: Subscription, since: datetime, scenes: Sequence[Scene]) -> int:
    """Note an answer for each pass of the scenes that came into the index since, each acquisition in one answer only; how many there were."""
    with claimed(index, subscription.row, wait=True):
        came = _arrivals(index, [scene.id for scene in scenes], since)
        answered = _answered(index, subscription.name)
        new = [scene for scene in scenes if scene.id in came and scene.acquisition not in answered]
        for one, members in passes_of(new):
            acquisitions = sorted({scene.acquisition for scene in members})
            asked = {
                "subscription": subscription.name,
                "pass": one.pass_id,
                "acquisitions": acquisitions,
                "items": sorted(scene.item_id for scene in members),
                "sensed_at": one.start.isoformat(),
                "arrived_at": max(came[scene.id] for scene in members).isoformat(),
            }
            note(index, FollowUp(ANSWER, f"{subscription.name}: {one.pass_id} ({', '.join(acquisitions)})", asked))
    return len(passes_of(new))


def latencies(index: Index) -> list[dict[str, Any]]:
    """Of each subscription that stands: `name`, `since`, answers `done` and `due`, and the seconds from a scene's arrival to its answer, `p50_s`, `p95_s`."""
    query = """
        select s.subject as name, s.requested_at as since, count(a.done_at) as done, count(a.id) - count(a.done_at) as due,
            percentile_cont(0.5) within group (order by extract(epoch from a.done_at - (a.parameters ->> 'arrived_at')::timestamptz)) as p50_s,
            percentile_cont(0.95) within group (order by extract(epoch from a.done_at - (a.parameters ->> 'arrived_at')::timestamptz)) as p95_s
        from neocube.follow_up s left join neocube.follow_up a on a.kind = 'answer' and a.parameters ->> 'subscription' = s.subject
        where s.kind = 'subscription' and s.done_at is null group by 1, 2 order by 1
    """
    with index.engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def _of(name: str) -> Any:  # noqa: ANN401, an SQL expression
    return (follow_up.c.kind == ANSWER) & (func.jsonb_extract_path_text(follow_up.c.parameters, "subscription") == name)


def _answered(index: Index, name: str) -> set[str]:
    with index.engine.connect() as connection:
        rows = connection.execute(select(follow_up.c.parameters).where(_of(name))).scalars()
        return {acquisition for row in rows for acquisition in row["acquisitions"]}


def _arrivals(index: Index, ids: Sequence[UUID], since: datetime) -> dict[UUID, datetime]:
    """When those of some datasets came that were added since."""
    query = text(f"select id, added from {dataset_rows(index)} r where id = any(:ids) and added > :since")
    with index.engine.connect() as connection:
        rows = connection.execute(query, {"ids": list(ids), "since": since})
        return {UUID(str(row.id)): row.added for row in rows}
