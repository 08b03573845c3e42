"""NVRTC of the package nvidia-cuda-nvrtc-cu12, which needs no GPU: CUDA text to a cubin, and what it takes of a multiprocessor."""

import ctypes
import importlib.util
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from products.pixel.gpu_source import OPTIONS

REGISTER_COUNT, FRAME_SIZE = 0x2F, 0x11  # attributes of the section .nv.info


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one kernel: registers a thread, and bytes of local memory a thread, which are spills and arrays that are not in registers."""

    registers: int
    local_bytes: int


def compile_cuda(text: str, architecture: str) -> bytes:
    """The cubin for a real architecture such as sm_70; ValueError with the compiler's log."""
    library = ctypes.CDLL(str(_library()))
    program = ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"temporal.cu", 0, None, None))
    options = [
        f"--gpu-architecture={architecture}".encode(),
        *(option.encode() for option in OPTIONS),
        b"--device-as-default-execution-space",
    ]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if status:
        raise ValueError(_text_of(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).decode())
    cubin = _text_of(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
    _check(library.nvrtcDestroyProgram(ctypes.byref(program)))
    return cubin


def usage(cubin: bytes) -> dict[str, Usage]:
    """What each kernel of a cubin uses."""
    sections = dict(_sections(cubin))
    names = _symbol_names(sections[".symtab"], sections[".strtab"])
    found: dict[int, dict[str, int]] = {}
    for attribute, symbol, number in _attributes(sections[".nv.info"]):
        found.setdefault(attribute, {})[names[symbol]] = number
    return {name: Usage(n, found[FRAME_SIZE][name]) for name, n in found[REGISTER_COUNT].items()}


def _library() -> Path:
    found = importlib.util.find_spec("nvidia.cuda_nvrtc")
    if found is None or not found.submodule_search_locations:
        raise ImportError("expected the package nvidia-cuda-nvrtc-cu12 (extra dev): install it")
    return Path(found.submodule_search_locations[0]) / "lib" / "libnvrtc.so.12"


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"nvrtc status {status}")


def _text_of(size_of: Callable[..., int], get: Callable[..., int], program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(get(program, text))
    return text.raw


def _sections(elf: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the sections of a 64-bit ELF file."""
    (start,) = struct.unpack_from("<Q", elf, 40)
    size, n, of_names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, start + i * size) for i in range(n)]
    names = elf[headers[of_names][4] :]
    for name, kind, _, _, offset, length in headers:
        if kind != 8:  # no content in the file
            yield names[name : names.index(b"\0", name)].decode(), elf[offset : offset + length]


def _symbol_names(symbols: bytes, names: bytes) -> list[str]:
    starts = [struct.unpack_from("<I", symbols, place)[0] for place in range(0, len(symbols), 24)]
    return [names[start : names.index(b"\0", start)].decode() for start in starts]


def _attributes(info: bytes) -> Iterator[tuple[int, int, int]]:
    """(attribute, symbol, number) of the entries that have two numbers."""
    place = 0
    while place < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, place)
        if form == 4 and size == 8:
            yield attribute, *struct.unpack_from("<II", info, place + 4)
        place += 4 + (size if form == 4 else 0)
