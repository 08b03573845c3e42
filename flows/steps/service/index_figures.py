"""What the index says of the service now: each query gives its columns as labels and values of metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.index.index_rows import SCENE_KIND, dataset_rows, lineage_rows
from flows.steps.service.service_metrics import METRICS, Reading
from products.template import CELL_KIND

Column = tuple[str, Mapping[str, str]]  # a metric, and labels beside those of the row
ACTIVE, ARCHIVED = {"state": "active"}, {"state": "archived"}
MEDIAN, HIGH = {"statistic": "median"}, {"statistic": "p95"}
CORE_SECONDS = "neocube_cells_last_day_core_seconds"


@dataclass(frozen=True, slots=True)
class Question:
    """A query: its columns are values where `values` names them, and labels of the metrics that have such; no value where it is null."""

    query: str
    values: Mapping[str, Column]


# A document takes 16 us to unpack: those of scenes are left alone, but for one of each product.
SCENES = Question(
    """
    select coalesce(one.collection, product) as collection, sum(active) as active, sum(archived) as archived, sum(last_day) as last_day,
        extract(epoch from max(last_added)) as last_added
    from (
        select product, count(*) filter (where archived is null) as active, count(archived) as archived,
            count(*) filter (where added > now() - interval '1 day') as last_day, max(added) as last_added
        from {rows} r where kind = '{scene}' group by 1
    ) counted, lateral (select facts ->> 'neocube:collection' as collection from {rows} r where r.product = counted.product limit 1) one
    group by 1
    """,
    {
        "active": ("neocube_scenes", ACTIVE),
        "archived": ("neocube_scenes", ARCHIVED),
        "last_day": ("neocube_scenes_last_day", {}),
        "last_added": ("neocube_scene_added_timestamp_seconds", {}),
    },
)
CELLS = Question(
    """
    select r.product, coalesce(r.facts ->> 'odc:product_family', 'features') as family,
        count(*) filter (where r.archived is null) as active, count(*) filter (where r.archived is not null) as archived,
        count(*) filter (where r.added > now() - interval '1 day') as last_day, extract(epoch from max(r.added)) as newest,
        count(stale.derived) filter (where r.archived is null) as stale,
        count(*) filter (where r.archived is null and r.facts #> '{{neocube:manifest,failed,0}}' is not null) as unread
    from {cells} r left join (
        select distinct e.derived from {lineage} e join {rows} s on s.id = e.source where s.archived is not null
    ) stale on stale.derived = r.id
    where r.facts ->> 'odc:product_family' is distinct from 'model' group by 1, 2
    """,
    {
        "active": ("neocube_cells", ACTIVE),
        "archived": ("neocube_cells", ARCHIVED),
        "last_day": ("neocube_cells_last_day", {}),
        "newest": ("neocube_cell_newest_timestamp_seconds", {}),
        "stale": ("neocube_cells_stale", {}),
        "unread": ("neocube_cells_unread", {}),
    },
)
BUILDS = Question(
    """
    select product, percentile_cont(0.5) within group (order by total) as median_s,
        percentile_cont(0.95) within group (order by total) as high_s,
        percentile_cont(0.5) within group (order by loading) as loading_s,
        percentile_cont(0.5) within group (order by computing) as computing_s,
        percentile_cont(0.5) within group (order by decoded) as median_bytes,
        percentile_cont(0.95) within group (order by decoded) as high_bytes, sum(total * threads) as core_s
    from (
        select product, (facts ->> 'neocube:decoded_bytes')::float8 as decoded, (facts -> 'neocube:seconds' ->> 'total')::float8 as total,
            (facts ->> 'neocube:threads')::float8 as threads,
            (facts -> 'neocube:seconds' ->> 'loading')::float8 as loading, (facts -> 'neocube:seconds' ->> 'computing')::float8 as computing
        from {cells} r where added > now() - interval '1 day'
    ) built group by product
    """,
    {
        "median_s": ("neocube_cell_build_seconds", MEDIAN),
        "high_s": ("neocube_cell_build_seconds", HIGH),
        "loading_s": ("neocube_cell_stage_seconds", {"stage": "loading"}),
        "computing_s": ("neocube_cell_stage_seconds", {"stage": "computing"}),
        "median_bytes": ("neocube_cell_decoded_bytes", MEDIAN),
        "high_bytes": ("neocube_cell_decoded_bytes", HIGH),
        "core_s": (CORE_SECONDS, {}),
    },
)
MODELS = Question(
    """
    select product, count(*) filter (where archived is null) as active, count(*) filter (where archived is not null) as archived,
        extract(epoch from max(added)) as newest
    from {cells} r where facts ->> 'odc:product_family' = 'model' group by 1
    """,
    {
        "active": ("neocube_models", ACTIVE),
        "archived": ("neocube_models", ARCHIVED),
        "newest": ("neocube_model_newest_timestamp_seconds", {}),
    },
)
CUBES = Question(
    "select product, count(*) as cubes, extract(epoch from max(updated)) as updated from neocube.cube_pointer group by 1",
    {"cubes": ("neocube_cubes", {}), "updated": ("neocube_cube_updated_timestamp_seconds", {})},
)
ITEMS = Question(
    """
    select archive, collection, state, count(*) as items, extract(epoch from max(acquired) filter (where state = 'indexed')) as newest
    from (
        select k.archive, k.collection, k.acquired, case
                when k.gone_at is not null then 'gone' when q.collections && array[k.collection, ''] then 'quarantined'
                when k.dataset_id is null and k.note is not null then 'part' when r.id is null then 'missing'
                when r.archived is null then 'indexed' else 'archived' end as state
        from neocube.known_item k
            left join (select archive, item_id, array_agg(collection) as collections from neocube.quarantine group by 1, 2) q using (archive, item_id)
            left join {rows} r on r.id = k.dataset_id
    ) known group by 1, 2, 3
    """,
    {"items": ("neocube_archive_items", {}), "newest": ("neocube_scene_newest_timestamp_seconds", {})},
)
HARVESTS = Question(
    "select archive, collection, extract(epoch from max(updated)) as updated from neocube.harvest group by 1, 2",
    {"updated": ("neocube_archive_harvested_timestamp_seconds", {})},
)
QUARANTINE = Question(
    """
    select place.archive, place.collection, count(q.id) as items, extract(epoch from min(q.since)) as oldest
    from (
        select archive, collection from neocube.harvest union select archive, coalesce(collection, '') from neocube.quarantine
    ) place left join neocube.quarantine q on q.archive = place.archive and coalesce(q.collection, '') = place.collection
    group by 1, 2
    """,
    {"items": ("neocube_quarantine_items", {}), "oldest": ("neocube_quarantine_oldest_timestamp_seconds", {})},
)
PROVIDERS = Question(
    "select provider, extract(epoch from closed_until) as closed from neocube.rate_limit where closed_until > now()",
    {"closed": ("neocube_provider_closed_until_timestamp_seconds", {})},
)
FOLLOW_UPS = Question(
    """
    select wanted.kind, count(f.id) as works, extract(epoch from min(f.requested_at)) as oldest
    from unnest(array['train', 'map', 'answer']) as wanted (kind) left join neocube.follow_up f on f.kind = wanted.kind and f.done_at is null
    group by 1
    """,
    {"works": ("neocube_follow_ups", {}), "oldest": ("neocube_follow_up_oldest_timestamp_seconds", {})},
)
SUBSCRIPTIONS = Question(
    """
    select s.subject as subscription, count(a.id) as answers, percentile_cont(0.5) within group (order by a.seconds) as median_s,
        percentile_cont(0.95) within group (order by a.seconds) as high_s
    from neocube.follow_up s left join (
        select id, parameters ->> 'subscription' as name, extract(epoch from done_at - (parameters ->> 'arrived_at')::timestamptz) as seconds
        from neocube.follow_up where kind = 'answer' and done_at > now() - interval '30 days'
    ) a on a.name = s.subject
    where s.kind = 'subscription' and s.done_at is null group by 1
    """,
    {
        "answers": ("neocube_subscription_answers_last_month", {}),
        "median_s": ("neocube_subscription_answer_seconds", MEDIAN),
        "high_s": ("neocube_subscription_answer_seconds", HIGH),
    },
)
QUESTIONS = (SCENES, CELLS, BUILDS, MODELS, CUBES, ITEMS, HARVESTS, QUARANTINE, PROVIDERS, FOLLOW_UPS, SUBSCRIPTIONS)


def index_readings(index: Index) -> list[Reading]:
    """Every figure that the index has, as it is now, of one moment."""
    relations = {
        "rows": dataset_rows(index),
        "cells": _cell_rows(index),
        "lineage": lineage_rows(index),
        "scene": SCENE_KIND,
    }
    readings: list[Reading] = []
    snapshot = index.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with snapshot as connection:
        connection.execute(text("set local timezone = 'UTC'"))
        for question in QUESTIONS:
            for row in connection.execute(text(question.query.format(**relations))).mappings():
                readings += _readings(question, dict(row))
    return readings


def newest_cells(index: Index) -> dict[str, str]:
    """The id of the active cell, of features or a map, that was published last of each product."""
    query = f"""
        select distinct on (product) product, id::text from {_cell_rows(index)} r
        where archived is null and coalesce(facts ->> 'odc:product_family', 'map') = 'map'
        order by product, added desc, id
    """
    with index.engine.connect() as connection:
        return {row.product: row.id for row in connection.execute(text(query))}


def _cell_rows(index: Index) -> str:
    """The rows of cells, models and training sets; `offset 0` keeps PostgreSQL from unpacking the documents of scenes for a filter."""
    return f"(select * from {dataset_rows(index)} every where kind = '{CELL_KIND}' offset 0)"


def _readings(question: Question, row: Mapping[str, Any]) -> Iterator[Reading]:
    for column, (metric, more) in question.values.items():
        if row[column] is not None:
            labels = {name: more.get(name) or str(row[name]) for name in METRICS[metric].labels}
            yield Reading(metric, float(row[column]), labels)
