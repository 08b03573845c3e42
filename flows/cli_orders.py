"""The command `orders`: what is trained and mapped again whenever a cube changes, and how that ends."""

from typing import TYPE_CHECKING, Any

import click

from flows.console import as_json_option, emit
from products.errors import RequestError

if TYPE_CHECKING:
    from datacube_config.connection import Index


@click.command()
@as_json_option
@click.option("--end", metavar="ID", help="End this order, or give this training or map up.")
def orders(as_json: bool, end: str | None) -> None:
    """List the standing orders, and the trainings and maps that are due.

    An order that ends drops its trainings that are due; what was trained and mapped stays.

    Example: neocube orders --json
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings

    with open_index(get_settings()) as index:
        if end is None:
            emit(_rows(index), as_json, _listed)
            return
        ended = _ended(index, end)
    emit(ended, as_json, lambda it: f"{it['ended']} ended, {it['dropped']} trainings dropped")


def _rows(index: "Index") -> list[dict[str, Any]]:
    from flows.steps.index.follow_ups import MAP, TRAIN, outstanding, standing_orders

    standing = [(order.row, order.label) for order in standing_orders(index)]
    due = [(work, work.subject) for kind in (TRAIN, MAP) for work in outstanding(index, kind)]
    return [{"id": str(work.id), "kind": work.kind, "what": what} for work, what in (*standing, *due)]


def _ended(index: "Index", number: str) -> dict[str, Any]:
    """What ended and how many trainings were dropped with it; RequestError for an id of nothing, or of an order that a recipe gives."""
    from flows.steps.index.follow_ups import MAP, TRAIN, end_order, finish, kept_orders, outstanding, standing_orders

    kept = kept_orders(index)
    for order in kept:
        if number == str(order.row.id):
            return {"ended": order.label, "dropped": end_order(index, order)}
    for order in standing_orders(index):
        if number == str(order.row.id):
            raise RequestError(
                f"the order {order.label} is that of the recipe {order.model} itself: take area, period or labels out of it"
            )
    for work in (*outstanding(index, TRAIN), *outstanding(index, MAP)):
        if number == str(work.id):
            finish(index, work)
            return {"ended": work.subject, "dropped": 0}
    raise RequestError(f"no order {number!r}: expected an id that `neocube orders` shows")


def _listed(rows: list[dict[str, Any]]) -> str:
    return "\n".join(f"{row['id']}  {row['kind']:<8}  {row['what']}" for row in rows) or "no orders"
