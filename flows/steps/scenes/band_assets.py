"""Which asset of an item holds each band: by the name that its catalogue gives it, else by the band that it declares."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from datacube_config.archives import asset_names
from flows.steps.archives.item_refused import ItemRefused
from products.sensors import Sensor

MAX_REMEMBERED = 4000  # characters of the asset names of one item

Asset = dict[str, Any]


def band_assets(assets: dict[str, Any], sensor: Sensor, archive: str) -> dict[str, Asset]:
    """The item's asset for each band of the sensor; ItemRefused for a required band without one.

    Declared bands count only where no reflectance has a known name: an item may hold a second set of files with an
    offset of its own (the JP2 beside the COG of Earth Search v1).
    """
    names = tuple([name for name, asset in assets.items() if isinstance(asset, dict) and asset.get("href")])
    wanted = asset_names(sensor.name, archive)
    choose = _choice if sum(map(len, names)) <= MAX_REMEMBERED else _choice.__wrapped__
    found = {band: assets[name] for band, name in choose(names, tuple(wanted.items())).items()}
    if not any(band in found for band in sensor.reflectance):
        by_name = {_plain(name): assets[name] for name in names}
        found = _named({**_declared(by_name.values()), **by_name}, wanted)
    for band, names in wanted.items():
        if band not in found and (band in sensor.reflectance or band == sensor.mask):
            raise ItemRefused(f"missing asset {band}: the item has none of {', '.join(names)} with an href")
    return found


@lru_cache(maxsize=256)
def _choice(names: tuple[str, ...], wanted: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, str]:
    """Which of some asset names has each band."""
    by_plain_name = {_plain(name): name for name in names}
    found = ((band, next((name for name in known if _plain(name) in by_plain_name), None)) for band, known in wanted)
    return {band: by_plain_name[_plain(name)] for band, name in found if name is not None}


def _named(assets: dict[str, Asset], wanted: dict[str, tuple[str, ...]]) -> dict[str, Asset]:
    """The first asset of the wanted names, by band."""
    found = {}
    for band, names in wanted.items():
        for name in names:
            if (plain := _plain(name)) in assets:
                found[band] = assets[plain]
                break
    return found


def _declared(assets: Any) -> dict[str, Asset]:  # noqa: ANN401, a view of assets
    """Assets of one band by the names in `bands` (STAC 1.1) or `eo:bands` (0.8 to 1.0) that no other asset has."""
    found: dict[str, list[Asset]] = {}
    for asset in assets:
        if _is_data(asset):
            for name in set(_band_names(asset)):
                found.setdefault(name, []).append(asset)
    return {name: members[0] for name, members in found.items() if len(members) == 1}


def _is_data(asset: Asset) -> bool:
    roles = asset.get("roles")
    return not isinstance(roles, list) or not {"overview", "thumbnail", "visual"}.intersection(
        role for role in roles if isinstance(role, str)
    )


def _band_names(asset: Asset) -> Iterator[str]:
    bands = asset.get("bands") or asset.get("eo:bands")
    if isinstance(bands, list) and len(bands) == 1 and isinstance(bands[0], dict):
        for key in ("eo:common_name", "common_name", "name"):
            if isinstance(name := bands[0].get(key), str):
                yield _plain(name)


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    lower = name.lower()
    return lower.removesuffix(".tif").removesuffix(".jp2")
