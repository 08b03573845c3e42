"""Pages of a local archive, each read by a thread while the one before it is taken: the index is waited for meanwhile."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

from flows.steps.archives.found_items import FoundItem

Page = list[FoundItem]


def read_ahead(pages: Iterator[Page]) -> Generator[Page]:
    """The same pages in the same order, one read ahead; what ends them is raised where it would be without."""
    with ThreadPoolExecutor(1, "pages") as reader:
        following = reader.submit(next, pages, None)
        while (page := following.result()) is not None:
            following = reader.submit(next, pages, None)
            yield page
