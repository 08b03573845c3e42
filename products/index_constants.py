"""The constants in the formulas of catalogue indices: the catalogue's values, and those that every place or scene has its own of."""

from collections.abc import Iterable, Mapping

from products.errors import RequestError

# the slope and intercept of the soil line, the soil's slope over wavelength, an image's ratio of medians, the light of the hour
OF_THE_PLACE = ("sla", "slb", "k", "n", "PAR")


def constants_in(symbols: Iterable[str]) -> dict[str, float | None]:
    """The constants among the symbols of a formula, those within kernels (`kNL`) too, with the catalogue's values; None where every place has its own."""
    import spyndex

    parts = [part for symbol in symbols for part in (symbol[1:] if is_kernel(symbol) else (symbol,))]
    found = [part for part in dict.fromkeys(parts) if part in spyndex.constants and not part.startswith("lambda")]
    return {
        symbol: None if symbol in OF_THE_PLACE else float(spyndex.constants[symbol].default) for symbol in sorted(found)
    }


def is_kernel(symbol: str) -> bool:
    """Whether a symbol is a kernel of two others, as `kNR`."""
    return symbol.startswith("k") and len(symbol) == 3


def valued(name: str, known: Mapping[str, float | None], given: Mapping[str, float]) -> dict[str, float]:
    """The constants of an index: what was given, else the catalogue's; RequestError for one that has no value of its own."""
    import spyndex

    values = {symbol: given.get(symbol, value) for symbol, value in known.items()}
    if lacking := [symbol for symbol, value in values.items() if value is None]:
        what = " and ".join(f"{symbol} ({spyndex.constants[symbol].description.split('.')[0]})" for symbol in lacking)
        asked = ", ".join(f"{symbol}: …" for symbol in lacking)
        raise RequestError(
            f"the index {name!r} needs {what}, which every place has its own of: give constants: {{{asked}}} of an index feature, or write its formula out"
        )
    return {symbol: value for symbol, value in values.items() if value is not None}
