"""The CUDA text of a recipe: the constants and the sorting network before the templates `temporal*.cu`, one kernel an index after them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.pixel.geomedian import (
    GEOMEDIAN_STEPS,
    GEOMEDIAN_TOLERANCE,
    LONGEST_STRETCH,
    ON_OBSERVATION,
    SMALLEST_STEP,
)
from products.pixel.harmonic import SINGULAR
from products.pixel.temporal import COUNT, IQR, KURTOSIS, MAX, MEAN, MIN, RANGE, SKEWNESS, STD

OPTIONS = (
    "--std=c++17",
    "--prec-div=false",  # quotients and roots to two units in the last place, a fifth of the instructions
    "--prec-sqrt=false",
)
THREADS = 128  # in a block
WARP = 32
SERIES_NUMBERS = 64  # of one lane, in registers
HELD_NUMBERS = 80
STEP = 4  # observations in shared memory that are visited together
SHARED_NUMBERS = 384  # float32 of a thread: 48 KB a warp, what a block may have everywhere
COUNTING = "most_used"  # the kernel before those of the geomedian
HELD = "geomedian_of_more"  # that with the observations in registers
LARGEST_STACK = WARP * SERIES_NUMBERS
LARGEST_GEOMEDIAN = 0xFFFF  # observations that a group's count, in the last 16 bits of a float32, can say
BUCKETS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32)  # stacks of near sizes share a kernel
TEMPLATES = ("temporal", "temporal_mads", "temporal_series")
ARGUMENTS = (
    "const unsigned short* block, const unsigned char* causes, const float2* terms, float* out, const double* table, double* room, "
    "int n_bands, int n_scenes, long long n_pixels, int min_observations"
)
_STATISTICS = {
    MEAN: "mean()", STD: "deviation()", MIN: "minimum()", MAX: "maximum()", COUNT: "count()",
    RANGE: "maximum() - series.minimum()", IQR: "quantile(0.75f) - series.quantile(0.25f)",
    SKEWNESS: "skewness()", KURTOSIS: "kurtosis()",
}  # fmt: skip
SHAPE = (SKEWNESS, KURTOSIS)
_OF_PIXEL = "block, causes, terms, n_bands, n_scenes, n_pixels"
_INFIX = {2: "+", 3: "-", 4: "*", 5: "/"}


@dataclass(frozen=True, slots=True)
class Kernel:
    """An entry of the text; `lanes` threads compute a pixel, blocks have `threads`, and hold what they need in shared memory if `is_shared`."""

    name: str
    lanes: int
    threads: int = THREADS
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class TemporalSource:
    """CUDA C++ 17 text and the kernels in it, which share their arguments and together write every feature.

    The kernels read `table`, numbers that all pixels share, and use `room_numbers` float64 of scratch for each pixel.
    """

    text: str
    kernels: tuple[Kernel, ...]
    room_numbers: int = 0


def temporal_source(
    n_bands: int, with_mads: bool, programs: NDArray[np.float64], reducers: NDArray[np.float32], n_scenes: int
) -> TemporalSource:
    """The kernels for a geomedian over the first `n_bands` bands and for indices, of at most `n_scenes` (or a few more) observations.

    `programs` and `reducers` as `products.features` writes them. RequestError where the stack is too large.
    """
    most = LARGEST_STACK if len(programs) else LARGEST_GEOMEDIAN
    if n_scenes > most:
        raise RequestError(
            f"a stack of {n_scenes} observations: the GPU takes at most {most}; shorten the period or use --device cpu"
        )
    lanes, numbers = series_shape(n_scenes)
    texts = [_constants(), "".join(_network(numbers))]
    texts += [template(name) for name in TEMPLATES]
    kernels = []
    for kernel, body in _geomedians(n_bands, with_mads, n_scenes) if n_bands else ():
        # told that two blocks at a time will do, the compiler does not spill numbers of one band to have room for more
        blocks = ", 2" if (kernel.name, n_bands) == (HELD, 1) else ""
        texts.append(entry(kernel.name, body, f"{kernel.threads}{blocks}"))
        kernels.append(kernel)
    feature = n_bands + 3 * with_mads
    for i, (program, row) in enumerate(zip(programs, reducers, strict=True)):
        wanted = [float(reducer) for reducer in row if not np.isnan(reducer)]
        if not wanted:
            continue  # an index of a feature that needs the order of time
        placed = list(enumerate(wanted, feature))
        texts.append(index_type(f"Formula{i}", program, lanes))
        for name, some in (
            (f"index_{i}", [pair for pair in placed if pair[1] not in SHAPE]),
            (
                f"shape_{i}",
                [pair for pair in placed if pair[1] in SHAPE],
            ),  # apart: together they are more than the registers hold
        ):
            if some:
                texts.append(entry(name, _series_body(f"Formula{i}", some, lanes, numbers)))
                kernels.append(Kernel(name, lanes))
        feature += len(wanted)
    return TemporalSource("\n".join(texts), tuple(kernels))


def _geomedians(n_bands: int, with_mads: bool, n_scenes: int) -> Iterator[tuple[Kernel, str]]:
    """One that counts, then those that share the pixels among themselves by how many observations they have, few first."""
    mads = str(with_mads).lower()
    yield Kernel(COUNTING, 1), f"  write_most_used(Pixel<1>({_OF_PIXEL}), out);\n"
    limits = shared_limits(n_scenes, n_bands, with_mads)
    for less, most in zip((-1, *limits), limits, strict=False):
        call = f"geomedian_of_threads<{n_bands}, {mads}, {less}, {most}>(Pixel<1>({_OF_PIXEL}), out, min_observations)"
        yield Kernel(f"geomedian_of_{most}", 1, WARP, is_shared=True), f"  {call};\n"
    if limits and n_scenes <= limits[-1]:
        return
    tile, held = held_shape(n_scenes, n_bands)
    shape = f"{tile}, {held}, {n_bands}, {mads}, {limits[-1] if limits else -1}"
    yield (
        Kernel(HELD, tile),
        f"  geomedian_of_tiles<{shape}>(Pixel<{tile}>({_OF_PIXEL}), out, min_observations);\n",
    )


def shared_limits(n_scenes: int, n_bands: int, with_mads: bool) -> tuple[int, ...]:
    """The most observations of a pixel for each kernel that holds those of a warp in shared memory: the fewer, the more warps at a time."""
    width = max(n_bands, 3) if with_mads else n_bands
    steps = min(-(-n_scenes // 8) * 2, SHARED_NUMBERS // width // STEP)  # stacks of near sizes share a kernel
    return tuple(sorted({-(-steps * eighths // 8) * STEP for eighths in (2, 4, 6, 7, 8)} - {0}))


def series_shape(n_scenes: int) -> tuple[int, int]:
    """(lanes, numbers of a lane) that hold a stack for sorting: one lane if it can, else a power of two of full ones."""
    if n_scenes <= SERIES_NUMBERS:
        return 1, max(8, -(-n_scenes // 8) * 8)
    return next(lanes for lanes in (2, 4, 8, 16, WARP) if lanes * SERIES_NUMBERS >= min(n_scenes, LARGEST_STACK)), 64


def held_shape(n_scenes: int, n_bands: int) -> tuple[int, int]:
    """(lanes, observations of a lane) that hold the stack of a geomedian in registers; (32, 0) where they do not."""
    for lanes in (8, 16, WARP):
        numbers = max(1, -(-n_scenes // lanes))
        if numbers <= BUCKETS[-1] and numbers * n_bands <= HELD_NUMBERS:
            bucket = next(bucket for bucket in BUCKETS if bucket >= numbers)
            return lanes, min(bucket, HELD_NUMBERS // n_bands)
    return WARP, 0


def exchanges(n: int) -> Iterator[tuple[int, int]]:
    """The pairs of Batcher's merge exchange that sort n numbers upwards (Knuth, TAOCP 3, 5.2.2 M)."""
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        yield i + j, i + j + k
            k //= 2
        p *= 2


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


