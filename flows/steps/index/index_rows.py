"""ODC's tables as plain relations, the same for both index drivers: for questions and changes that concern many datasets."""

from uuid import UUID

from sqlalchemy import Connection, text

from datacube_config.connection import Index

SCENE_KIND = "neocube_scene"

# schema, column of the product, lineage as (derived, source)
_SHAPES = {
    "postgres": (
        "agdc",
        "dataset_type",
        "dataset_type_ref",
        "select dataset_ref as derived, source_dataset_ref as source from agdc.dataset_source",
    ),
    "postgis": (
        "odc",
        "product",
        "product_ref",
        "select derived_dataset_ref as derived, source_dataset_ref as source from odc.dataset_lineage",
    ),
}


def dataset_rows(index: Index) -> str:
    """A sub-select of every dataset: id, product, kind (its metadata type), facts (its properties), metadata, added, archived."""
    schema, products, product, _ = _SHAPES[index.driver]
    return (
        "(select d.id, p.name as product, m.name as kind, d.metadata -> 'properties' as facts, d.metadata, d.added, d.archived "
        f"from {schema}.dataset d join {schema}.{products} p on p.id = d.{product} "
        f"join {schema}.metadata_type m on m.id = d.metadata_type_ref)"
    )


def lineage_rows(index: Index) -> str:
    """A sub-select of (derived, source)."""
    return f"({_SHAPES[index.driver][3]})"


def snapshot_of(index: Index) -> str:
    """Which transactions have ended (PostgreSQL's `pg_snapshot`): two that are equal see the same rows."""
    with index.engine.connect() as connection:
        return str(connection.execute(text("select pg_current_snapshot()::text")).scalar_one())


def source_ids(index: Index, derived: UUID) -> list[UUID]:
    """The ids of what a dataset was made of."""
    statement = text(f"select source from {lineage_rows(index)} l where derived = :derived order by source")
    with index.engine.connect() as connection:
        return list(connection.execute(statement, {"derived": derived}).scalars())


def archive_selected(connection: Connection, index: Index, selected: str) -> int:
    """Archive the active datasets whose ids are in the table `selected`, as ODC's `archive` does; how many there were."""
    table = f"{_SHAPES[index.driver][0]}.dataset"
    statement = f"update {table} set archived = now() where archived is null and id in (select id from {selected})"
    return connection.execute(text(statement)).rowcount


def restore_selected(connection: Connection, index: Index, selected: str) -> int:
    """Make the archived datasets whose ids are in the table `selected` active again, as ODC's `restore` does."""
    table = f"{_SHAPES[index.driver][0]}.dataset"
    statement = f"update {table} set archived = null where archived is not null and id in (select id from {selected})"
    return connection.execute(text(statement)).rowcount
