"""The CUDA text of a recipe: the constants and the sorting network before the templates `temporal*.cu`, one kernel an index after them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.pixel import geomedian_newton
from products.pixel.geomedian import (
    GEOMEDIAN_DOUBT,
    GEOMEDIAN_STEPS,
    GEOMEDIAN_TOLERANCE,
    LONG_STEPS,
    LONGEST_STRETCH,
    ON_OBSERVATION,
    SMALLEST_STEP,
    UNIT_ROUNDING,
)
from products.pixel.gpu_index_source import OF_PIXEL, Index, indices_of, literal, number_text
from products.pixel.harmonic import SINGULAR
from products.pixel.season import ALIKE, N_ALL

OPTIONS = (
    "--std=c++17",
    "--prec-div=false",  # quotients and roots to two units in the last place, a fifth of the instructions
    "--prec-sqrt=false",
    "--ftz=true",  # numbers below 1.2e-38 are nought: roots need not ask whether theirs is
)
THREADS = 128  # in a block
WARP = 32
SERIES_NUMBERS = 64  # of one lane, in registers
HELD_NUMBERS = 180  # of the observations of one lane, in registers, one more than the bands of each
CENTRE_NUMBERS = 5  # of each band beside them
GEOMEDIAN_NUMBERS = 210  # of both
GEOMEDIAN_THREADS = 64
HELD_MOST = 24  # observations of one lane
MOST_SHAPES = 4  # each is compiled
STEP = 2  # observations in registers that are visited together
COUNTING = "most_used"  # the kernel before those of the geomedian
LARGEST_STACK = WARP * SERIES_NUMBERS
LARGEST_GEOMEDIAN = 0xFFFF  # observations that a group's count, in the last 16 bits of a float32, can say
CONJUGATE_TOLERANCE = 1e-8  # of the slope, in the equations of Newton's step
TEMPLATES = ("temporal", "temporal_sorted", "temporal_mads", "temporal_anew", "temporal_series")
ARGUMENTS = (
    "const unsigned short* block, const unsigned char* causes, const float2* terms, float* out, const double* table, double* room, "
    "int n_bands, int n_scenes, long long n_pixels, int min_observations"
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """An entry of the text; `lanes` threads compute a pixel, blocks have `threads`; `largest` ones need all registers that a thread can have."""

    name: str
    lanes: int
    threads: int = THREADS
    largest: bool = False


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
    shapes = held_shapes(n_scenes, n_bands, with_mads)
    indices = list(indices_of(programs, reducers, n_bands + 3 * with_mads))
    beside = [index for index in indices if index.is_of_first(n_bands)] if shapes else []
    held = max((lanes * numbers for lanes, numbers in shapes), default=0)
    kernels: list[tuple[Kernel, str]] = []
    if n_bands:
        kernels.append((Kernel(COUNTING, 1), f"  write_most_used(Pixel<1>({OF_PIXEL}), out);\n"))
    for index in indices:
        if index not in beside:
            kernels += _index_kernels(index, n_scenes)
        elif held < n_scenes:  # before the geomedian, which writes over the counts
            kernels += _index_kernels(index, n_scenes, held)
    if n_bands:
        kernels += _geomedians(shapes, n_bands, with_mads, n_scenes, beside)
    sizes = {series_shape(n_scenes)[1], *(numbers for _, numbers in shapes)}
    texts = [_constants(), *_networks(sorted(sizes)), *(template(name) for name in TEMPLATES)]
    texts += [index.type_text(series_shape(n_scenes)[0]) for index in indices]
    texts += [entry(kernel, body) for kernel, body in kernels]
    return TemporalSource("\n".join(texts), tuple(kernel for kernel, _ in kernels))


def _index_kernels(index: Index, n_scenes: int, less: int | None = None) -> Iterator[tuple[Kernel, str]]:
    """For all pixels, or for those of groups with more than `less` used observations.

    The statistics of shape apart: together they are more than the registers hold.
    """
    lanes, numbers = series_shape(n_scenes)
    pixel = f"  const Pixel<{lanes}> pixel({OF_PIXEL});\n"
    if less is not None:
        pixel += f"  if (pixel.most_of_group(out) <= {less}) return;\n"
    for name, part in (("index", index.part(shape=False)), ("shape", index.part(shape=True))):
        if part.placed:
            series = f"Series<{lanes}, {numbers}> series(pixel, min_observations, {index.type_name}())"
            yield Kernel(f"{name}_{index.number}", lanes), f"{pixel}  {series};\n{part.statistics()}"


def _geomedians(
    shapes: Sequence[tuple[int, int]], n_bands: int, with_mads: bool, n_scenes: int, beside: Sequence[Index]
) -> Iterator[tuple[Kernel, str]]:
    """Kernels that share the pixels among themselves by how many observations they have, few first; indices are computed where observations are held."""
    mads, less = str(with_mads).lower(), -1
    for lanes, held in shapes:
        series = f"Series<{lanes}, {held}> series(seen, min_observations"
        others = "".join(
            f"    {{\n  {series}, {index.of_values(n_bands)});\n{index.statistics()}    }}\n  __syncwarp();\n"
            for index in beside
        )
        call = f"geomedian_held<{lanes}, {held}, {n_bands}, {mads}, {less}>(pixel, out, min_observations, others)"
        yield (
            Kernel(f"geomedian_of_{lanes * held}", lanes, GEOMEDIAN_THREADS, any(index.has_shape for index in beside)),
            f"  const Pixel<{lanes}> pixel({OF_PIXEL});\n"
            f"  const auto others = [&](const Held<{lanes}, {held}, {n_bands}>& seen) {{\n{others}  }};\n  {call};\n",
        )
        less = lanes * held
    if less < n_scenes:
        yield (
            Kernel("geomedian_of_more", WARP, GEOMEDIAN_THREADS),
            f"  geomedian_streamed<{WARP}, {n_bands}, {mads}, {less}>(Pixel<{WARP}>({OF_PIXEL}), out, min_observations);\n",
        )
    yield (
        Kernel("geomedian_anew", 1, GEOMEDIAN_THREADS, largest=True),
        f"  geomedian_anew<{n_bands}, {mads}>(Pixel<1>({OF_PIXEL}), out);\n",
    )


def held_shapes(n_scenes: int, n_bands: int, with_mads: bool) -> list[tuple[int, int]]:
    """(lanes, observations of a lane) whose registers hold the stacks of a geomedian, few first; the fewer lanes, the less each computes again."""
    if not n_bands:
        return []
    numbers = max(n_bands, 3) if with_mads else n_bands
    room = min(HELD_NUMBERS // (n_bands + 1), (GEOMEDIAN_NUMBERS - CENTRE_NUMBERS * n_bands) // numbers, HELD_MOST)
    most, alike = room // STEP * STEP, -(-n_scenes // 8) * 8  # stacks of near sizes share a text
    shapes = []
    for lanes in (1, 2, 4, 8, 16, WARP) if most > 0 else ():
        needed = -(-alike // lanes)
        held = min(needed, most)
        if lanes > 1:  # lanes sort together where each has a power of two
            held = min(1 << (needed - 1).bit_length(), 1 << (most.bit_length() - 1))
        shapes.append((lanes, held))
        if needed <= held:
            break
    return shapes[-MOST_SHAPES:]


def series_shape(n_scenes: int) -> tuple[int, int]:
    """(lanes, numbers of a lane) that hold a stack for sorting: one lane if it can, else a power of two of full ones."""
    if n_scenes <= SERIES_NUMBERS:
        return 1, max(8, -(-n_scenes // 8) * 8)
    return next(lanes for lanes in (2, 4, 8, 16, WARP) if lanes * SERIES_NUMBERS >= min(n_scenes, LARGEST_STACK)), 64


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


def template(name: str) -> str:
    """The text of a `.cu` file beside this module."""
    return (Path(__file__).parent / f"{name}.cu").read_text(encoding="utf-8")


def entry(kernel: Kernel, body: str) -> str:
    """The text of a kernel."""
    bounds = f"{kernel.threads}, 1" if kernel.largest else f"{kernel.threads}"
    return f'extern "C" __global__ void __launch_bounds__({bounds}) {kernel.name}({ARGUMENTS}) {{\n{body}}}\n'


def _constants() -> str:
    numbers = {
        "GEOMEDIAN_TOLERANCE": GEOMEDIAN_TOLERANCE,
        "LONGEST_STRETCH": LONGEST_STRETCH,
        "SMALLEST_STEP": SMALLEST_STEP,
        "ON_OBSERVATION": ON_OBSERVATION,
        "GEOMEDIAN_DOUBT": GEOMEDIAN_DOUBT,
        "UNIT_ROUNDING": UNIT_ROUNDING,
    }
    doubles = {"CONJUGATE_TOLERANCE": CONJUGATE_TOLERANCE} | {
        name: getattr(geomedian_newton, name)
        for name in (
            "FIRST_RADIUS",
            "SMALLER",
            "LAST_RADIUS",
            "NEWTON_TOLERANCE",
            "SHORTEST_SHARE",
            "ROUNDING",
            "RIDGE",
        )
    }
    integers = {
        "GEOMEDIAN_STEPS": GEOMEDIAN_STEPS,
        "LONG_STEPS": LONG_STEPS,
        "NEWTON_STEPS": geomedian_newton.NEWTON_STEPS,
        "GEOMEDIAN_WARPS": GEOMEDIAN_THREADS // WARP,
        "STEP": STEP,
        "N_SEASON_METRICS": N_ALL,
        "MOST_USED": LARGEST_GEOMEDIAN,
    }
    lines = [f"#define {name} {literal(number)}\n" for name, number in numbers.items()]
    lines += [f"#define {name} {number}\n" for name, number in integers.items()]
    lines += [f"#define {name} {number_text(number)}\n" for name, number in doubles.items()]
    return "".join(lines) + f"#define SINGULAR {number_text(SINGULAR)}\n#define ALIKE {number_text(ALIKE)}\n"


def _networks(sizes: Sequence[int]) -> Iterator[str]:
    yield "__device__ __forceinline__ float squared(float x) { return x * x; }\n\n"
    yield "__device__ __forceinline__ void exchange(float& low, float& high) {\n"
    yield "  const float a = low, b = high;\n  low = fminf(a, b);\n  high = fmaxf(a, b);\n}\n\n"
    for n in sizes:
        yield f"__device__ __forceinline__ void sort_network(float (&v)[{n}]) {{\n"
        yield from (f"  exchange(v[{low}], v[{high}]);\n" for low, high in exchanges(n))
        yield "}\n"
