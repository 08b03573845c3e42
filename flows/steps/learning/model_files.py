"""The files of a model in the store: what was learned, its metrics, its card and pictures."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from flows.steps.networks.encoder_file import Encoder, encoder_from_bytes
from flows.steps.networks.saved_network import saved_network
from flows.steps.storage import Storage
from products.errors import RequestError
from products.learning.boosting import Boosting
from products.learning.clusters import Clusters
from products.learning.components import Components, components_from_bytes
from products.learning.forest import Forest
from products.learning.learned import Learned
from products.learning.linear import Linear
from products.learning.neighbours import Neighbours

COMPONENTS, CARD, STAC_ITEM, APPLICABILITY = "components.npz", "card.json", "item.json", "applicability.npz"
NETWORK, ENCODER = "network.safetensors", "encoder.safetensors"
READERS: Mapping[str, Callable[[bytes, str], Learned | Components | Encoder]] = {
    "random_forest.npz": Forest.from_bytes,
    "gradient_boosting.npz": Boosting.from_bytes,
    "linear.npz": Linear.from_bytes,
    "knn.npz": Neighbours.from_bytes,
    "kmeans.npz": Clusters.from_bytes,
    COMPONENTS: components_from_bytes,
    NETWORK: saved_network,
    ENCODER: encoder_from_bytes,
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The folder of one model: `<store>/models/<name>/<model id>/`; `learned` is the file of what was learned, one of `READERS`."""

    storage: Storage
    name: str
    id: UUID
    learned: str

    @property
    def folder(self) -> str:
        """Where the model lies."""
        return self.storage.path("models", self.name, str(self.id))

    def path(self, file: str) -> str:
        """Where a file of the model lies."""
        return f"{self.folder}/{file}"

    def url(self, file: str) -> str:
        """Its URL."""
        return self.storage.url(self.path(file))

    def are_whole(self) -> bool:
        """Whether what was learned, where it is applicable, and the card, which is written last, are there."""
        beside = () if self.learned in (COMPONENTS, ENCODER) else (APPLICABILITY,)
        return all(self.storage.exists(self.path(file)) for file in (self.learned, *beside, CARD))


def read_card(files: ModelFiles) -> dict[str, Any]:
    """The card of a model."""
    document: dict[str, Any] = json.loads(files.storage.read_bytes(files.path(CARD)))
    return document


def learned_file(names: Iterable[str], origin: str) -> str:
    """Which of some files of a model holds what was learned; RequestError if none that can be read here."""
    there = list(names)
    found = next((name for name in there if name in READERS), None)
    if found is None:
        raise RequestError(
            f"{origin} has {', '.join(there) or 'no file'}: expected one of {', '.join(READERS)}; a newer neocube may read it"
        )
    return found


def read_model(path: Path) -> Learned | Components | Encoder:
    """What a model has learned, from its file, whose name tells the kind; RequestError for a name that cannot be read here."""
    return READERS[learned_file([path.name], str(path.parent))](path.read_bytes(), str(path))


def read_learned(files: ModelFiles) -> Learned | Components | Encoder:
    """What was learned, checked."""
    path = files.path(files.learned)
    return READERS[files.learned](files.storage.read_bytes(path), path)
