"""Locks that the database gives to one process at a time, and takes back where that process dies."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID, uuid5

from sqlalchemy import Engine, text

from datacube_config.connection import Index
from products.identity import NAMESPACE


def alone(index: Index, name: str) -> AbstractContextManager[bool]:
    """Be the only one at work of this name."""
    return _locked(index.engine, "hashtext(:key)", name, wait=True)


def alone_if_free(engine: Engine, name: str) -> AbstractContextManager[bool]:
    """Whether this process is the only one at work of this name; others are told so at once."""
    return _locked(engine, "hashtextextended(:key, 0)", name, wait=False)


def writer_of(index: Index, number: UUID, *, wait: bool = True) -> AbstractContextManager[bool]:
    """Be the one writer of what has this id; without `wait`, False at once where another is."""
    return _locked(index.engine, ":key", number.int & 0x7FFFFFFFFFFFFFFF, wait=wait)


def chooser_of(index: Index, place: str) -> AbstractContextManager[bool]:
    """Be the one who says which row is the active one at a place, of several that are published there at once."""
    return writer_of(index, uuid5(NAMESPACE, place))


def chooser_of_product(index: Index, name: str, version: int) -> AbstractContextManager[bool]:
    """The chooser of what is found by name and version alone, such as a model."""
    return chooser_of(index, f"{name}/{version}")


@contextmanager
def _locked(engine: Engine, number: str, key: str | int, *, wait: bool) -> Iterator[bool]:
    """Hold the lock whose number an SQL expression makes of the key; False where it is not waited for and another holds it."""
    take = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        answer = connection.scalar(text(f"select {take}({number})"), {"key": key})
        is_held = wait or bool(answer)
        try:
            yield is_held
        finally:
            if is_held:
                connection.execute(text(f"select pg_advisory_unlock({number})"), {"key": key})
