"""What a network looks at in a patch or chip: Grad-CAM, and the feature maps of its encoder."""

from typing import Any

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import NDArray

from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.network import Network, bands_of

Floats = NDArray[np.float32]


def attention(network: Network | ChipNetwork, features: Floats, number: int) -> Floats:
    """(y, x) from 0 to 1: how much the deepest features of the encoder speak for class `number` (from 0) in a patch or chip (feature, y, x).

    Grad-CAM (Selvaraju et al. 2017, ICCV, 618-626); of a patch, of the logit summed over the pixels that get the class (Vinogradova et al. 2020, AAAI 34,
    13943-13944), and 0 where none gets it.
    """
    module: Any = network.module

    def summed(bands: torch.Tensor) -> torch.Tensor:
        logits = module(bands)
        is_given = torch.zeros_like(logits).scatter_(1, logits.argmax(dim=1, keepdim=True), 1)
        return (logits * is_given).sum(dim=(2, 3))

    bands = _bands(network, features).requires_grad_()
    found = LayerGradCam(module if isinstance(network, ChipNetwork) else summed, _deepest(network)).attribute(
        bands, target=number, attribute_to_layer_input=True, relu_attributions=True
    )
    wide = LayerAttribution.interpolate(found, bands.shape[2:], "bilinear")[0, 0].detach().numpy()
    largest = float(wide.max())
    return np.asarray(wide / largest if largest > 0 else wide, dtype=np.float32)


def _deepest(network: Network | ChipNetwork) -> torch.nn.Module:
    """The part that takes the deepest features of the encoder."""
    module: Any = network.module
    if isinstance(network, ChipNetwork):
        return module.head[0]
    return module.decoder.center if network.kind == "unet" else module.decoder.aspp


def stage_maps(network: Network | ChipNetwork, features: Floats) -> tuple[Floats, ...]:
    """The feature maps (channel, y, x) of each stage of the encoder, from fine to coarse, of a patch (feature, y, x)."""
    with torch.inference_mode():
        stages = network.module.encoder(_bands(network, features))
    return tuple(stage[0].numpy() for stage in stages[1:])


def answer(network: Network, features: Floats) -> NDArray[np.uint8]:
    """Class codes 1 … (y, x) of a patch (feature, y, x) by itself."""
    with torch.inference_mode():
        logits = network.module(_bands(network, features))
    return (logits[0].argmax(dim=0).numpy() + 1).astype(np.uint8)


def _bands(network: Network | ChipNetwork, features: Floats) -> torch.Tensor:
    return torch.from_numpy(bands_of(features, network.mean, network.std)[None])
