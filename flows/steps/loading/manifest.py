"""What a load was asked to read, what it read, and what failed, asset by asset."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AssetRead:
    """One band of one scene: `outcome` is read, unneeded (no clear pixel by the mask) or failed (with its `cause`)."""

    scene: UUID
    item_id: str
    band: str
    outcome: str
    attempts: int = 1
    decoded_bytes: int = 0
    cause: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """All assets of one load, in scene and band order."""

    assets: tuple[AssetRead, ...]

    @property
    def failed(self) -> tuple[AssetRead, ...]:
        """The assets that could not be read."""
        return tuple(asset for asset in self.assets if asset.outcome == "failed")

    @property
    def unread_scenes(self) -> frozenset[UUID]:
        """The scenes of which an asset failed."""
        return frozenset(asset.scene for asset in self.failed)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of source pixels decoded."""
        return sum(asset.decoded_bytes for asset in self.assets)

    def document(self) -> dict[str, Any]:
        """JSON-able: counts, each failure, and each note."""
        outcomes = [asset.outcome for asset in self.assets]
        return {
            "expected": len(self.assets),
            "read": outcomes.count("read"),
            "unneeded": outcomes.count("unneeded"),
            "retried": sum(asset.attempts > 1 for asset in self.assets),
            "failed": _rows(self.failed, "cause"),
            "notes": _rows((asset for asset in self.assets if asset.note), "note"),
        }


def merged(strips: Sequence[ReadManifest]) -> ReadManifest:
    """The manifest of a load in strips as of one load: each asset once, failed if it failed in any strip, read if it was read in any.

    Decoded bytes are those of all strips, attempts the most of any.
    """
    if len(strips) == 1:
        return strips[0]
    by_scene: dict[UUID, list[AssetRead]] = {}
    for asset in (asset for strip in strips for asset in strip.assets):
        by_scene.setdefault(asset.scene, []).append(asset)
    made: list[AssetRead] = []
    for assets in by_scene.values():
        touched = list(dict.fromkeys(asset.band for asset in assets if asset.outcome != "unneeded"))
        bands = touched if len(touched) > 1 else list(dict.fromkeys(asset.band for asset in assets))
        made += [_one([asset for asset in assets if asset.band == band]) for band in bands]
    return ReadManifest(tuple(made))


def _one(reads: Sequence[AssetRead]) -> AssetRead:
    worst = min(reads, key=lambda asset: ("failed", "read", "unneeded").index(asset.outcome))
    return replace(
        worst,
        attempts=max(asset.attempts for asset in reads),
        decoded_bytes=sum(asset.decoded_bytes for asset in reads),
        note=next((asset.note for asset in reads if asset.note), ""),
    )


def _rows(assets: Iterable[AssetRead], word: str) -> list[dict[str, str]]:
    return [
        {key: str(value) for key, value in asdict(asset).items() if key in ("scene", "item_id", "band", word)}
        for asset in assets
    ]