def index_type(name: str, program: NDArray[np.float64], lanes: int) -> str:
    """The program as a class of CUDA C++ that reads the integers of an observation, and computes from them later."""
    bands, of_pixel = _bands_of(program), f"const Pixel<{lanes}>& pixel, int t"
    size = max(1, len(bands))  # a formula may have no band
    reads = "".join(f"numbers[{i}] = pixel.number({band}, t); " for i, band in enumerate(bands))
    values = "".join(
        f"const float band_{band} = pixel.reflectance(numbers[{i}], {band}, t); " for i, band in enumerate(bands)
    )
    return (
        f"struct {name} {{\n  static constexpr int N_BANDS = {size};\n"
        f"  __device__ __forceinline__ void read({of_pixel}, unsigned (&numbers)[{size}]) const {{ {reads}}}\n"
        f"  __device__ __forceinline__ float of({of_pixel}, const unsigned (&numbers)[{size}]) const {{ {values}return {_value_of(program)}; }}\n"
        "};\n"
    )


def literal(number: float) -> str:
    """The float32 nearest to a finite number, as CUDA C++ reads it without a change."""
    return f"({float(np.float32(number))!r}f)"


def number_text(number: float) -> str:
    """The float64 as CUDA C++ reads it without a change."""
    return repr(float(number))


