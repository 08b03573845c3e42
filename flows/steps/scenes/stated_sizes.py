"""How long an item says that its files are."""

from collections.abc import Mapping
from typing import Any

from flows.steps.archives.href_secrets import without_secrets

LARGEST_BYTES = 2**50


def stated_sizes(assets: Mapping[str, Mapping[str, Any]], hrefs: Mapping[str, str]) -> dict[str, int]:
    """Bytes by band, as `file:size` of the STAC file extension says it, of the files that the hrefs themselves name.

    A file of the same name beside the item may be an overview or a staged copy, so nothing is known of its length.
    """
    return {
        band: size
        for band, path in hrefs.items()
        if (size := assets[band].get("file:size")) is not None and _is_size(size) and _is_named(assets[band], path)
    }


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_BYTES


def _is_named(asset: Mapping[str, Any], path: str) -> bool:
    href = str(asset["href"])
    return "://" not in href or path in (href, without_secrets(href))
