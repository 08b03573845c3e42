"""What a STAC item is a picture of: sensor, acquisition, rendition and pass, the same from every catalogue."""

import re

from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.scenes.acquisition import Identity, fullest
from flows.steps.scenes.item_facts import Item, text, texts_of
from flows.steps.scenes.landsat_identity import LANDSAT_ID, landsat_scene
from flows.steps.scenes.msi_identity import MSI_ID, msi_scene

EARTH_SEARCH_ID = re.compile(r"(S2[A-D])_T?\d{2}[C-X][A-Z]{2}_", re.ASCII)


def identify(item: Item) -> Identity:
    """The identity of an item; ItemRefused with the fact that is missing."""
    platform = _platform(item)
    if platform.startswith("landsat-"):
        return landsat_scene(item, platform)
    if platform.startswith("sentinel-2"):
        return msi_scene(item, platform)
    raise ItemRefused(
        f"platform {brief(platform)} of collection {brief(item.get('collection'))} is not read: "
        "expected Landsat 4 to 9 Collection 2 Level-2 or Sentinel-2 L2A"
    )


def _platform(item: Item) -> str:
    """`landsat-8`, `sentinel-2a`: as the item says, or its product id."""
    if stated := text(item["properties"], "platform", "eo:platform"):
        return stated.lower().replace("_", "-").replace(" ", "-")
    if landsat := fullest(LANDSAT_ID, texts_of(item)):
        return f"landsat-{landsat[1]}"
    if msi := fullest(MSI_ID, texts_of(item)) or EARTH_SEARCH_ID.match(item["id"]):
        return f"sentinel-{msi[1][1:].lower()}"
    of = text(item, "collection")
    product = f"; the item is of {brief(of)}" if of else ""
    raise ItemRefused(f"no platform: expected `platform` in the properties, or a product id{product}")
