"""Weighted sums over a few rows and columns of integers as vector instructions: LLVM's own vectors, since its loop vectoriser finds such loops too short."""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

BIT, INTEGER, DOUBLE = ir.IntType(1), ir.IntType(32), ir.DoubleType()
SMALL_BOX: Final = (3, 4)  # rows and columns
BOX: Final = (5, 8)
CUBIC_SIDE: Final = 4


class _Window:
    """The code of sums over rows of `width` neighbouring integers, the first at a place of a flat array and the rows a stride apart."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, width: int) -> None:  # noqa: ANN401
        self.builder, self.width = builder, width
        kind = signature.args[0]
        self._stored = ir.IntType(kind.dtype.bitwidth)
        self._data = context.make_array(kind)(context, builder, arguments[0]).data
        self._at, self._stride = arguments[1], arguments[2]

    def kind(self, element: ir.Type) -> ir.VectorType:
        return ir.VectorType(element, self.width)

    def number(self, value: float) -> ir.Constant:
        """A constant in each lane."""
        return ir.Constant(self.kind(DOUBLE), [value] * self.width)

    def upwards(self, first: float) -> ir.Constant:
        """A number in the first lane and one more in each that follows."""
        return ir.Constant(self.kind(DOUBLE), [first + k for k in range(self.width)])

    def spread(self, value: Any) -> Any:  # noqa: ANN401
        """A value of the code in each lane."""
        none = ir.Constant(self.kind(value.type), ir.Undefined)
        return self.lane_in_each(self.builder.insert_element(none, value, ir.Constant(INTEGER, 0)), 0)

    def lane_in_each(self, vector: Any, lane: int) -> Any:  # noqa: ANN401
        return self.builder.shuffle_vector(vector, vector, ir.Constant(self.kind(INTEGER), [lane] * self.width))

    def pixels(self, row: int) -> Any:  # noqa: ANN401
        """The integers of a row, in 32 bit."""
        builder = self.builder
        place = builder.add(self._at, builder.mul(self._stride, ir.Constant(self._at.type, row)))
        where = builder.bitcast(builder.gep(self._data, [place]), self.kind(self._stored).as_pointer())
        return builder.zext(builder.load(where, align=self._stored.width // 8), self.kind(INTEGER))

    def fused(self, left: Any, right: Any, more: Any) -> Any:  # noqa: ANN401
        """left * right + more, rounded once in every copy of the code."""
        takes = ir.FunctionType(left.type, [left.type] * 3)
        fma = get_or_insert_function(self.builder.module, takes, f"llvm.fma.v{self.width}f64")
        return self.builder.call(fma, [left, right, more])

    def together(self, vector: Any) -> Any:  # noqa: ANN401
        """The sum of all lanes."""
        takes = ir.FunctionType(DOUBLE, [DOUBLE, vector.type])
        add = get_or_insert_function(self.builder.module, takes, f"llvm.vector.reduce.fadd.v{self.width}f64")
        return self.builder.call(add, [ir.Constant(DOUBLE, 0.0), vector], fastmath=("reassoc",))

    def is_any(self, flags: Any) -> Any:  # noqa: ANN401
        bits = ir.IntType(self.width)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(flags, bits), ir.Constant(bits, 0))


def _shares(window: _Window, first: Any, last: Any) -> Any:  # noqa: ANN401
    """How much of each pixel lies between two places, in pixels from the first."""
    builder, low, high = window.builder, window.upwards(0.0), window.upwards(1.0)
    first, last = window.spread(first), window.spread(last)
    low = builder.select(builder.fcmp_ordered(">", first, low), first, low)
    high = builder.select(builder.fcmp_ordered("<", last, high), last, high)
    return builder.select(builder.fcmp_ordered(">", high, low), builder.fsub(high, low), window.number(0.0))


def _keys(window: _Window, share: Any) -> Any:  # noqa: ANN401
    """The weights of a cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153; a = -0.5) for a place behind the second pixel by a share of a pixel."""
    builder, number = window.builder, window.number
    away = builder.fsub(window.spread(share), window.upwards(-1.0))
    away = builder.select(builder.fcmp_ordered("<", away, number(0.0)), builder.fneg(away), away)

    def horner(*terms: float) -> Any:  # noqa: ANN401
        value = number(terms[0])
        for term in terms[1:]:
            value = builder.fadd(builder.fmul(value, away), number(term))
        return value

    is_near = builder.fcmp_ordered("<", away, number(1.0))
    return builder.select(is_near, horner(1.5, -2.5, 0.0, 1.0), horner(-0.5, 2.5, -4.0, 2.0))


def _summed(window: _Window, n_rows: int, down: Any, across: Any, nodata: Any, saturated: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The sum of the integers times the weights of their rows and columns, and whether one is nodata, and one saturated."""
    builder, total = window.builder, window.number(0.0)
    nothing, full = (window.spread(builder.trunc(each, INTEGER)) for each in (nodata, saturated))
    is_missing = is_full = ir.Constant(window.kind(BIT), [0] * window.width)
    for row in range(n_rows):
        pixels = window.pixels(row)
        is_missing = builder.or_(is_missing, builder.icmp_unsigned("==", pixels, nothing))
        is_full = builder.or_(is_full, builder.icmp_unsigned(">=", pixels, full))
        number = builder.sitofp(pixels, window.kind(DOUBLE))
        total = window.fused(window.lane_in_each(down, row), number, total)
    return window.together(builder.fmul(total, across)), window.is_any(is_missing), window.is_any(is_full)