def template(name: str) -> str:
    """The text of a `.cu` file beside this module."""
    return (Path(__file__).parent / f"{name}.cu").read_text(encoding="utf-8")


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


def _series_body(index: str, placed: list[tuple[int, float]], lanes: int, numbers: int) -> str:
    lines = [f"const Pixel<{lanes}> pixel({_OF_PIXEL});"]
    lines.append(f"Series<{lanes}, {numbers}> series(pixel, min_observations, {index}());")
    if any(reducer >= 0 or reducer == IQR for _, reducer in placed):
        lines.append("series.sort();")
    for place, reducer in placed:
        lines.append(f"series.put(pixel, out, {place}, series.{_statistic(reducer)});")
    return "".join(f"  {line}\n" for line in lines)


def _statistic(reducer: float) -> str:
    if reducer < 0 and reducer not in _STATISTICS:
        raise ValueError(
            f"expected a quantile or a code of {sorted(_STATISTICS)}, got {reducer:g}: the GPU has no such statistic"
        )
    return f"quantile({literal(reducer)})" if reducer >= 0 else _STATISTICS[reducer]


def entry(name: str, body: str, bounds: str = str(THREADS)) -> str:
    """The text of a kernel, with the bounds of its launch."""
    return f'extern "C" __global__ void __launch_bounds__({bounds}) {name}({ARGUMENTS}) {{\n{body}}}\n'


def _constants() -> str:
    numbers = {
        "GEOMEDIAN_TOLERANCE": GEOMEDIAN_TOLERANCE,
        "LONGEST_STRETCH": LONGEST_STRETCH,
        "SMALLEST_STEP": SMALLEST_STEP,
        "ON_OBSERVATION": ON_OBSERVATION,
    }
    integers = {"GEOMEDIAN_STEPS": GEOMEDIAN_STEPS, "STEP": STEP, "MOST_USED": LARGEST_GEOMEDIAN}
    lines = [f"#define {name} {literal(number)}\n" for name, number in numbers.items()]
    lines += [f"#define {name} {number}\n" for name, number in integers.items()]
    return "".join(lines) + f"#define SINGULAR {number_text(SINGULAR)}\n"


def _network(n: int) -> Iterator[str]:
    yield "__device__ __forceinline__ float squared(float x) { return x * x; }\n\n"
    yield "__device__ __forceinline__ void exchange(float& low, float& high) {\n"
    yield "  const float a = low, b = high;\n  low = fminf(a, b);\n  high = fmaxf(a, b);\n}\n\n"
    yield f"__device__ __forceinline__ void sort_network(float (&v)[{n}]) {{\n"
    yield from (f"  exchange(v[{low}], v[{high}]);\n" for low, high in exchanges(n))
    yield "}\n"
