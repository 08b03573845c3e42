"""What should follow a published cube or model, and what of it is done: rows of `neocube.follow_up`."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import cube_pointer, follow_up
from flows.steps.index.advisory_locks import writer_of
from products.identity import NAMESPACE
from products.learning.recipe import ModelRecipe
from products.registry import features_at, model_recipe, read_recipe, recipe_names

TRAIN, MAP, STANDING = "train", "map", "standing"


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One piece of work: `kind` train or map, `subject` what it is about, `parameters` of its flow."""

    kind: str
    subject: str
    parameters: Mapping[str, Any]

    @property
    def id(self) -> UUID:
        """An id of its kind and subject alone."""
        return uuid5(NAMESPACE, f"{self.kind}|{self.subject}")


@dataclass(frozen=True, slots=True)
class Order:
    """Train a model recipe on the cube of its features over an area and a period, and map these if `then_map`.

    `drawn` is the GeoJSON of an area that is a file, for where that is missing; an order is the same with it and without.
    """

    model: str
    area: str
    period: str
    labels: str | None = None
    then_map: bool = True
    drawn: str | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """What it is about, in a few words."""
        return f"{self.model} over {self.area}, {self.period}"

    @property
    def row(self) -> FollowUp:
        """The row that it stands by."""
        asked = self.asked
        drawn = {"drawn": self.drawn} if self.drawn else {}
        return FollowUp(STANDING, ", ".join(str(value) for value in asked.values()), asked | drawn)

    @property
    def asked(self) -> dict[str, Any]:
        """What tells it from others."""
        return {name: value for name, value in asdict(self).items() if name != "drawn"}

    def training(self, cube: str) -> FollowUp:
        """The training that this order asks for on a cube snapshot."""
        recipe = model_recipe(self.model)
        asked = {"recipe": self.model, "area": self.area, "period": self.period, "labels": self.labels}
        subject = f"{recipe.name} v{recipe.version} {recipe.digest()[:16]} of {self.period}, {self.labels} on {cube}"
        return FollowUp(TRAIN, subject, {**asked, "then_map": self.then_map, "cube": cube})

    def mapping(self, model: str, cube: str) -> FollowUp:
        """The mapping that follows once the model is there."""
        return FollowUp(MAP, f"{model} over {cube}", {"model": model, "area": self.area, "period": self.period})


def kept_orders(index: Index) -> list[Order]:
    """The orders that requests left."""
    with index.engine.connect() as connection:
        rows = connection.execute(select(follow_up.c.parameters).where(follow_up.c.kind == STANDING)).scalars().all()
    return [Order(**row) for row in rows]


def standing_orders(index: Index) -> list[Order]:
    """The orders that requests left, and those of model recipes that name area, period and labels."""
    kept = kept_orders(index)
    for name in recipe_names():
        recipe = read_recipe(name)
        if isinstance(recipe, ModelRecipe) and recipe.area and recipe.period and recipe.samples.labels:
            kept.append(Order(name, recipe.area, recipe.period))
    return list(dict.fromkeys(kept))


def keep_standing(index: Index, order: Order) -> None:
    """Repeat an order whenever its cube changes; one that stands keeps the area as it is drawn now."""
    with index.engine.begin() as connection:
        _note(connection, order.row)
        row = follow_up.c.id == order.row.id
        connection.execute(follow_up.update().where(row).values(parameters=order.row.parameters))


def due(index: Index, order: Order, area_name: str) -> FollowUp | None:
    """The training of an order on the newest cube of its features over the area; None while there is no cube."""
    features = read_recipe(features_at(model_recipe(order.model)))
    table = cube_pointer
    wanted = (table.c.product == features.name) & (table.c.version == features.version) & (table.c.area == area_name)
    with index.engine.connect() as connection:
        cubes = connection.execute(select(table.c.snapshot_url).where(wanted).order_by(table.c.crs)).scalars().all()
    return order.training(" ".join(cubes)) if cubes else None


def note(index: Index, work: FollowUp) -> None:
    """Remember work to do; nothing changes where it is known."""
    with index.engine.begin() as connection:
        _note(connection, work)


def finish(index: Index, work: FollowUp, then: Sequence[FollowUp] = ()) -> None:
    """Remember that work is done and, in the same transaction, what follows it."""
    with index.engine.begin() as connection:
        _note(connection, work)
        connection.execute(follow_up.update().where(follow_up.c.id == work.id).values(done_at=func.now()))
        for each in then:
            _note(connection, each)


def outstanding(index: Index, kind: str) -> list[FollowUp]:
    """The work of a kind that is not done, oldest first."""
    wanted = (follow_up.c.kind == kind) & follow_up.c.done_at.is_(None)
    query = select(follow_up.c.kind, follow_up.c.subject, follow_up.c.parameters).where(wanted)
    with index.engine.connect() as connection:
        return [FollowUp(*row) for row in connection.execute(query.order_by(follow_up.c.requested_at, follow_up.c.id))]


def is_done(index: Index, work: FollowUp) -> bool:
    """Whether somebody has finished it."""
    with index.engine.connect() as connection:
        return connection.scalar(select(follow_up.c.done_at).where(follow_up.c.id == work.id)) is not None


def forget(index: Index, work: FollowUp) -> None:
    """Drop work, as if nobody had asked for it."""
    with index.engine.begin() as connection:
        connection.execute(delete(follow_up).where(follow_up.c.id == work.id))


def end_order(index: Index, order: Order) -> int:
    """End an order and drop its trainings that are due, whose number it returns."""
    training = {name: value for name, value in order.asked.items() if name != "model"} | {"recipe": order.model}
    is_due = (follow_up.c.kind == TRAIN) & follow_up.c.done_at.is_(None) & follow_up.c.parameters.contains(training)
    with index.engine.begin() as connection:
        connection.execute(delete(follow_up).where(follow_up.c.id == order.row.id))
        return connection.execute(delete(follow_up).where(is_due)).rowcount


def claimed(index: Index, work: FollowUp, *, wait: bool) -> AbstractContextManager[bool]:
    """Be the one that does this work, by a lock that ends with this process; False if another is."""
    return writer_of(index, work.id, wait=wait)


def _note(connection: Connection, work: FollowUp) -> None:
    values = {"id": work.id, "kind": work.kind, "subject": work.subject, "parameters": dict(work.parameters)}
    connection.execute(insert(follow_up).values(**values).on_conflict_do_nothing())
