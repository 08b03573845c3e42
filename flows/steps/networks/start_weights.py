"""The weights that a network begins with: random ones, or an encoder's from its hub or from a file."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from flows.steps.networks.architecture import Architecture, hub_sets, untrained
from flows.steps.networks.weights_file import PREFIX
from products.errors import RequestError
from products.learning.chip_spec import ChipSpec
from products.learning.network_spec import NetworkSpec

SUFFIXES = (".safetensors", ".pt", ".pth")
PREFIXES = ("module.", PREFIX, "encoder.", "backbone.")  # a network of neocube is a file of weights too
State = dict[str, torch.Tensor]


def weights_digest(spec: NetworkSpec | ChipSpec) -> str:
    """What the first weights are: SHA-256 of their file, the name of a set of the hub, or none."""
    path = _file_of(spec.weights)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else spec.weights or "none"


def begun(architecture: Architecture, spec: NetworkSpec, seed: int) -> torch.nn.Module:
    """The network as training begins; RequestError where the weights are those of another encoder."""
    return begun_with(lambda name: untrained(architecture, name), architecture.encoder, spec.weights, seed)


def begun_with(
    made: Callable[[str | None], torch.nn.Module], encoder_name: str, weights: str | None, seed: int
) -> torch.nn.Module:
    """What `made` gives, with random weights but for its `encoder`, which has those of a file, or of a set of its hub, which `made` is given."""
    torch.manual_seed(seed)
    path = _file_of(weights)
    if path is None:
        return _from_hub(made, encoder_name, weights)
    module = made(None)
    encoder: Any = module.encoder
    encoder.load_state_dict(_fitted(encoder, _state_of(path), path, encoder_name))
    return module


def _file_of(weights: str | None) -> Path | None:
    if weights is None or not weights.endswith(SUFFIXES):
        return None
    path = Path(weights)
    if not path.is_file():
        raise RequestError(f"no file of weights at {weights}")
    return path


def _from_hub(made: Callable[[str | None], torch.nn.Module], encoder_name: str, name: str | None) -> torch.nn.Module:
    known = hub_sets(encoder_name)
    if name is not None and name not in known:
        raise RequestError(
            f"unknown weights {name!r} of the encoder {encoder_name}: expected a file ending in {', '.join(SUFFIXES)}, "
            f"or {', '.join(known) or 'none, it has none in its hub'}"
        )
    try:
        return made(name)
    except OSError as error:  # of the hub's client: no network, no such file
        raise RequestError(
            f"the weights {name} of {encoder_name} cannot be downloaded ({type(error).__name__}: {str(error)[:200]}): "
            "give the path of a file of them"
        ) from error


def _state_of(path: Path) -> State:
    """The arrays of a file, without the prefixes that trainers put before the names of an encoder's arrays."""
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"{path} is no file of plain weights ({reason}): expected a state dict") from error
    for key in ("state_dict", "model", "model_state_dict"):
        found = found.get(key, found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise RequestError(f"{path} holds {type(found).__name__}: expected a state dict, array by name")
    return {_plain(str(name)): value for name, value in found.items()}


def _plain(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _fitted(encoder: torch.nn.Module, given: State, path: Path, encoder_name: str) -> State:
    """The arrays of an encoder from a file; the first layer repeated over the bands and scaled by bands there / bands here, as for the hub's."""
    wanted = encoder.state_dict()
    first = next(f"{name}.weight" for name, each in encoder.named_modules() if isinstance(each, torch.nn.Conv2d))
    if first in given and given[first].dim() == 4:
        there, here = given[first].shape[1], wanted[first].shape[1]
        places = torch.arange(here) % there
        given[first] = given[first][:, places] * (there / here) if there != here else given[first]
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    odd = [name for name in wanted.keys() - counters if name not in given or given[name].shape != wanted[name].shape]
    if odd:
        raise RequestError(
            f"the weights {path} are of another architecture than the encoder {encoder_name}: {len(odd)} of its "
            f"{len(wanted)} arrays are lacking or of another shape, such as {min(odd)}"
        )
    if not all(bool(torch.isfinite(given[name]).all()) for name in wanted.keys() - counters):
        raise RequestError(f"the weights {path} hold values that are no finite numbers: take others")
    return {name: given.get(name, value) for name, value in wanted.items()}
