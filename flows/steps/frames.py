"""Messages between a process and the worker that it started: a length, and what pickle makes of a value."""

import pickle
import struct
from typing import Any, BinaryIO

LENGTH = struct.Struct(">Q")


def write_frame(stream: BinaryIO, value: object) -> None:
    """Send a value whole."""
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:  # noqa: ANN401, whatever was sent
    """The next value; EOFError where the other end is gone."""
    head = stream.read(LENGTH.size)
    if len(head) == LENGTH.size:
        (n_bytes,) = LENGTH.unpack(head)
        content = stream.read(n_bytes)
        if len(content) == n_bytes:
            return pickle.loads(content)
    raise EOFError("the other process ended")
