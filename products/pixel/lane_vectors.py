"""Steps on `LANES` neighbouring pixels as vector instructions: LLVM's own vectors, since its loop vectoriser gives up where arrays may overlap.

Each step reads all that it reads before it writes. Arrays are flat; behind each stands the place of its first lane, not negative and not checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from products.lane_code import COUNTS, FLOATS, INTEGERS, LaneCode, lanes_of, step_code


@intrinsic
def fused(_: Any, left: Any, right: Any, more: Any) -> Any:  # noqa: ANN401
    """left * right + more, float32 or float64, rounded once: a compiler that may fuse as it likes does so in one copy of the code and not in another."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        return builder.fma(*arguments)

    return left(left, left, left), generate


@intrinsic
def scale_lanes(_: Any, numbers: Any, at: Any, used: Any, mine: Any, gain: Any, bias: Any, out: Any, to: Any) -> Any:  # noqa: ANN401
    """out = numbers * gain + bias, rounded twice as float32 is; 0 where `used` is not above 0. Numbers are uint16, all else float32."""

    def write(lanes: LaneCode) -> None:
        builder = lanes.builder
        scaled = builder.fmul(builder.uitofp(lanes.load(0, COUNTS), FLOATS), lanes.everywhere(4))
        is_used = builder.fcmp_ordered(">", lanes.load(2), lanes_of(0.0))
        lanes.store(builder.select(is_used, builder.fadd(scaled, lanes.everywhere(5)), lanes_of(0.0)), 6)

    return types.void(numbers, at, used, mine, gain, bias, out, to), step_code(write)


@intrinsic
def copy_lanes(_: Any, source: Any, at: Any, out: Any, to: Any) -> Any:  # noqa: ANN401
    """out = source, both float32."""
    return types.void(source, at, out, to), step_code(lambda lanes: lanes.store(lanes.load(0), 2))


def _arithmetic(operation: str) -> Any:  # noqa: ANN401
    @intrinsic
    def step(_: Any, left: Any, at: Any, right: Any, beside: Any) -> Any:  # noqa: ANN401
        """left becomes left and right together, both float32."""

        def write(lanes: LaneCode) -> None:
            lanes.store(getattr(lanes.builder, operation)(lanes.load(0), lanes.load(2)), 0)

        return types.void(left, at, right, beside), step_code(write)

    return step


add_lanes, subtract_lanes = _arithmetic("fadd"), _arithmetic("fsub")
multiply_lanes, divide_lanes = _arithmetic("fmul"), _arithmetic("fdiv")


@intrinsic
def keep_lanes(_: Any, made: Any, at: Any, used: Any, mine: Any, out: Any, to: Any, found: Any, count: Any) -> Any:  # noqa: ANN401
    """out = made, infinity where it is not finite or `used` is not above 0; the others are counted into found, int32. All else is float32."""

    def write(lanes: LaneCode) -> None:
        builder, value = lanes.builder, lanes.load(0)
        is_finite = builder.fcmp_ordered("<=", lanes.call("fabs", value), lanes_of(float(np.finfo(np.float32).max)))
        is_good = builder.and_(builder.fcmp_ordered(">", lanes.load(2), lanes_of(0.0)), is_finite)
        lanes.store(builder.select(is_good, value, lanes_of(float("inf"))), 4)
        lanes.store(builder.add(lanes.load(6, INTEGERS), builder.zext(is_good, INTEGERS)), 6, INTEGERS)

    return types.void(made, at, used, mine, out, to, found, count), step_code(write)


@intrinsic
def order_lanes(_: Any, low: Any, at: Any, high: Any, beside: Any) -> Any:  # noqa: ANN401
    """The smaller of each two lanes to low, the larger to high, both float32; no NaN.

    LLVM's own minimum and maximum: a comparison would become a store under a mask, which is slow on AMD.
    """

    def write(lanes: LaneCode) -> None:
        a, b = lanes.load(0), lanes.load(2)
        lanes.store(lanes.call("minnum", a, b, says=("nnan", "nsz")), 0)
        lanes.store(lanes.call("maxnum", a, b, says=("nnan", "nsz")), 2)

    return types.void(low, at, high, beside), step_code(write)


@intrinsic
def fetch_ahead(_: Any, array: Any, at: Any) -> Any:  # noqa: ANN401
    """Have the memory at a place brought to the second cache; the place may lie beyond the array."""

    def write(lanes: LaneCode) -> None:
        builder, flag = lanes.builder, ir.IntType(32)
        where = builder.bitcast(lanes.pointer(0), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [where.type, flag, flag, flag])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [where.type], kind)
        to_read, into_second, data = flag(0), flag(2), flag(1)
        builder.call(prefetch, [where, to_read, into_second, data])

    return types.void(array, at), step_code(write)
