"""Processes of two versions exclude each other: the numbers of the locks stay."""

from contextlib import AbstractContextManager
from uuid import UUID

import pytest
from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.index.advisory_locks import alone, alone_if_free, chooser_of_product, writer_of

HELD = """
select (classid::bigint << 32) | objid::bigint from pg_locks
where locktype = 'advisory' and objsubid = 1 and granted and database = (select oid from pg_database where datname = current_database())
"""
NUMBER = UUID("c5f0a1d2-0000-4000-9abc-0123456789ab")


def held(index: Index, lock: AbstractContextManager[bool]) -> list[int]:
    """The numbers that are held while a lock is, and no more afterwards: a pooled session outlives it."""
    with lock as is_held, index.engine.connect() as connection:
        numbers = list(connection.scalars(text(HELD)))
        assert is_held
    with index.engine.connect() as connection:
        assert list(connection.scalars(text(HELD))) == []
    return numbers


@pytest.mark.parametrize("wait", [True, False])
def test_a_writer_holds_the_low_bits_of_the_id(index: Index, wait: bool) -> None:
    assert held(index, writer_of(index, NUMBER, wait=wait)) == [0x1ABC0123456789AB]


def test_the_chooser_of_a_product_holds_a_number_of_its_name_and_version(index: Index) -> None:
    assert held(index, chooser_of_product(index, "mangrove_extent", 2)) == [0x33D9AE27D552093B]


def test_named_locks_hold_the_hashes_of_their_names(index: Index) -> None:
    with index.engine.connect() as connection:
        query = text("select hashtext('neocube ingest')::bigint, hashtextextended('neocube harvest x', 0)")
        short, extended = connection.execute(query).one()
    assert held(index, alone(index, "neocube ingest")) == [short]
    assert held(index, alone_if_free(index.engine, "neocube harvest x")) == [extended]


def test_one_holds_a_lock_and_the_next_gets_it_afterwards(index: Index) -> None:
    with alone_if_free(index.engine, "x") as is_first, alone_if_free(index.engine, "x") as is_second:
        assert (is_first, is_second) == (True, False)
    with alone_if_free(index.engine, "x") as is_free_again:
        assert is_free_again
