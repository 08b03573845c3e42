"""Steps on `LANES` neighbouring pixels as vector instructions: LLVM's own vectors, since its loop vectoriser gives up where arrays may overlap.

Each step reads all that it reads before it writes. Arrays are flat; behind each stands the place of its first lane, not negative and not checked.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

LANES: Final = 32

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)
_COUNTS = ir.VectorType(ir.IntType(16), LANES)
_BYTES = {ir.FloatType(): 4, ir.IntType(32): 4, ir.IntType(16): 2}


class _Lanes:
    """The code of a step that is written: its arguments, and vectors of the lanes of those that are arrays, each by its number."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:  # noqa: ANN401
        self.builder, self.arguments = builder, arguments
        self._context, self._types = context, signature.args

    def pointer(self, array: int) -> Any:  # noqa: ANN401
        """To the element of an array at the place that the next argument says."""
        data = self._context.make_array(self._types[array])(self._context, self.builder, self.arguments[array]).data
        return self.builder.gep(data, [self.arguments[array + 1]])

    def load(self, array: int, kind: ir.VectorType = _FLOATS) -> Any:  # noqa: ANN401
        """The lanes there."""
        where = self.builder.bitcast(self.pointer(array), kind.as_pointer())
        return self.builder.load(where, align=_BYTES[kind.element])

    def store(self, vector: Any, array: int, kind: ir.VectorType = _FLOATS) -> None:  # noqa: ANN401
        """Lanes to there."""
        where = self.builder.bitcast(self.pointer(array), kind.as_pointer())
        self.builder.store(vector, where, align=_BYTES[kind.element])

    def everywhere(self, argument: int) -> Any:  # noqa: ANN401
        """A number in each lane."""
        none = ir.Constant(_FLOATS, ir.Undefined)
        first = self.builder.insert_element(none, self.arguments[argument], ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(first, none, ir.Constant(_INTEGERS, [0] * LANES))

    def call(self, name: str, *vectors: Any, says: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
        """A function of LLVM of vectors; `says` what it may take for granted."""
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(vectors))
        function = get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{LANES}f32")
        return self.builder.call(function, vectors, fastmath=says)


def _of(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _code(write: Callable[[_Lanes], None]) -> Callable[..., Any]:
    """What numba asks for: a function that writes the code of a step that returns nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        write(_Lanes(context, builder, signature, arguments))
        return context.get_dummy_value()

    return generate


@intrinsic
def scale_lanes(_: Any, numbers: Any, at: Any, used: Any, mine: Any, gain: Any, bias: Any, out: Any, to: Any) -> Any:  # noqa: ANN401
    """out = numbers * gain + bias, rounded twice as float32 is; 0 where `used` is not above 0. Numbers are uint16, all else float32."""

    def write(lanes: _Lanes) -> None:
        builder = lanes.builder
        scaled = builder.fmul(builder.uitofp(lanes.load(0, _COUNTS), _FLOATS), lanes.everywhere(4))
        is_used = builder.fcmp_ordered(">", lanes.load(2), _of(0.0))
        lanes.store(builder.select(is_used, builder.fadd(scaled, lanes.everywhere(5)), _of(0.0)), 6)

    return types.void(numbers, at, used, mine, gain, bias, out, to), _code(write)


@intrinsic
def copy_lanes(_: Any, source: Any, at: Any, out: Any, to: Any) -> Any:  # noqa: ANN401
    """out = source, both float32."""
    return types.void(source, at, out, to), _code(lambda lanes: lanes.store(lanes.load(0), 2))


def _arithmetic(operation: str) -> Any:  # noqa: ANN401
    @intrinsic
    def step(_: Any, left: Any, at: Any, right: Any, beside: Any) -> Any:  # noqa: ANN401
        """left becomes left and right together, both float32."""

        def write(lanes: _Lanes) -> None:
            lanes.store(getattr(lanes.builder, operation)(lanes.load(0), lanes.load(2)), 0)

        return types.void(left, at, right, beside), _code(write)

    return step


add_lanes, subtract_lanes = _arithmetic("fadd"), _arithmetic("fsub")
multiply_lanes, divide_lanes = _arithmetic("fmul"), _arithmetic("fdiv")


@intrinsic
def keep_lanes(_: Any, made: Any, at: Any, used: Any, mine: Any, out: Any, to: Any, found: Any, count: Any) -> Any:  # noqa: ANN401
    """out = made, infinity where it is not finite or `used` is not above 0; the others are counted into found, int32. All else is float32."""

    def write(lanes: _Lanes) -> None:
        builder, value = lanes.builder, lanes.load(0)
        is_finite = builder.fcmp_ordered("<=", lanes.call("fabs", value), _of(float(np.finfo(np.float32).max)))
        is_good = builder.and_(builder.fcmp_ordered(">", lanes.load(2), _of(0.0)), is_finite)
        lanes.store(builder.select(is_good, value, _of(float("inf"))), 4)
        lanes.store(builder.add(lanes.load(6, _INTEGERS), builder.zext(is_good, _INTEGERS)), 6, _INTEGERS)

    return types.void(made, at, used, mine, out, to, found, count), _code(write)


@intrinsic
def order_lanes(_: Any, low: Any, at: Any, high: Any, beside: Any) -> Any:  # noqa: ANN401
    """The smaller of each two lanes to low, the larger to high, both float32; no NaN.

    LLVM's own minimum and maximum: a comparison would become a store under a mask, which is slow on AMD.
    """

    def write(lanes: _Lanes) -> None:
        a, b = lanes.load(0), lanes.load(2)
        lanes.store(lanes.call("minnum", a, b, says=("nnan", "nsz")), 0)
        lanes.store(lanes.call("maxnum", a, b, says=("nnan", "nsz")), 2)

    return types.void(low, at, high, beside), _code(write)


@intrinsic
def fetch_ahead(_: Any, array: Any, at: Any) -> Any:  # noqa: ANN401
    """Have the memory at a place brought to the second cache; the place may lie beyond the array."""

    def write(lanes: _Lanes) -> None:
        builder, flag = lanes.builder, ir.IntType(32)
        where = builder.bitcast(lanes.pointer(0), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [where.type, flag, flag, flag])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [where.type], kind)
        to_read, into_second, data = flag(0), flag(2), flag(1)
        builder.call(prefetch, [where, to_read, into_second, data])

    return types.void(array, at), _code(write)
