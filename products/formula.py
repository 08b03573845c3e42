"""Index formulas: parsed into a postfix program over bands, never evaluated as code."""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.index_constants import constants_in, is_kernel, valued

NO_CONSTANTS: Mapping[str, float] = MappingProxyType({})
MAX_FORMULA_CHARACTERS = 500
MAX_STACK = 8
LARGEST_CONSTANT = 1e30  # well within float32


class Op(IntEnum):
    """One step of a postfix program."""

    BAND = 0
    CONSTANT = 1
    ADD = 2
    SUBTRACT = 3
    MULTIPLY = 4
    DIVIDE = 5
    POWER = 6
    NEGATE = 7


_BINARY: dict[type[ast.operator], Op] = {
    ast.Add: Op.ADD, ast.Sub: Op.SUBTRACT, ast.Mult: Op.MULTIPLY, ast.Div: Op.DIVIDE, ast.Pow: Op.POWER,
}  # fmt: skip

BINARY = {Op.ADD: np.add, Op.SUBTRACT: np.subtract, Op.MULTIPLY: np.multiply, Op.DIVIDE: np.divide, Op.POWER: np.power}

# letters of the Awesome Spectral Indices catalogue -> our band names; N2 is the narrow near infrared (MSI B8A)
CATALOGUE_BANDS = {
    "A": "coastal", "B": "blue", "G": "green", "R": "red", "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3",
    "N": "nir", "N2": "nir_narrow", "S1": "swir1", "S2": "swir2",
}  # fmt: skip

MSI_ONLY = ("RE1", "RE2", "RE3", "N2")

# indices the catalogue lacks: CMRI = NDVI - NDWI (Gupta et al. 2018, MethodsX 5, 1129-1139)
OWN_INDICES = {"CMRI": "(nir - red) / (nir + red) - (green - nir) / (green + nir)"}


@dataclass(frozen=True, slots=True)
class Formula:
    """A postfix program: `operations` are (Op, operand); the operand indexes `bands` for BAND and is the value for CONSTANT."""

    text: str
    bands: tuple[str, ...]
    operations: tuple[tuple[Op, float], ...]


def evaluate(formula: Formula, values: Mapping[str, NDArray[np.floating[Any]]]) -> NDArray[np.floating[Any]]:
    """The formula of arrays by band; NaN or infinite where it has no value."""
    stack: list[Any] = []
    with np.errstate(all="ignore"):
        for operation, operand in formula.operations:
            if operation is Op.BAND:
                stack.append(values[formula.bands[int(operand)]])
            elif operation is Op.CONSTANT:
                stack.append(operand)
            elif operation is Op.NEGATE:
                stack.append(-stack.pop())
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(BINARY[operation](left, right))
    return np.asarray(stack.pop())


@lru_cache(4096)
def parse_formula(text: str, known_bands: frozenset[str]) -> Formula:
    """The program of an arithmetic formula over band names; RequestError for anything else."""
    if len(text) > MAX_FORMULA_CHARACTERS:
        raise RequestError(f"formula of {len(text)} characters: expected at most {MAX_FORMULA_CHARACTERS}")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RequestError(
            f"cannot read the formula {text!r}: expected arithmetic such as (nir - red) / (nir + red)"
        ) from error
    writer = _Writer(text, known_bands)
    writer.visit(tree.body)
    if not writer.bands:
        raise RequestError(f"the formula {text!r} names no band: expected some of {', '.join(sorted(known_bands))}")
    if _depth(writer.operations) > MAX_STACK:
        raise RequestError(f"the formula {text!r} is nested deeper than {MAX_STACK} values: write it more simply")
    return Formula(text, tuple(writer.bands), tuple(writer.operations))


def index_formula(name: str, known_bands: frozenset[str], constants: Mapping[str, float] = NO_CONSTANTS) -> Formula:
    """The formula of a catalogue index (Awesome Spectral Indices, Montero et al. 2023) or one of ours, by name in any case.

    Of the constants, those that it has take the place of the catalogue's.
    """
    import spyndex

    meant = _meant(name)
    if meant in OWN_INDICES:
        return parse_formula(OWN_INDICES[meant], known_bands)
    index = spyndex.indices[meant]
    values = valued(meant, constants_in(index.bands), constants)
    words = _in_our_words(index.long_name, index.formula, tuple(index.bands), tuple(values.items()))
    return parse_formula(words, known_bands)


def index_constants(name: str) -> dict[str, float | None]:
    """The constants that an index may be given, with the catalogue's values; None where every place has its own."""
    import spyndex

    meant = _meant(name)
    return {} if meant in OWN_INDICES else constants_in(spyndex.indices[meant].bands)


