"""Which class code a label value means, where a recipe says it or a class has its value by default."""

from collections.abc import Mapping, Sequence

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


def one_meaning(values: Mapping[str, Sequence[LabelValue]], ignore: Sequence[LabelValue]) -> None:
    """RequestError for a label value that stands twice in the values of classes and those to ignore."""
    said = [value for each in values.values() for value in each] + list(ignore)
    for value in said:
        if said.count(value) > 1:
            raise RequestError(f"the label value {value!r} stands twice in values and ignore: give it one meaning")
