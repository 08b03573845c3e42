"""Where the bands of a scene are wanted: what lies beneath clouds alone need not be decoded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from products.pixel.clear import squares_with

SQUARE_PX = 32


@dataclass(frozen=True, slots=True)
class WantedPixels:
    """Whether each square of 32 pixels of a tile holds a wanted one, bool (y, x)."""

    squares: NDArray[np.bool_]

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
