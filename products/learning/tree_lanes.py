"""Steps of `LANES` pixels through a tree, as vectors: LLVM's own gathers, twice as fast as a loop that its vectoriser makes of the same.

Arrays are flat; behind each stands the place where its lanes begin, or where the nodes of the tree do, not negative and not checked.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from products.lane_code import DOUBLES, FLOATS, INTEGERS, LANES, LONGS, LaneCode, lanes_of, step_code

CHILD_BITS, FEATURE_BITS, THRESHOLD_SHIFT = 22, 10, 32


@intrinsic
def descend_lanes(_: Any, node: Any, tree: Any, values: Any, pixel: Any, at: Any, place: Any, stride: Any) -> Any:  # noqa: ANN401
    """`at`, uint32, one level down: nodes are uint64, packed; values int32, those of a feature `stride` behind those of the one before."""

    def write(lanes: LaneCode) -> None:
        builder, here = lanes.builder, lanes.gather(0, lanes.load(4, INTEGERS), LONGS)
        low = builder.trunc(here, INTEGERS)
        threshold = builder.trunc(builder.lshr(here, lanes_of(THRESHOLD_SHIFT, LONGS)), INTEGERS)
        feature = builder.and_(low, lanes_of(2**FEATURE_BITS - 1, INTEGERS))
        of_feature = builder.mul(feature, lanes.everywhere(6, INTEGERS))
        value = lanes.gather(2, builder.add(of_feature, ir.Constant(INTEGERS, list(range(LANES)))), INTEGERS)
        is_above = builder.zext(builder.icmp_signed(">", value, threshold), INTEGERS)
        lanes.store(builder.add(builder.lshr(low, lanes_of(FEATURE_BITS, INTEGERS)), is_above), 4, INTEGERS)

    return types.void(node, tree, values, pixel, at, place, types.int32), step_code(write)


@intrinsic
def begin_lanes(_: Any, node: Any, tree: Any, values: Any, pixel: Any, at: Any, place: Any, stride: Any) -> Any:  # noqa: ANN401
    """`at` the third level, from the root on: the few nodes above are known, so each pixel is held against all of them and nothing is gathered.

    Two numbers behind the last node are read.
    """

    def write(lanes: LaneCode) -> None:
        builder, kind = lanes.builder, LONGS.element
        nodes, pixels = lanes.pointer(0), lanes.pointer(2)

        def beneath(number: Any) -> tuple[Any, Any]:  # noqa: ANN401
            """Of node `number` of the tree, uint64: its first child, and the places (lane,) of those beneath it that the lanes go to."""
            here = builder.load(builder.gep(nodes, [number]))
            low = builder.trunc(here, INTEGERS.element)
            feature = builder.and_(low, INTEGERS.element(2**FEATURE_BITS - 1))
            first = builder.gep(pixels, [builder.zext(builder.mul(feature, lanes.arguments[6]), kind)])
            value = builder.load(builder.bitcast(first, INTEGERS.as_pointer()), align=4)
            threshold = lanes.spread(
                builder.trunc(builder.lshr(here, kind(THRESHOLD_SHIFT)), INTEGERS.element), INTEGERS
            )
            child = builder.lshr(low, INTEGERS.element(FEATURE_BITS))
            is_above = builder.zext(builder.icmp_signed(">", value, threshold), INTEGERS)
            return builder.zext(child, kind), builder.add(lanes.spread(child, INTEGERS), is_above)

        def next_of(where: Any, first: Any) -> tuple[tuple[Any, Any], Any]:  # noqa: ANN401
            """The first children of two neighbours from `first` on, and the places beneath those where the lanes are."""
            (low, lower), (high, higher) = beneath(first), beneath(builder.add(first, kind(1)))
            is_low = builder.icmp_unsigned("==", where, lanes.spread(builder.trunc(first, INTEGERS.element), INTEGERS))
            return (low, high), builder.select(is_low, lower, higher)

        first, second = beneath(kind(0))
        (left, right), third = next_of(second, first)
        is_left = builder.icmp_unsigned("==", second, lanes.spread(builder.trunc(first, INTEGERS.element), INTEGERS))
        found = builder.select(is_left, next_of(third, left)[1], next_of(third, right)[1])
        lanes.store(found, 4, INTEGERS)

    return types.void(node, tree, values, pixel, at, place, types.int32), step_code(write)


@intrinsic
def add_leaf_lanes(_: Any, leaf: Any, tree: Any, at: Any, place: Any, total: Any, to: Any) -> Any:  # noqa: ANN401
    """total, float64, grows by what the leaves `at` add, float32 or float64."""

    def write(lanes: LaneCode) -> None:
        builder, places = lanes.builder, lanes.load(2, INTEGERS)
        if leaf.dtype == types.float32:
            added = builder.fpext(lanes.gather(0, places, FLOATS), DOUBLES)
        else:
            added = lanes.gather(0, places, DOUBLES)
        lanes.store(builder.fadd(lanes.load(4, DOUBLES), added), 4, DOUBLES)

    return types.void(leaf, tree, at, place, total, to), step_code(write)
