"""Models learned from tables and pictures: what they learned from lies nowhere, so the index does not know them; each is a folder of the store."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.steps.storage import Storage
from flows.steps.storage_listing import numbered
from products.errors import RequestError
from products.formula import near
from products.learning.box_recipe import BoxRecipe
from products.learning.line_recipe import LineRecipe
from products.learning.table_recipe import TableRecipe

KINDS = ("tables", "lines", "boxes")
CARD, CARD_TEXT, RETIRED = "card.json", "card.md", "retired.json"


@dataclass(frozen=True, slots=True)
class UnindexedModel:
    """The folder of one model, `<store>/<kind>/<name>/<id>/`: whole once its card is there, retired while it says so itself."""

    storage: Storage
    kind: str
    name: str
    id: UUID

    @property
    def folder(self) -> str:
        """Where the model lies."""
        return self.storage.path(self.kind, self.name, str(self.id))

    def path(self, file: str) -> str:
        """Where a file of the model lies."""
        return f"{self.folder}/{file}"

    @property
    def is_whole(self) -> bool:
        """Whether its card is there, which is written last."""
        return self.storage.exists(self.path(CARD))

    @property
    def retired_by(self) -> UUID | None:
        """The retirement that took it out of use; None for an active model."""
        if not self.storage.exists(self.path(RETIRED)):
            return None
        return UUID(json.loads(self.storage.read_bytes(self.path(RETIRED)))["retirement"])

    def card(self) -> dict[str, Any]:
        """What its card says."""
        document: dict[str, Any] = json.loads(self.storage.read_bytes(self.path(CARD)))
        return document

    def known(self) -> dict[str, Any] | None:
        """What the card says, where the same was learned before; a retired model is active again."""
        if not self.is_whole:
            return None
        self.restore()
        return {**self.card(), "trained": False}

    def publish(
        self,
        recipe: TableRecipe | LineRecipe | BoxRecipe,
        metrics: Mapping[str, Any],
        notes: Sequence[str],
        files: Mapping[str, bytes],
        told: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the files, and last the card; returns it."""
        document: dict[str, Any] = {
            "model": str(self.id),
            "name": recipe.name,
            "version": recipe.version,
            "metrics": metrics,
            "notes": list(notes),
            "recipe": recipe.model_dump(mode="json"),
            "card": self.path(CARD_TEXT),
            **told,
        }
        self.restore()
        for name, content in files.items():
            self.storage.write_bytes(self.path(name), content)
        self.storage.write_bytes(self.path(CARD), json.dumps(document, indent=1).encode())
        return {**document, "trained": True}

    def retire(self, retirement: UUID, reason: str) -> None:
        """Take it out of use until it is restored, learned again or swept."""
        said = {"retirement": str(retirement), "reason": reason}
        self.storage.write_bytes(self.path(RETIRED), json.dumps(said).encode())

    def restore(self) -> None:
        """Make it active."""
        self.storage.remove(self.path(RETIRED))

    def remove(self) -> None:
        """Delete it: first the card, which says that it is whole, last what says that it is retired."""
        self.storage.remove(self.path(CARD))
        self.storage.remove_folder(self.folder, last=self.path(RETIRED))


def unindexed_models(storage: Storage) -> Iterator[UnindexedModel]:
    """Every folder of a model in the store, whole or not."""
    for kind in KINDS:
        for product, number in numbered(storage, kind):
            yield UnindexedModel(storage, kind, product, number)


def model_of_pictures(storage: Storage, asked: str) -> UnindexedModel:
    """The active model of a name, in its highest version, or of an id, that was learned from pictures; RequestError unless it is one."""
    every = [
        each for each in unindexed_models(storage) if each.kind != "tables" and each.is_whole and not each.retired_by
    ]
    found = [each for each in every if asked in (each.name, str(each.id))]
    if not found:
        names = sorted({each.name for each in every})
        said = ", ".join(names) or "none, nothing is trained with --pictures"
        raise RequestError(f"no model {asked!r} was learned from pictures: expected one of {said}{near(asked, names)}")
    versions = [each.card()["version"] for each in found]
    newest = [each for each, version in zip(found, versions, strict=True) if version == max(versions)]
    if len(newest) > 1:
        ids = ", ".join(str(each.id) for each in newest)
        raise RequestError(
            f"{len(newest)} models are named {asked}, version {max(versions)}: give the id of one of {ids}"
        )
    return newest[0]
