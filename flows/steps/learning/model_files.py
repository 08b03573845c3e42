"""The files of a model in the store: what was learned, its metrics, its card and pictures."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.steps.networks.network import Network, network_from_bytes
from flows.steps.storage import Storage
from products.learning.components import Components, components_from_bytes
from products.learning.forest import Forest, forest_from_bytes

FOREST, COMPONENTS, NETWORK, CARD = "forest.npz", "components.npz", "network.safetensors", "card.json"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The folder of one model: `<store>/models/<name>/<model id>/`; `learned` is the file of its arrays."""

    storage: Storage
    name: str
    id: UUID
    learned: str = FOREST

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
        """Whether what was learned and the card, which is written last, are there."""
        return all(self.storage.exists(self.path(file)) for file in (self.learned, CARD))


def read_card(files: ModelFiles) -> dict[str, Any]:
    """The card of a model."""
    document: dict[str, Any] = json.loads(files.storage.read_bytes(files.path(CARD)))
    return document


def read_learned(files: ModelFiles) -> Forest | Components | Network:
    """The forest, the components or the network of a model, checked."""
    path = files.path(files.learned)
    content = files.storage.read_bytes(path)
    if files.learned == NETWORK:
        return network_from_bytes(content, path)
    return components_from_bytes(content, path) if files.learned == COMPONENTS else forest_from_bytes(content, path)