def _meant(name: str) -> str:
    """The name as the catalogue, or we, write it."""
    import spyndex

    known = [*OWN_INDICES, *spyndex.indices]
    meant = [name] if name in known else [key for key in known if key.upper() == name.upper()]
    if not meant:
        raise RequestError(f"unknown index {name!r}{near(name, known)}")
    if len(meant) > 1:
        raise RequestError(
            f"the index {name!r} may be {' or '.join(meant)}, which differ in case only: write the one you mean"
        )
    return meant[0]


def near(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`; near ones: a, b` for an error message, or `; known: …` when nothing is near."""
    from difflib import get_close_matches

    by_fold = {entry.lower(): entry for entry in known}
    close = [by_fold[match] for match in get_close_matches(word.lower(), list(by_fold), n=5, cutoff=0.5)]
    return f"; near ones: {', '.join(close)}" if close else f"; known: {', '.join(sorted(known)[:40])}"


@lru_cache(4096)
def _in_our_words(title: str, formula: str, symbols: tuple[str, ...], constants: tuple[tuple[str, float], ...]) -> str:
    words = {symbol: _in_our_word(title, symbol, symbols, dict(constants)) for symbol in symbols}
    tree = ast.parse(formula, mode="eval")
    return ast.unparse(_Rename(words).visit(tree))


def _in_our_word(title: str, symbol: str, symbols: tuple[str, ...], constants: Mapping[str, float]) -> str:
    """A band, a constant, a wavelength (`lambdaN`) or a kernel (`kNR`) of the catalogue in our formulas."""
    if symbol in CATALOGUE_BANDS:
        return CATALOGUE_BANDS[symbol]
    if symbol.removeprefix("lambda") in CATALOGUE_BANDS:
        return repr(_wavelength_nm(symbol.removeprefix("lambda"), symbols))
    if is_kernel(symbol):
        return _kernel(*(_in_our_word(title, part, symbols, constants) for part in symbol[1:]))
    if symbol in constants:
        return repr(constants[symbol])
    raise RequestError(
        f"the index {title!r} needs {symbol!r}, which is neither a band nor a constant here; give its formula instead"
    )


def _wavelength_nm(band: str, symbols: tuple[str, ...]) -> float:
    """The centre of a band: OLI's, to which bands are harmonised, or MSI's where the index has a band that OLI lacks."""
    import spyndex

    if any(symbol.removeprefix("lambda") in MSI_ONLY for symbol in symbols):
        return float(spyndex.bands[band].sentinel2a.wavelength)
    return float(
        spyndex.bands["N2" if band == "N" else band].landsat8.wavelength
    )  # OLI's near infrared is a narrow one


def _kernel(a: str, b: str) -> str:
    """exp(-(a - b)^2 / (2 sigma^2)) with sigma half of a + b: the radial basis function of Camps-Valls et al. 2021 (Science Advances 7, eabc7447)."""
    return "1.0" if a == b else f"{math.e!r} ** (-((({a}) - ({b})) / (0.5 * (({a}) + ({b})))) ** 2 / 2)"


class _Rename(ast.NodeTransformer):
    def __init__(self, words: dict[str, str]) -> None:
        self.words = words

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.words[node.id], mode="eval").body


class _Writer:
    """Walks a parsed formula, lets arithmetic through and nothing else."""

    def __init__(self, text: str, known_bands: frozenset[str]) -> None:
        self.text, self.known_bands = text, known_bands
        self.bands: list[str] = []
        self.operations: list[tuple[Op, float]] = []

    def visit(self, node: ast.expr) -> None:
        match node:
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
                self.visit(left)
                self.visit(right)
                self.operations.append((_BINARY[type(operator)], 0.0))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self.visit(operand)
                self.operations.append((Op.NEGATE, 0.0))
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                self._constant(value)
            case ast.Name(id=name):
                self._band(name)
            case _:
                raise RequestError(
                    f"the formula {self.text!r} has {ast.unparse(node)!r}: only bands, numbers, + - * / ** and brackets are allowed"
                )

    def _constant(self, value: float) -> None:
        if abs(value) > LARGEST_CONSTANT:
            raise RequestError(f"the formula {self.text!r} has a number beyond {LARGEST_CONSTANT:g}")
        self.operations.append((Op.CONSTANT, float(value)))

    def _band(self, name: str) -> None:
        if name not in self.known_bands:
            raise RequestError(
                f"the formula {self.text!r} names an unknown band {name!r}{near(name, sorted(self.known_bands))}"
            )
        if name not in self.bands:
            self.bands.append(name)
        self.operations.append((Op.BAND, float(self.bands.index(name))))


def _depth(operations: list[tuple[Op, float]]) -> int:
    height = highest = 0
    for operation, _ in operations:
        height += 1 if operation in (Op.BAND, Op.CONSTANT) else 0 if operation is Op.NEGATE else -1
        highest = max(highest, height)
    return highest
