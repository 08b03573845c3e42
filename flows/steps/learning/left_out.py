"""Pictures answered by models that never saw them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from products.errors import RequestError

M = TypeVar("M")
A = TypeVar("A")


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
