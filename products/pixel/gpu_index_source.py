"""The CUDA text of an index of a recipe: its formula, and the kernels of its statistics."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from products.pixel.temporal import COUNT, IQR, KURTOSIS, MAX, MEAN, MIN, RANGE, SKEWNESS, STD

SHAPE = (SKEWNESS, KURTOSIS)
OF_PIXEL = "block, causes, terms, n_bands, n_scenes, n_pixels"
_STATISTICS = {
    MEAN: "mean()", STD: "deviation()", MIN: "minimum()", MAX: "maximum()", COUNT: "count()",
    RANGE: "maximum() - series.minimum()", IQR: "quantile(0.75f) - series.quantile(0.25f)",
    SKEWNESS: "skewness()", KURTOSIS: "kurtosis()",
}  # fmt: skip
_INFIX = {2: "+", 3: "-", 4: "*", 5: "/"}


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A program (step, 2) and the statistics of it that are wanted, each with the feature that it is: (feature, reducer)."""

    number: int
    program: NDArray[np.float64]
    placed: tuple[tuple[int, float], ...]

    @property
    def type_name(self) -> str:
        """Of `type_text`."""
        return f"Formula{self.number}"

    def is_of_first(self, n_bands: int) -> bool:
        """Whether no band lies beyond the first `n_bands`."""
        return all(band < n_bands for band in _bands_of(self.program))

    @property
    def has_shape(self) -> bool:
        """Whether skewness or kurtosis is wanted."""
        return any(reducer in SHAPE for _, reducer in self.placed)

    def part(self, shape: bool) -> "Index":
        """With skewness and kurtosis alone, or with all but them."""
        return replace(self, placed=tuple(pair for pair in self.placed if (pair[1] in SHAPE) == shape))

    def type_text(self, lanes: int) -> str:
        """The program as a class of CUDA C++ that reads the integers of an observation, and computes from them later."""
        bands, of_pixel = _bands_of(self.program), f"const Pixel<{lanes}>& pixel, int t"
        size = max(1, len(bands))  # a formula may have no band
        reads = "".join(f"numbers[{i}] = pixel.number({band}, t); " for i, band in enumerate(bands))
        values = "".join(
            f"const float band_{band} = pixel.reflectance(numbers[{i}], {band}, t); " for i, band in enumerate(bands)
        )
        return (
            f"struct {self.type_name} {{\n  static constexpr int N_BANDS = {size};\n"
            f"  __device__ __forceinline__ void read({of_pixel}, unsigned (&numbers)[{size}]) const {{ {reads}}}\n"
            f"  __device__ __forceinline__ float of({of_pixel}, const unsigned (&numbers)[{size}]) const {{ {values}return {_value_of(self.program)}; }}\n"
            "};\n"
        )

    def of_values(self, n_bands: int) -> str:
        """The program as a function of CUDA C++ of the values of the first bands."""
        return f"[](const float (&v)[{n_bands}]) {{ return {index_expression(self.program, 'v[{}]'.format)}; }}"

    def statistics(self) -> str:
        """The statements that write what is wanted of `series`."""
        lines = [
            f"  series.put(pixel, out, {place}, series.{_statistic(reducer)});\n" for place, reducer in self.placed
        ]
        if any(reducer >= 0 or reducer == IQR for _, reducer in self.placed):
            lines.insert(0, "  series.sort();\n")
        return "".join(lines)


def indices_of(programs: NDArray[np.float64], reducers: NDArray[np.float32], feature: int) -> Iterator[Index]:
    """The indices with statistics, whose features follow each other from `feature` on; `reducers` are NaN where there are fewer."""
    for number, (program, row) in enumerate(zip(programs, reducers, strict=True)):
        wanted = [float(reducer) for reducer in row if not np.isnan(reducer)]
        if wanted:  # an index without any is of a feature that needs the order of time
            yield Index(number, program, tuple(enumerate(wanted, feature)))
        feature += len(wanted)


def index_expression(program: NDArray[np.float64], band_name: Callable[[int], str]) -> str:
    """The postfix program (step, 2) as a float expression of CUDA C++."""
    stack: list[str] = []
    for code, operand in program:
        operation = int(code)
        if operation < 0:
            break
        if operation == 0:
            stack.append(band_name(int(operand)))
        elif operation == 1:
            stack.append(literal(operand))
        elif operation == 7:
            stack.append(f"(-{stack.pop()})")
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(_combined(operation, left, right))
    return stack[0]


def index_function(program: NDArray[np.float64], lanes: int) -> str:
    """The program as a function of CUDA C++ of a pixel and an observation."""
    bands = "".join(f"const float band_{band} = pixel.at({band}, t); " for band in _bands_of(program))
    return f"[](const Pixel<{lanes}>& pixel, int t) {{ {bands}return {_value_of(program)}; }}"


def literal(number: float) -> str:
    """The float32 nearest to a finite number, as CUDA C++ reads it without a change."""
    return f"({float(np.float32(number))!r}f)"


def number_text(number: float) -> str:
    """The float64 as CUDA C++ reads it without a change."""
    return repr(float(number))


def _bands_of(program: NDArray[np.float64]) -> list[int]:
    return sorted({int(operand) for operation, operand in program if operation == 0})


def _value_of(program: NDArray[np.float64]) -> str:
    return index_expression(program, lambda band: f"band_{band}")


def _combined(operation: int, left: str, right: str) -> str:
    if operation in _INFIX:
        return f"({left} {_INFIX[operation]} {right})"
    if operation != 6:
        raise ValueError(f"expected an operation of products.formula.Op, got {operation}")
    short = {literal(2): f"squared({left})", literal(0.5): f"sqrtf({left})"}
    return short.get(right, f"powf({left}, {right})")


def _statistic(reducer: float) -> str:
    if reducer < 0 and reducer not in _STATISTICS:
        raise ValueError(
            f"expected a quantile or a code of {sorted(_STATISTICS)}, got {reducer:g}: the GPU has no such statistic"
        )
    return f"quantile({literal(reducer)})" if reducer >= 0 else _STATISTICS[reducer]
