"""A trained network as a file of plain arrays, and the probabilities that it gives a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flows.steps.networks.blending import blended, blended_picture
from flows.steps.networks.weights_file import (
    MEAN,
    STD,
    Arrays,
    SavedNetwork,
    check_shapes,
    read,
    unreadable,
    weights_of,
)
from products.devices import Device
from products.errors import RequestError
from products.learning.learned import Shape
from products.learning.network_spec import Kind, NetworkSpec
from products.learning.normalised import normalise
from products.learning.patches import PatchLattice

# every batch of a device has its size, zeros fill the last: what a patch is given does not depend on how many are asked
BATCH: dict[Device, int] = {"cpu": 8, "gpu": 64}
KIND_NAMES: dict[Kind, str] = {"unet": "U-Net", "deeplab": "DeepLabV3+"}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Network(SavedNetwork):
    """Weights by name, and what is needed to use them: names of features and classes, and mean and standard deviation of each feature.

    The bands of the network are the features, less mean and divided by standard deviation, 0 where missing; and the share of
    features that a pixel has.
    """

    HEADER: ClassVar[tuple[str, ...]] = (
        "kind",
        "encoder",
        "depth",
        "patch_px",
        "overlap_px",
        "feature_names",
        "class_names",
    )
    kind: Kind
    encoder: str
    depth: int
    patch_px: int
    overlap_px: int
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]

    def describe(self) -> str:
        """What it is, in words."""
        name = KIND_NAMES[self.kind]
        return f"a {name} with {self.encoder} ({self.n_weights:,} weights) on patches of {self.patch_px} px, {self.overlap_px} px overlap"

    def shape(self) -> Shape:
        """Patches of features in, patches of classes out."""
        side = {"height": self.patch_px, "width": self.patch_px}
        inputs = {"batch": -1, "channel": len(self.feature_names), **side}
        outputs = {"batch": -1, "class": len(self.class_names), **side}
        return Shape(KIND_NAMES[self.kind], "semantic-segmentation", inputs, outputs)

    @property
    def margin_px(self) -> int:
        """How far around a window its patches reach."""
        return PatchLattice(self.patch_px, self.overlap_px).margin_px

    def probabilities_of_window(self, features: Floats, margin_px: int = 0, row: int = 0, column: int = 0) -> Floats:
        """(class, y, x) probabilities of a window of `features` (feature, y, x) with a margin around it; NaN where a pixel lacks all features.

        `row` and `column` are the window's first pixel in the plane that all patches are laid out on: with neighbours in a margin of
        `patch_px - 1`, areas may be cut anywhere. Beyond the margin features count as missing.
        """
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the network needs {len(self.feature_names)} features, got {features.shape[0]}")
        whole = with_margin(features, margin_px, self.margin_px)
        lattice, bands = PatchLattice(self.patch_px, self.overlap_px), bands_of(whole, self.mean, self.std)
        return blended(bands, (row, column), lattice, self.shares, len(self.class_names), BATCH[self.device])

    def probabilities_of_picture(self, features: Floats) -> Floats:
        """(class, y, x) probabilities of a picture (feature, y, x) that is whole in itself, by patches inside it; NaN where a pixel lacks all features."""
        bands, lattice = bands_of(features, self.mean, self.std), PatchLattice(self.patch_px, self.overlap_px)
        return blended_picture(bands, lattice, self.shares, len(self.class_names), BATCH[self.device])

    def probabilities_of_patches(self, features: Floats) -> Floats:
        """(n, class, y, x) probabilities of patches (n, feature, y, x), each by itself."""
        return self.shares(bands_of(features, self.mean, self.std))

    def looked_at(self, features: Floats, margin_px: int, row: int, column: int) -> Floats:
        """(feature, y, x) of a window without its margin: what tells whether its pixels are like those that were trained on."""
        inner = slice(margin_px, features.shape[1] - margin_px), slice(margin_px, features.shape[2] - margin_px)
        return np.ascontiguousarray(features[:, *inner])

    def untrained(self) -> Any:  # noqa: ANN401
        """A torch module of its architecture, with any weights, on the CPU."""
        from flows.steps.networks.architecture import Architecture, untrained

        shape = Architecture(self.kind, self.encoder, self.depth, len(self.feature_names) + 1, len(self.class_names))
        return untrained(shape)


def with_margin(features: Floats, margin_px: int, wanted_px: int) -> Floats:
    """A window (feature, y, x) with a margin of another width, NaN where it is wider."""
    cut = margin_px - wanted_px
    kept, edge = max(cut, 0), (max(-cut, 0),) * 2
    inner = features[:, kept : features.shape[1] - kept, kept : features.shape[2] - kept]
    return np.pad(inner, ((0, 0), edge, edge), constant_values=np.nan)


def bands_of(features: Floats, mean: Floats, std: Floats, out: Floats | None = None) -> Floats:
    """(…, feature + 1, y, x): features (…, feature, y, x) normalised, 0 where missing, and the share of features that a pixel has; in `out` if given."""
    *before, n, rows, columns = features.shape
    found = np.empty((*before, n + 1, rows, columns), np.float32) if out is None else out
    for each in np.ndindex(*before):
        normalise(features[each], mean, std, found[each])
    return found


def network_from_bytes(content: bytes, origin: str) -> Network:
    """The network of a file, the name and shape of each array checked; RequestError for anything else."""
    return network_of(*read(content, origin), origin)


def network_of(header: Mapping[str, Any], arrays: Arrays, origin: str) -> Network:
    """The network that the header and the arrays of a file say, the name and shape of each array checked; RequestError where they say none."""
    try:
        said: dict[str, Any] = {name: header[name] for name in Network.HEADER}
        NetworkSpec.model_validate({name: said[name] for name in ("encoder", "depth", "patch_px", "overlap_px")})
        _ = KIND_NAMES[said["kind"]]
        said |= {name: tuple(said[name]) for name in ("feature_names", "class_names")}
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(origin, error) from error
    found = Network(**said, mean=arrays[MEAN], std=arrays[STD], weights=weights_of(arrays))
    _check(found, origin)
    return found


def _check(network: Network, origin: str) -> None:
    from flows.steps.networks.architecture import Architecture, shapes_of

    n = len(network.feature_names)
    shapes = shapes_of(Architecture(network.kind, network.encoder, network.depth, n + 1, len(network.class_names)))
    own = {MEAN: network.mean, STD: network.std}
    expected = shapes | {MEAN: (n,), STD: (n,)}
    check_shapes({**network.weights, **own}, expected, f"{network.kind} with {network.encoder}", origin)
