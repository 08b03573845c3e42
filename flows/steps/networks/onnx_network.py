"""A network as an ONNX graph that takes features as they are, and how far it is from the network itself."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.encoder_file import Encoder
from flows.steps.networks.network import Network
from flows.steps.networks.temporal_network import TemporalNetwork

NETWORK_TOLERANCE = 1e-4
"""Largest difference of a share from the network's own, as runtimes add float32 in other orders; of an encoder relative to the largest value of a stage."""
OPSET = 18
TRIED = 4
SIDE_OF_ENCODER_PX = 64
Floats = NDArray[np.float32]
AnyNetwork = Network | ChipNetwork | TemporalNetwork | Encoder


class _Squares(torch.nn.Module):
    """Features (n, feature, y, x), NaN where missing, to shares and codes; normalised as training was, NaN and 0 where a pixel or chip has none."""

    def __init__(self, network: Network | ChipNetwork) -> None:
        super().__init__()
        self.network, self.is_map = network.module, isinstance(network, Network)
        self.register_buffer("mean", torch.from_numpy(network.mean.copy())[:, None, None])
        self.register_buffer("std", torch.from_numpy(network.std.copy())[:, None, None])

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        is_there = torch.isfinite(features)
        scaled = torch.where(is_there, (features - mean) / std, torch.zeros_like(features))
        bands = torch.cat([scaled, is_there.to(features.dtype).mean(dim=1, keepdim=True)], dim=1)
        has_any = is_there.any(dim=1) if self.is_map else is_there.flatten(1).any(dim=1)
        return _answer(self.network(bands), has_any)


class _Series(torch.nn.Module):
    """Features (n, step and layer) to shares (n, class) and codes (n,); NaN and 0 where one is missing."""

    def __init__(self, network: TemporalNetwork) -> None:
        super().__init__()
        self.network, self.n_steps, self.n_layers = network.module, network.n_steps, network.mean.size
        self.register_buffer("mean", torch.from_numpy(network.mean.copy()))
        self.register_buffer("std", torch.from_numpy(network.std.copy()))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        is_whole = torch.isfinite(features).all(dim=1)
        known = torch.where(is_whole[:, None], features, torch.zeros_like(features))
        steps = known.reshape(-1, self.n_steps, self.n_layers)
        series = (steps - self.get_buffer("mean")) / self.get_buffer("std")
        return _answer(self.network(series.transpose(1, 2)), is_whole)


def _answer(logits: torch.Tensor, is_known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shares = torch.softmax(logits, dim=1)
    code = torch.where(is_known, shares.argmax(dim=1) + 1, 0)
    return torch.where(is_known.unsqueeze(1), shares, torch.nan), code


def network_graph(network: AnyNetwork) -> bytes:
    """The graph: `features` to `probabilities` and `code`; of an encoder `bands`, normalised, with the share of features, to `stage_1`, `stage_2`, …."""
    n = torch.export.Dim("n", min=1)
    if isinstance(network, Encoder):
        module: Any = _Stages(network.module)
        given, names = "bands", [f"stage_{number}" for number in range(1, network.depth + 1)]
    else:
        module = _Series(network) if isinstance(network, TemporalNetwork) else _Squares(network)
        given, names = "features", ["probabilities", "code"]
    said = {"digest": network.digest(), "features": ",".join(network.feature_names)}
    if not isinstance(network, Encoder):
        said["classes"] = ",".join(network.class_names)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="neocube-onnx-") as folder:
        warnings.simplefilter("ignore")  # the exporter tells what it is going to change in itself
        made = torch.onnx.export(
            module.eval(), (torch.from_numpy(trial_features(network, 2)),), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=[given], output_names=names, dynamic_shapes=({0: n},),
        )  # fmt: skip
        made.model.metadata_props.update(said)
        path = Path(folder) / "network.onnx"
        made.save(path)
        return path.read_bytes()


class _Stages(torch.nn.Module):
    """Bands (n, band, y, x) to the features of each stage but the first, which is the bands."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, bands: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.encoder(bands)[1:])


def trial_features(network: AnyNetwork, n: int = TRIED, seed: int = 0) -> Floats:
    """What a graph is tried on, (n, …) float32: features about their mean; some are missing, and of the last all."""
    draw = np.random.default_rng(seed)
    if isinstance(network, Encoder):
        side = SIDE_OF_ENCODER_PX
        return draw.normal(0, 1, (n, len(network.feature_names) + 1, side, side)).astype(np.float32)
    if isinstance(network, TemporalNetwork):
        steps = draw.normal(0, 1.5, (n, network.n_steps, network.mean.size)) * network.std + network.mean
        found = steps.reshape(n, -1).astype(np.float32)
        found[-1, 0] = np.nan
        return found
    side = network.patch_px if isinstance(network, Network) else network.size_px
    shape = (n, network.mean.size, side, side)
    found = (draw.normal(0, 1.5, shape) * network.std[:, None, None] + network.mean[:, None, None]).astype(np.float32)
    found[0, 0, : side // 4], found[-1] = np.nan, np.nan
    return found


def network_difference(network: AnyNetwork, content: bytes) -> float:
    """How far the graph is from the network, at most; RuntimeError beyond NETWORK_TOLERANCE, where a class differs or what is missing is taken for known."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = trial_features(network, seed=1)
    found = session.run(None, {session.get_inputs()[0].name: given})
    if isinstance(network, Encoder):
        with torch.inference_mode():
            stages = [each.numpy() for each in network.module(torch.from_numpy(given))[1:]]
        return _within(max(_relative(own, said) for own, said in zip(stages, found, strict=True)), 0)
    shares, code = np.moveaxis(found[0].astype(np.float64), 1, -1), found[1]
    own = np.moveaxis(own_answer(network, given).astype(np.float64), 1, -1)
    is_known = np.isfinite(own[..., 0])
    if (np.isnan(shares).any(axis=-1) == is_known).any() or (code[~is_known] != 0).any():
        raise RuntimeError("the ONNX graph takes what is missing for known: this is a bug in neocube")
    ordered = np.sort(own, axis=-1)
    is_clear = is_known & (ordered[..., -1] - ordered[..., -2] > 2 * NETWORK_TOLERANCE)
    n_other = int(np.count_nonzero(is_clear & np.not_equal(code, own.argmax(axis=-1) + 1)))
    return _within(float(np.abs(shares - own)[is_known].max()), n_other)


def own_answer(network: Network | ChipNetwork | TemporalNetwork, features: Floats) -> Floats:
    """(n, class, …) what the network itself says of features (n, …), NaN where it says nothing."""
    if isinstance(network, TemporalNetwork):
        return network.probabilities(np.ascontiguousarray(features.T)).T
    if isinstance(network, Network):
        has_any = np.isfinite(features).any(axis=1, keepdims=True)
        return np.where(has_any, network.probabilities_of_patches(features), np.float32(np.nan))
    has_any = np.isfinite(features).reshape(len(features), -1).any(axis=1, keepdims=True)
    return np.where(has_any, network.probabilities(features), np.float32(np.nan))


def _relative(own: Floats, said: Floats) -> float:
    return float(np.abs(own - said).max() / max(float(np.abs(own).max()), 1e-12))


def _within(apart: float, n_other: int) -> float:
    if apart > NETWORK_TOLERANCE or n_other:
        raise RuntimeError(
            f"the ONNX graph differs from the network by {apart:g}, and in {n_other} classes: expected at most {NETWORK_TOLERANCE:g} and none; "
            "it is not handed out"
        )
    return apart
