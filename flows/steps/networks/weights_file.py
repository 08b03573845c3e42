"""The file of a network: arrays in the safetensors format, and a JSON text in its metadata."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from flows.steps.networks.deep_packages import require_deep
from products.devices import Device
from products.errors import RequestError
from products.learning.array_file import arrays_digest

FORMAT = "neocube-network-1"
KEY = "neocube"
TORCH_NAMES: dict[Device, str] = {"cpu": "cpu", "gpu": "cuda"}
MEAN, STD, PREFIX = "normalise.mean", "normalise.std", "network."
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class SavedNetwork(ABC):
    """What networks of every kind have alike: a file and a digest of all that decides their answers. `HEADER` names what does, beside the arrays.

    `mean` and `std` normalise its inputs; `device` is where it is asked, and no part of what it is.
    """

    HEADER: ClassVar[tuple[str, ...]]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    weights: Mapping[str, NDArray[Any]]
    device: Device = field(default="cpu", compare=False)

    def on(self, device: Device) -> Self:
        """The same network, asked on another device."""
        return self if device == self.device else replace(self, device=device)

    @abstractmethod
    def untrained(self) -> Any:  # noqa: ANN401
        """A torch module of its architecture, with any weights, on the CPU."""

    @cached_property
    def module(self) -> Any:  # noqa: ANN401
        """The network, ready to be asked, on its device."""
        return filled(self.untrained, self.weights).to(TORCH_NAMES[self.device])

    def shares(self, inputs: NDArray[np.float32], dtype: str = "float32") -> NDArray[Any]:
        """(n, class, …) of inputs (n, …): the softmax, in `dtype`, of what it answers in float32; the same each time on a device."""
        import torch

        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            answers = self.module(torch.from_numpy(inputs).to(TORCH_NAMES[self.device]))
            found: NDArray[Any] = torch.softmax(answers.to(getattr(torch, dtype)), dim=1).cpu().numpy()
        return found

    def digest(self) -> str:
        """SHA-256 of names, architecture and arrays."""
        return arrays_digest([FORMAT, *self._header.values()], self._arrays)

    def to_bytes(self) -> bytes:
        """A safetensors file: arrays, and a JSON text under `neocube` in its metadata. The same bytes for the same network."""
        return written(self._header, self._arrays)

    @property
    def n_weights(self) -> int:
        """How many numbers were learned."""
        return sum(array.size for array in self.weights.values())

    @property
    def _header(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.HEADER}

    @property
    def _arrays(self) -> Arrays:
        own: Arrays = {MEAN: self.mean, STD: self.std}
        return own | {f"{PREFIX}{name}": np.asarray(self.weights[name], order="C") for name in sorted(self.weights)}


def written(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The file; the same bytes for the same content, as its metadata has one key only."""
    from safetensors.numpy import save

    return save(arrays, {KEY: json.dumps({"format": FORMAT, **header})})


def read(content: bytes, origin: str) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of the file of a network; RequestError for anything else."""
    header, arrays = header_and_arrays(content, origin, FORMAT)
    if lacking := [name for name in (MEAN, STD) if name not in arrays]:
        raise unreadable(origin, KeyError(lacking[0]))
    return header, arrays


def header_and_arrays(content: bytes, origin: str, file_format: str) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays by name of a safetensors file of `file_format`; RequestError for anything else."""
    require_deep()
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        size = int.from_bytes(content[:8], "little")  # safetensors: its length in 8 bytes, then a JSON header
        header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
        arrays = load(content)
        found_format = header.pop("format")
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(origin, error) from error
    if found_format != file_format:
        raise RequestError(f"expected {origin} to be a {file_format}, it is a {found_format}: train the model again")
    return header, arrays


def unreadable(origin: str, error: Exception) -> RequestError:
    """What a file is called that does not hold what it should."""
    return RequestError(f"{origin} is not a readable network: {' '.join(str(error).split())[:200]}; train it again")


def filled(make: Callable[[], Any], weights: Mapping[str, NDArray[Any]]) -> Any:  # noqa: ANN401, a torch module
    """A network that is made, with these weights, ready to be asked, on the CPU."""
    import torch

    with torch.inference_mode(False):  # what is made in that mode has no gradient for ever
        module = make()
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return module.eval()


def weights_of(arrays: Arrays) -> Arrays:
    """The arrays of the network itself, by its own names."""
    return {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}


def check_shapes(weights: Arrays, shapes: Mapping[str, tuple[int, ...]], named: str, origin: str) -> None:
    """RequestError unless the weights are those of the architecture that the file names."""
    given = {name: tuple(array.shape) for name, array in weights.items()}
    odd = sorted(name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name))
    if odd:
        raise RequestError(
            f"{origin} holds the weights of another architecture than the {named} that it names: "
            f"{len(odd)} arrays differ, such as {odd[0]}; train the model again"
        )
