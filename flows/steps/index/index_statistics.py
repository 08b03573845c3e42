"""What PostgreSQL believes of ODC's tables, kept true while they grow faster than its own housekeeping comes round."""

from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.index.bulk_schema import CHECKED

# Half a table unknown, and at least 100 blocks: a growing table is looked at each time that it has doubled.
_DOUBLED = text("""
    select pg_relation_size(oid) / current_setting('block_size')::int > 2 * greatest(relpages, 0) + 100
    from pg_class where oid = to_regclass(:table)
""")


def refresh_statistics(index: Index) -> None:
    """Analyse the tables that have doubled since they were last; without the documents, whose fields take long.

    A table believed to be empty is searched by whichever index, at the cost of reading all of it.
    """
    with index.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table, columns in CHECKED[index.driver].items():
            if connection.scalar(_DOUBLED, {"table": table}):
                names = [column.partition(" ")[0] for column in columns]
                plain = ", ".join(name for name in names if name != "metadata")
                connection.execute(text(f"analyze {table} ({plain})"))
