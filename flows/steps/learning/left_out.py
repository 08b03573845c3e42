"""Pictures answered by models that never saw them, and what such a model leaves in the store."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from flows.steps.storage import Storage
from products.errors import RequestError
from products.learning.box_recipe import BoxRecipe
from products.learning.line_recipe import LineRecipe

M = TypeVar("M")
A = TypeVar("A")
CARD, CARD_TEXT = "card.json", "card.md"


@dataclass(frozen=True, slots=True)
class PictureModelFiles:
    """The folder of one model that was learned from pictures: `<store>/<kind>/<name>/<id>/`; the index knows nothing of it."""

    storage: Storage
    kind: str
    name: str
    id: UUID

    def path(self, file: str) -> str:
        """Where a file of the model lies."""
        return self.storage.path(self.kind, self.name, str(self.id), file)

    def known(self) -> dict[str, Any] | None:
        """What the card says, where the same was learned before."""
        if not self.storage.exists(self.path(CARD)):
            return None
        document: dict[str, Any] = json.loads(self.storage.read_bytes(self.path(CARD)))
        return {**document, "trained": False}

    def publish(
        self,
        recipe: LineRecipe | BoxRecipe,
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
        }
        document |= {"notes": notes, "recipe": recipe.model_dump(mode="json"), "card": self.path(CARD_TEXT), **told}
        for name, content in files.items():
            self.storage.write_bytes(self.path(name), content)
        self.storage.write_bytes(self.path(CARD), json.dumps(document, indent=1).encode())
        return {**document, "trained": True}


def dealt(groups: Sequence[str], folds: int | None) -> list[list[int]]:
    """The numbers of the pictures, whose groups are given, that are left out together: those of each group, or of the groups dealt into `folds`."""
    names = sorted(set(groups))
    n_parts = folds or len(names)
    if len(names) < max(2, n_parts):
        raise RequestError(
            f"the pictures are of {len(names)} groups ({', '.join(names[:5])}): expected {max(2, n_parts)} or more, to be left out in turn"
        )
    part_of = {group: number % n_parts for number, group in enumerate(names)}
    return [[n for n, group in enumerate(groups) if part_of[group] == part] for part in range(n_parts)]


def answered_in_turn(
    parts: Sequence[Sequence[int]],
    train: Callable[[list[int], str], tuple[M, dict[str, Any]]],
    answer: Callable[[M, int], A],
) -> tuple[list[A], M, list[dict[str, Any]]]:
    """Each picture's answer by a model of the other parts, the model of all pictures, and how each came to be.

    `train` is given the numbers of pictures and the name of the training.
    """
    every, answers, told = sorted(n for part in parts for n in part), dict[int, A](), list[dict[str, Any]]()
    for number, part in enumerate(parts, start=1):
        model, how = train([n for n in every if n not in part], str(number))
        answers |= {n: answer(model, n) for n in part}
        told.append({"left_out": list(part), **how})
    model, how = train(every, "all")
    return [answers[n] for n in every], model, [*told, {"left_out": [], **how}]