def _code(width: int, write: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        window = _Window(context, builder, signature, arguments, width)
        return context.make_tuple(builder, signature.return_type, write(window, *arguments[3:]))

    return generate


FOUND: Final = types.Tuple((types.float64, types.boolean, types.boolean))
PLACE: Final = types.int64
SHARE: Final = types.float64


def _sum_of_box(rows: int, columns: int) -> Any:  # noqa: ANN401
    @intrinsic
    def sum_of_box(
        _: Any, source: Any, at: Any, stride: Any, top: Any, bottom: Any, left: Any, right: Any, nodata: Any, saturated: Any,  # noqa: ANN401
    ) -> Any:  # fmt: skip  # noqa: ANN401
        """Of rows x columns integers the sum, each times its share in a box, float64, and whether one is nodata, and one saturated.

        The first integer lies at a place of a flat array, the rows a stride apart, and the box between rows and columns counted from it; nothing is checked.
        """

        def write(window: _Window, top: Any, bottom: Any, left: Any, right: Any, nodata: Any, saturated: Any) -> Any:  # noqa: ANN401
            down, across = _shares(window, top, bottom), _shares(window, left, right)
            return _summed(window, rows, down, across, nodata, saturated)

        return FOUND(source, PLACE, PLACE, SHARE, SHARE, SHARE, SHARE, PLACE, PLACE), _code(columns, write)

    return sum_of_box


sum_of_small_box, sum_of_box = _sum_of_box(*SMALL_BOX), _sum_of_box(*BOX)


@intrinsic
def sum_of_cubic(
    _: Any, source: Any, at: Any, stride: Any, down: Any, across: Any, nodata: Any, saturated: Any,  # noqa: ANN401
) -> Any:  # fmt: skip  # noqa: ANN401
    """As `sum_of_box`, of CUBIC_SIDE x CUBIC_SIDE integers times the weights of a cubic convolution, for a place behind the second row and column by a share of
    the way to the third.
    """

    def write(window: _Window, down: Any, across: Any, nodata: Any, saturated: Any) -> Any:  # noqa: ANN401
        return _summed(window, CUBIC_SIDE, _keys(window, down), _keys(window, across), nodata, saturated)

    return FOUND(source, PLACE, PLACE, SHARE, SHARE, PLACE, PLACE), _code(CUBIC_SIDE, write)
