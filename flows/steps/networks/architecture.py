"""Networks by name: U-Net and DeepLabV3+ of segmentation-models-pytorch, for any number of bands."""

from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch

from products.errors import RequestError
from products.formula import near
from products.learning.network_spec import Kind

DECODER_CHANNELS = (256, 128, 64, 32, 16)  # of the U-Net of segmentation-models-pytorch, from the deepest
PROBE_PX = 64
LEAST_MOMENTUM = 0.1  # of running statistics, that of torch; the 0.01 of EfficientNet is for 100,000 steps: after 100 a third is the first values


@dataclass(frozen=True, slots=True)
class Architecture:
    """What decides the shape of every array of a network."""

    kind: Kind
    encoder: str
    depth: int
    n_bands: int
    n_classes: int


def check_encoder(name: str) -> None:
    """RequestError unless segmentation-models-pytorch has an encoder of this name."""
    known = smp.encoders.get_encoder_names()
    if name not in known:
        raise RequestError(f"unknown encoder {name!r}{near(name, known)}: expected one of segmentation-models-pytorch")


def untrained(architecture: Architecture, hub_weights: str | None = None) -> torch.nn.Module:
    """The network with random weights, its encoder's perhaps from the hub; (n, band, y, x) to logits (n, class, y, x).

    For more bands than three, segmentation-models-pytorch repeats the hub's first layer over the bands and scales it by 3 / bands.
    """
    check_encoder(architecture.encoder)
    shape = {
        "encoder_name": architecture.encoder,
        "encoder_depth": architecture.depth,
        "encoder_weights": hub_weights,
        "in_channels": architecture.n_bands,
        "classes": architecture.n_classes,
    }
    try:
        if architecture.kind == "unet":
            network = smp.Unet(**shape, decoder_channels=DECODER_CHANNELS[-architecture.depth :])
        else:
            network = smp.DeepLabV3Plus(**shape)
        hasten_statistics(network)
        return _without_idle(network, architecture)
    except NotImplementedError as error:
        raise RequestError(
            f"the encoder {architecture.encoder} cannot be that of a {architecture.kind}: {error}; take a resnet"
        ) from error


def hasten_statistics(network: torch.nn.Module) -> None:
    """Let the running mean and variance of batch normalisation follow the batches within some dozen steps: they are what a trained network uses."""
    for part in network.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.momentum is not None:
            part.momentum = max(part.momentum, LEAST_MOMENTUM)


def hub_sets(encoder: str) -> list[str]:
    """The names of the weights that an encoder has in its hub."""
    check_encoder(encoder)
    return sorted(smp.encoders.encoders[encoder]["pretrained_settings"])


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The name and shape of every array of a network."""
    return {name: tuple(array.shape) for name, array in untrained(architecture).state_dict().items()}


def _without_idle(network: torch.nn.Module, architecture: Architecture) -> torch.nn.Module:
    """The network without the parts of its encoder that a smaller depth leaves idle: they fill files, and DDP stops at weights without a gradient."""
    called: set[torch.nn.Module] = set()
    hooks = [each.register_forward_hook(lambda module, *_: called.add(module)) for each in network.modules()]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, architecture.n_bands, PROBE_PX, PROBE_PX))
    for hook in hooks:
        hook.remove()
    encoder: Any = network.encoder
    for name, part in encoder.named_children():
        if not called & set(part.modules()):
            setattr(encoder, name, torch.nn.Identity())
    return network.train()
