"""Names and arrays as one file: the same bytes for the same content, and nothing in it runs."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from products.errors import RequestError

MAX_FILE_BYTES = 4 * 2**30
_EPOCH_ZIP = (1980, 1, 1, 0, 0, 0)
Arrays = Mapping[str, npt.NDArray[Any]]
Names = Mapping[str, Sequence[str]]


def packed(file_format: str, names: Names, arrays: Arrays) -> bytes:
    """A zip of .npy arrays and a JSON header of names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(_entry("header.json"), json.dumps({"format": file_format, **names}))
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), content.getvalue())
    return buffer.getvalue()


def unpacked(
    content: bytes, file_format: str, names: Sequence[str], arrays: Sequence[str], origin: str
) -> dict[str, Any]:
    """The names (tuples) and arrays of a file of this format by their keys; RequestError for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_FILE_BYTES:
                raise RequestError(f"the model file {origin} unpacks to {size} bytes: at most {MAX_FILE_BYTES} may be")
            header = json.loads(archive.read("header.json"))
            if header["format"] != file_format:
                raise RequestError(
                    f"expected {origin} to be a {file_format}, it is a {header['format']}: another model's file"
                )
            found: dict[str, Any] = {name: tuple(header[name]) for name in names}
            found |= {name: _array(archive.read(f"{name}.npy")) for name in arrays}
    except RequestError:
        raise
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise RequestError(f"{origin} is not a readable model file: {error}; train the model again") from error
    return found


def arrays_digest(header: Sequence[object], arrays: Arrays) -> str:
    """SHA-256 of a header and of the name, dtype, shape and bytes of each array."""
    found = hashlib.sha256(json.dumps(header).encode())
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH_ZIP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _array(content: bytes) -> Any:  # noqa: ANN401
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
