"""What a load was asked to read, what it read, and what failed, asset by asset."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
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


def _rows(assets: Iterable[AssetRead], word: str) -> list[dict[str, str]]:
    return [
        {key: str(value) for key, value in asdict(asset).items() if key in ("scene", "item_id", "band", word)}
        for asset in assets
    ]
