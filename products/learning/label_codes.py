"""Which class code a label value means, where a recipe says it or a class has its value by default."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from products.errors import RequestError

LabelValue = str | int


def label_codes(
    classes: Sequence[str],
    values: Mapping[str, tuple[LabelValue, ...]],
    ignore: Sequence[LabelValue],
    by_default: Sequence[tuple[LabelValue, ...]],
) -> dict[LabelValue, int]:
    """Label value -> class code 1, 2, …, and 0 for ignored ones; a class without `values` has those `by_default`.

    RequestError where one of these is said to mean another class, or none.
    """
    codes: dict[LabelValue, int] = dict.fromkeys(ignore, 0)
    for code, name in enumerate(classes, start=1):
        codes |= dict.fromkeys(values.get(name, ()), code)
    for code, (name, own) in enumerate(zip(classes, by_default, strict=True), start=1):
        for value in () if name in values else own:
            if value in codes:
                said = f"is a value of {classes[codes[value] - 1]}" if codes[value] else "stands in `ignore`"
                raise RequestError(
                    f"the label value {value!r} {said}, and is what {name} has where `values` does not name it: "
                    f"give {name} its values, or {name}: [] where no label means it"
                )
            codes[value] = code
    return codes


def plain_values(said: Iterable[Any]) -> list[LabelValue]:
    """Values of a column, whole numbers as int."""
    return [
        int(value) if isinstance(value, float | np.integer | np.floating) and float(value).is_integer() else value
        for value in said
    ]


def told_values(
    counts: Mapping[LabelValue, int], meaning: Mapping[LabelValue, int], classes: Sequence[str], unit: str
) -> tuple[str, ...]:
    """What each label value of a file was taken for, by class: `1 as mangrove (32 shapes)`, `9 as none (4 shapes)`; 0 without a meaning is left out."""
    known = sorted(
        (value for value in counts if value in meaning),
        key=lambda value: (meaning[value] or len(meaning) + 1, str(value)),
    )
    return tuple(
        f"{value} as {classes[meaning[value] - 1] if meaning[value] else 'none'} ({counts[value]} {unit if counts[value] != 1 else unit[:-1]})"
        for value in known
    )


def one_meaning(values: Mapping[str, Sequence[LabelValue]], ignore: Sequence[LabelValue]) -> None:
    """RequestError for a label value that stands twice in the values of classes and those to ignore."""
    said = [value for each in values.values() for value in each] + list(ignore)
    for value in said:
        if said.count(value) > 1:
            raise RequestError(f"the label value {value!r} stands twice in values and ignore: give it one meaning")
