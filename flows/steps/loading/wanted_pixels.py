"""Where the bands of a scene are wanted: what lies beneath clouds alone need not be decoded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from products.pixel.clear import squares_with
from products.window.resample import SQUARE_PX, Flags


@dataclass(frozen=True, slots=True)
class WantedPixels:
    """Whether each square of `SQUARE_PX` pixels of a tile holds a wanted one, bool (y, x)."""

    squares: Flags

    @classmethod
    def of(cls, causes: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> "WantedPixels":
        """Those of causes (y, x) that are wanted, bool (256,)."""
        return cls(squares_with(causes, wanted, SQUARE_PX))

    def __bool__(self) -> bool:
        return bool(self.squares.any())

    def any_in(self, top: float, left: float, bottom: float, right: float) -> bool:
        """Whether there may be one in a rectangle of pixels of the tile, widened to whole squares."""
        rows, columns = (
            slice(max(math.floor(first / SQUARE_PX), 0), max(math.ceil(last / SQUARE_PX), 0))
            for first, last in ((top, bottom), (left, right))
        )
        return bool(self.squares[rows, columns].any())


def wanted_squares(wanted: WantedPixels | None, shape: tuple[int, ...]) -> Flags:
    """Whether each square of a tile of a shape is wanted, bool (y, x): all, where nobody says."""
    return np.ones([-(-side // SQUARE_PX) for side in shape], np.bool_) if wanted is None else wanted.squares
