"""Writing the code of a step on `LANES` neighbouring pixels as vectors of LLVM, for intrinsics of numba."""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core.cgutils import get_or_insert_function

LANES: Final = 32

FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
COUNTS = ir.VectorType(ir.IntType(16), LANES)
LONGS = ir.VectorType(ir.IntType(64), LANES)
DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_BYTES: Final = {
    ir.FloatType(): 4, ir.DoubleType(): 8, ir.IntType(16): 2, ir.IntType(32): 4, ir.IntType(64): 8,
}  # fmt: skip


class LaneCode:
    """The code of a step that is written: its arguments, and vectors of the lanes of those that are arrays, each by its number."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:  # noqa: ANN401
        self.builder, self.arguments = builder, arguments
        self._context, self._types = context, signature.args

    def pointer(self, array: int) -> Any:  # noqa: ANN401
        """To the element of an array at the place that the next argument says."""
        data = self._context.make_array(self._types[array])(self._context, self.builder, self.arguments[array]).data
        return self.builder.gep(data, [self.arguments[array + 1]])

    def load(self, array: int, kind: ir.VectorType = FLOATS) -> Any:  # noqa: ANN401
        """The lanes there."""
        where = self.builder.bitcast(self.pointer(array), kind.as_pointer())
        return self.builder.load(where, align=_BYTES[kind.element])

    def store(self, vector: Any, array: int, kind: ir.VectorType = FLOATS) -> None:  # noqa: ANN401
        """Lanes to there."""
        where = self.builder.bitcast(self.pointer(array), kind.as_pointer())
        self.builder.store(vector, where, align=_BYTES[kind.element])

    def gather(self, array: int, places: Any, kind: ir.VectorType) -> Any:  # noqa: ANN401
        """One element for each lane, of an array from the place that the next argument says; `places` are unsigned, not checked."""
        builder, size = self.builder, _BYTES[kind.element]
        offset = builder.mul(builder.zext(places, LONGS), lanes_of(size, LONGS))
        start = self.spread(builder.ptrtoint(self.pointer(array), LONGS.element), LONGS)
        where = builder.inttoptr(builder.add(start, offset), ir.VectorType(kind.element.as_pointer(), LANES))
        every = ir.VectorType(ir.IntType(1), LANES)
        takes = ir.FunctionType(kind, [where.type, INTEGERS.element, every, kind])
        width = f"{'i' if isinstance(kind.element, ir.IntType) else 'f'}{8 * size}"
        gather = get_or_insert_function(builder.module, takes, f"llvm.masked.gather.v{LANES}{width}.v{LANES}p0")
        return builder.call(
            gather, [where, INTEGERS.element(size), lanes_of(1, every), ir.Constant(kind, ir.Undefined)]
        )

    def everywhere(self, argument: int, kind: ir.VectorType = FLOATS) -> Any:  # noqa: ANN401
        """A number in each lane."""
        return self.spread(self.arguments[argument], kind)

    def call(self, name: str, *vectors: Any, says: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
        """A function of LLVM of vectors; `says` what it may take for granted."""
        kind = ir.FunctionType(FLOATS, [FLOATS] * len(vectors))
        function = get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{LANES}f32")
        return self.builder.call(function, vectors, fastmath=says)

    def spread(self, value: Any, kind: ir.VectorType) -> Any:  # noqa: ANN401
        """A value of the code in each lane."""
        none = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(none, value, ir.Constant(INTEGERS.element, 0))
        return self.builder.shuffle_vector(first, none, lanes_of(0, INTEGERS))


def lanes_of(value: float, kind: ir.VectorType = FLOATS) -> ir.Constant:
    """A constant in each lane."""
    return ir.Constant(kind, [value] * LANES)


def step_code(write: Callable[[LaneCode], None]) -> Callable[..., Any]:
    """What numba asks for: a function that writes the code of a step that returns nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        write(LaneCode(context, builder, signature, arguments))
        return context.get_dummy_value()

    return generate
