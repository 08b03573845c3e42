"""Items that a queue (SQS) announces: STAC items, S3 events, and either wrapped by a topic (SNS)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.found_items import FoundItem, Source, links_of
from flows.steps.archives.items_static import items_at
from flows.steps.archives.json_documents import parse_document
from flows.steps.archives.polite_requests import ApiUnavailable
from flows.steps.archives.site_files import SiteStopped
from products.errors import RequestError

PAGE_MESSAGES = 200
VISIBILITY_S = 900
WAIT_S = 1
ENVELOPES = 3
REMOVALS = ("ObjectRemoved", "LifecycleExpiration")


class QueueUnavailable(RequestError):
    """The queue did not answer as one does; the message says which, and in whose words."""


class _Delivery:
    """A message whose items are counted down; the last one settled deletes it."""

    def __init__(self, delete: Callable[[], None]) -> None:
        self._delete, self.n_open = delete, 0

    def settle(self) -> None:
        self.n_open -= 1
        if self.n_open == 0:
            self._delete()


def queue_pages(location: str, source: Source) -> Iterator[list[FoundItem]]:
    """The items of the messages that wait in a queue, a page at a time, until it is empty.

    A message stays until all its items are acknowledged; one that is not comes again after 15 minutes. ApiUnavailable, after the items
    before, where one names an object in a bucket that does not answer: it stays too.
    """
    client, url = _client(location, source.files)
    while True:
        page, n_messages = list[FoundItem](), 0
        try:
            while n_messages < PAGE_MESSAGES and (messages := _received(client, url)):
                n_messages += len(messages)
                for message in messages:
                    page += _announced(message, url, source, client)
        except SiteStopped as stopped:
            if page:
                yield page
            raise ApiUnavailable(f"{stopped}: messages that are not settled come again after 15 minutes") from stopped
        if not n_messages:
            return
        yield page


def _announced(message: dict[str, Any], url: str, source: Source, client: Any) -> list[FoundItem]:  # noqa: ANN401
    """The items of a message, each with the way to settle it; a message that announces none is an item with a cause."""
    number, body = str(message["MessageId"]), str(message["Body"])
    location = f"sqs://{url.partition('://')[2]}#{number}"
    delivery = _Delivery(lambda: _delete(client, url, message["ReceiptHandle"]))
    try:
        items = list(_items_in(parse_document(body.encode()), location, source))
    except ValueError as error:
        cause = f"unreadable message: {error}: expected a STAC item, an S3 event, or a notification with one"
        items = [FoundItem(number, source.place(location), {"id": number, "sqs:body": body}, cause)]
    delivery.n_open = len(items)
    if not items:
        _delete(client, url, message["ReceiptHandle"])
    return [replace(item, acknowledge=delivery.settle) for item in items]


def _items_in(document: Any, location: str, source: Source, depth: int = 0) -> Iterator[FoundItem]:  # noqa: ANN401
    if not isinstance(document, dict) or depth > ENVELOPES:
        raise ValueError(f"the body is {type(document).__name__}")
    if document.get("Type") == "Notification" and isinstance(document.get("Message"), str):
        yield from _items_in(parse_document(document["Message"].encode()), location, source, depth + 1)
    elif document.get("type") == "Feature":
        yield _announced_item(document, location, source)
    elif document.get("type") == "FeatureCollection" and isinstance(document.get("features"), list):
        for feature in document["features"]:
            yield _announced_item(feature, location, source)
    elif isinstance(document.get("Records"), list):
        for record in document["Records"]:
            yield from _stored_item(record, source)
    elif isinstance(document.get("s3_location"), str) and "landsat_product_id" in document:
        yield from _items_at(f"{document['s3_location']}{document['landsat_product_id']}_SR_stac.json", source)
    elif document.get("Event") != "s3:TestEvent":
        raise ValueError(f"the body has the keys {', '.join(sorted(map(str, document))[:12])}")


def _announced_item(document: Any, location: str, source: Source) -> FoundItem:  # noqa: ANN401
    """An item in a message: its own address is its place, if it is one that its hrefs may name."""
    own = next((str(link.get("href")) for link in links_of(document) if link.get("rel") == "self"), "")
    own = own if own.isprintable() else ""
    if own.startswith("s3://") and _allows(own, source):
        inside = Source(f"s3://{urlsplit(own).hostname}", source.files, source.hosts, source.alternate)
        return inside.found(document, own)
    return source.found(document, own if own.startswith("https://") and _allows(own, source) else location)


def _stored_item(record: Any, source: Source) -> Iterator[FoundItem]:  # noqa: ANN401
    try:
        bucket, key = str(record["s3"]["bucket"]["name"]), unquote_plus(str(record["s3"]["object"]["key"]))
        event = str(record["eventName"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a record without {error}") from error
    location = f"s3://{bucket}/{key}"
    if not key.endswith((".json", ".geojson")):
        return
    if event.removeprefix("s3:").startswith(REMOVALS) and _is_away(location, source):
        yield FoundItem(key.rpartition("/")[2], source.place(location), None, is_removed=True)
    else:
        yield from _items_at(location, source)


def _is_away(location: str, source: Source) -> bool:
    """Whether an object of this archive is not there now: events come in any order, and it may have come back."""
    if not _allows(location, source):
        return False
    try:
        source.files.filesystem(location).info(location)
    except FileNotFoundError:
        return True
    except (OSError, BotoCoreError, ClientError):
        return False
    return False


def _items_at(location: str, source: Source) -> Iterator[FoundItem]:
    """The item at an address that a message names, read with the keys of that bucket."""
    parts = urlsplit(location)
    if parts.scheme != "s3" or not parts.hostname or not _allows(location, source):
        cause = f"{location!r} is not in a bucket of this archive: {', '.join(source.hosts) or 'expected an s3:// URL'}"
        yield FoundItem(location.rpartition("/")[2], source.place(location), None, cause)
        return
    inside = Source(f"s3://{parts.hostname}", source.files, source.hosts, source.alternate)
    yield from items_at([location], inside, quiet=True)


def _allows(location: str, source: Source) -> bool:
    host = (urlsplit(location).hostname or "").lower()
    return not source.hosts or any(fnmatch(host, pattern) for pattern in source.hosts)


def _client(location: str, files: ArchiveFiles) -> tuple[Any, str]:
    """The SQS client and the URL of the queue that sqs://NAME or sqs://https://HOST/ACCOUNT/NAME means."""
    name = location.removeprefix("sqs://")
    parts = urlsplit(name) if "://" in name else None
    options = dict(files.client_options)
    if parts is not None:
        options["endpoint_url"] = f"{parts.scheme}://{parts.netloc}"
    try:
        client = boto3.client("sqs", **options)
        return client, name if parts is not None else str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except (BotoCoreError, ClientError, ValueError) as error:
        raise QueueUnavailable(
            f"no queue {location}: {error}: expected sqs://NAME or sqs://URL, and keys and a region"
        ) from error


def _received(client: Any, url: str) -> list[dict[str, Any]]:  # noqa: ANN401
    try:
        answer = client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=WAIT_S, VisibilityTimeout=VISIBILITY_S
        )
    except (BotoCoreError, ClientError) as error:
        raise QueueUnavailable(f"{url}: {error}") from error
    return list(answer.get("Messages", []))


def _delete(client: Any, url: str, receipt: str) -> None:  # noqa: ANN401
    try:
        client.delete_message(QueueUrl=url, ReceiptHandle=receipt)
    except (BotoCoreError, ClientError) as error:
        raise QueueUnavailable(f"{url}: {error}") from error
