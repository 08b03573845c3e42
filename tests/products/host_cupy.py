"""A stand-in for the part of CuPy that products.pixel.gpu_strips uses: memory is numpy's, and kernels are compiled for the host with host_cuda.h.

So the GPU leaf runs as a whole, strips, slots, shuffles and all, where there is a C++ compiler and no GPU. Arrays of `array` are of array_api_strict: only
what the array API standard has can be done with them.
"""

import ctypes
import hashlib
import re
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from numpy.typing import NDArray

from products.pixel import gpu_source
from products.pixel.gpu_source import ARGUMENTS

HEADER = Path(__file__).with_name("host_cuda.h")
COMPILER = shutil.which("g++") or shutil.which("clang++")
OPTIONS = ("-std=c++17", "-O1", "-w", "-shared", "-fPIC")


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class HostArray:
    """A flat array of the device: no way to its numbers but `set` and `get`."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        self.numbers = numbers

    def __getitem__(self, part: slice) -> "HostArray":
        return HostArray(self.numbers[part])

    def set(self, numbers: NDArray[Any], stream: Any) -> None:
        """Numbers of the host into the array."""
        assert numbers.flags.c_contiguous and numbers.dtype == self.numbers.dtype
        self.numbers[:] = numbers

    def get(self, stream: Any, out: NDArray[Any], blocking: bool) -> None:
        """The numbers into `out`."""
        assert out.flags.c_contiguous and out.dtype == self.numbers.dtype
        out[:] = self.numbers


class Stream:
    """Does at once what it is given."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.non_blocking = non_blocking

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def synchronize(self) -> None:
        """Nothing is under way."""


class RawModule:
    """Compiles CUDA text for the host, once for each text."""

    folder: Path

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        assert options == gpu_source.OPTIONS
        place = self.folder / hashlib.sha256(code.encode()).hexdigest()[:16]
        library = place.with_suffix(".so")
        if not library.exists():
            place.with_suffix(".cpp").write_text(_as_host_program(code))
            command = [str(COMPILER), *OPTIONS, str(place.with_suffix(".cpp")), "-o", str(library)]
            subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(library))

    def get_function(self, name: str) -> Any:
        """A kernel, called with grid, block and arguments."""
        launch = self.library[f"launch_{name}"]

        def call(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            pointers = [ctypes.c_void_p(array.numbers.ctypes.data) for array in arguments[:6]]
            n_bands, n_scenes, n_pixels, least = arguments[6:]
            types = (n_bands.dtype, n_scenes.dtype, n_pixels.dtype, least.dtype)
            assert types == (np.int32, np.int32, np.int64, np.int32)
            numbers = (ctypes.c_int(n_bands), ctypes.c_int(n_scenes), ctypes.c_longlong(n_pixels), ctypes.c_int(least))
            launch(ctypes.c_uint(*grid), ctypes.c_uint(*block), *pointers, *numbers)

        return call


def host_cupy(
    folder: Path, largest: int = 2**40, free: int | None = None, largest_pinned: int = 2**40, pinned_status: int = 2
) -> tuple[ModuleType, ModuleType]:
    """Modules to stand for cupy and cupyx; an array of more than `largest` bytes is refused as a full device does.

    Pinned memory of more than `largest_pinned` is refused with a status of CUDA. `free` bytes (`largest`) are said to be free,
    `allocated` has the bytes of each array.
    """

    allocated: list[int] = []

    def empty(size: int, dtype: Any) -> HostArray:
        if size * np.dtype(dtype).itemsize > largest:
            raise OutOfMemoryError(f"{size} numbers")
        return taken(np.full(size, 77, dtype))

    def taken(numbers: NDArray[Any]) -> HostArray:
        allocated.append(numbers.nbytes)
        return HostArray(numbers)

    def standard(numbers: NDArray[Any]) -> Any:
        if numbers.nbytes > largest:
            raise OutOfMemoryError(f"{numbers.nbytes} bytes")
        return array_api_strict.asarray(numbers)

    def pinned(size: int, dtype: Any) -> NDArray[Any]:
        if size * np.dtype(dtype).itemsize > largest_pinned:
            raise CUDARuntimeError(pinned_status)
        return np.empty(size, dtype)

    cupy, cupyx = ModuleType("cupy"), ModuleType("cupyx")
    cupy.__spec__ = ModuleSpec("cupy", None)
    cupy.__dict__.update(
        empty=empty,
        asarray=lambda array: taken(np.ascontiguousarray(array)),
        array=standard,
        asnumpy=np.asarray,
        allocated=allocated,
        get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 0),
        RawModule=type("RawModule", (RawModule,), {"folder": folder}),
        cuda=SimpleNamespace(
            is_available=lambda: True,
            Stream=Stream,
            get_current_stream=Stream,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                memGetInfo=lambda: (free or largest, free or largest),
                CUDARuntimeError=CUDARuntimeError,
                errorMemoryAllocation=2,
            ),
        ),
    )
    cupyx.__dict__.update(empty_pinned=pinned)
    return cupy, cupyx


def use_host_cupy(monkeypatch: pytest.MonkeyPatch, folder: Path, **limits: int) -> None:
    """Let `import cupy` find the stand-in, with the limits of `host_cupy`; skips where no C++ compiler is."""
    if COMPILER is None:
        pytest.skip("no C++ compiler (g++ or clang++)")
    for name, module in zip(("cupy", "cupyx"), host_cupy(folder, **limits), strict=True):
        monkeypatch.setitem(sys.modules, name, module)


def _as_host_program(code: str) -> str:
    """The text with an entry `launch_NAME(blocks, threads, arguments)` for each kernel."""
    names = re.findall(r"__launch_bounds__\([\d, ]+\) (\w+)\(", code)
    given = ", ".join(argument.split()[-1].lstrip("*") for argument in ARGUMENTS.split(", "))
    entries = [
        f'extern "C" void launch_{name}(unsigned n_blocks, unsigned n_threads, {ARGUMENTS}) '
        f"{{ host::launch(n_blocks, n_threads, [&] {{ {name}({given}); }}); }}\n"
        for name in names
    ]
    return f'#include "{HEADER}"\n{code}\n{"".join(entries)}'
