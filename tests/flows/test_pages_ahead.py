"""Pages read ahead: the same pages, one in advance, and what ends them comes in its turn."""

import threading
from collections.abc import Iterator

import pytest

from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.found_items import FoundItem
from flows.steps.ingesting.pages_ahead import read_ahead

PLACE = ItemPlace("file:///x", "/x", "/x", lambda _: frozenset())


def _page(number: int) -> list[FoundItem]:
    return [FoundItem(f"item_{number}", PLACE, {"id": number})]


def test_the_pages_are_the_same_in_the_same_order_and_an_empty_one_does_not_end_them() -> None:
    pages = [_page(0), [], _page(1)]
    assert list(read_ahead(iter(pages))) == pages


def test_the_next_page_is_read_while_one_is_taken_and_no_page_after_it() -> None:
    begun, release = [threading.Event() for _ in range(4)], threading.Event()

    def pages() -> Iterator[list[FoundItem]]:
        for number, event in enumerate(begun):
            event.set()
            if number == 2:
                release.wait(10)
            yield _page(number)

    ahead = read_ahead(pages())
    assert next(ahead)[0].id == "item_0"
    assert begun[1].wait(10)
    assert not begun[2].is_set()
    next(ahead)
    assert begun[2].wait(10) and not begun[3].is_set()
    release.set()
    assert [page[0].id for page in ahead] == ["item_2", "item_3"]


def test_what_ends_the_pages_is_raised_after_those_that_came() -> None:
    def pages() -> Iterator[list[FoundItem]]:
        yield _page(0)
        raise OSError("the disk is gone")

    ahead = read_ahead(pages())
    assert next(ahead)[0].id == "item_0"
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_pages_that_are_not_wanted_any_more_are_not_read() -> None:
    read = []

    def pages() -> Iterator[list[FoundItem]]:
        for number in range(100):
            read.append(number)
            yield _page(number)

    ahead = read_ahead(pages())
    next(ahead)
    ahead.close()
    assert len(read) <= 2
