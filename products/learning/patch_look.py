"""What a network looks at in one patch, as arrays to be shown."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PatchLook:
    """A patch that the network gave `class_name`, in its middle, with `probability`; `x` and `y` of its middle in metres, CRS of the cube.

    `background` (y, x) is its first feature, `codes` (y, x) what the network says, `attention` (y, x) from 0 to 1 where it looks to say
    `class_name`; `stages` (channel, y, x) the feature maps of its encoder, from fine to coarse.
    """

    class_name: str
    probability: float
    x: float
    y: float
    background: Floats
    codes: npt.NDArray[np.uint8]
    attention: Floats
    stages: tuple[Floats, ...]

    def document(self) -> dict[str, str | float]:
        """As the card stores it."""
        return {"class": self.class_name, "probability": round(self.probability, 4), "x": self.x, "y": self.y}


def strongest(maps: Floats, most: int) -> Floats:
    """The at most `most` channels of (channel, y, x) that vary most over the patch, the first the strongest."""
    order = np.argsort(-maps.std(axis=(1, 2)), kind="stable")
    return maps[order[:most]]
