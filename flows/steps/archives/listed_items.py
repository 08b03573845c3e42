"""Everything that an archive lists, an API in the turn that all workers share; nothing is taken and nothing is marked."""

from collections.abc import Iterator

from sqlalchemy import Engine

from datacube_config.archives import archive_table
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import FoundItem, Wanted, archive_location, read_items, stac_api
from flows.steps.archives.items_api import StacApi, api_item
from flows.steps.archives.listed_pages import Pages
from flows.steps.archives.polite_requests import Patience, open_client
from flows.steps.archives.rate_limit import bucket_of
from flows.steps.archives.stac_api import PageRequest, Provider, Search, first_request
from products.errors import RequestError


def listed_items(engine: Engine, archive: str, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    """Every wanted item; RequestError if there is no such archive, or it is a queue, which tells only what is new."""
    known = archive_table().archives.get(archive_location(archive))
    if archive.startswith("sqs://") or (known is not None and known.kind == "queue"):
        raise RequestError(
            f"{archive} is a queue, which does not list what there is: name the archive that it notifies of"
        )
    api = stac_api(archive, wanted, files)
    return read_items(archive, wanted, files) if api is None else _of_api(engine, api, wanted, files)


def _of_api(engine: Engine, api: StacApi, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    patience, paging = Patience(), api.paging
    search = Search(api.collections, wanted.bounds, wanted.interval, method=paging.method, page_items=paging.items)
    with open_client(patience) as client:
        pages = Pages(Provider(client, bucket_of(api.url, api.requests_per_second, engine), patience))
        request: PageRequest | None = first_request(api.url, search)
        while request is not None:
            page = pages.read(request)
            yield from (api_item(item, api, files) for item in page.features)
            request = page.following
