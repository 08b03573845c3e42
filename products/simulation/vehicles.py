"""Made-up pictures from the air at 0.3 m: roads with cars and trucks, and sheds beside them that are none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from products.simulation.fields import Float, Mask, fractal_field

RESOLUTION_M = 0.3
SIZES_M = {"car": ((3.8, 5.0), (1.7, 2.0)), "truck": ((8.0, 14.0), (2.4, 2.6))}  # length and width, from and to
COLOURS = ((0.75, 0.75, 0.75), (0.5, 0.52, 0.55), (0.08, 0.08, 0.09), (0.5, 0.08, 0.07), (0.1, 0.17, 0.45))
GRASS, ASPHALT, ROOF, SHADE = (0.12, 0.18, 0.08), (0.2, 0.2, 0.21), (0.45, 0.38, 0.33), 0.4
SHADOW_M = 1.2
LANE_M = 3.5


@dataclass(frozen=True, slots=True)
class VehicleScene:
    """Reflectance (red, green, blue: 3, y, x), boxes of vehicles (n, 4: left, top, right, bottom, pixels) and what each is."""

    bands: Float
    boxes: NDArray[np.float64]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """A turned rectangle in metres: its centre, its length along `angle` and its width across."""

    x: float
    y: float
    length: float
    width: float
    angle: float

    def mask(self, side_px: int, shift_m: float = 0.0) -> Mask:
        """The pixels whose centres it holds, moved down and to the right."""
        y, x = (np.mgrid[0:side_px, 0:side_px] + 0.5) * RESOLUTION_M
        x, y = x - self.x - shift_m, y - self.y - shift_m
        along = x * np.cos(self.angle) + y * np.sin(self.angle)
        across = y * np.cos(self.angle) - x * np.sin(self.angle)
        return np.asarray((np.abs(along) <= self.length / 2) & (np.abs(across) <= self.width / 2))

    def box_px(self) -> list[float]:
        """The upright box around it, pixels."""
        c, s = abs(np.cos(self.angle)), abs(np.sin(self.angle))
        half = (self.length * c + self.width * s) / 2, (self.length * s + self.width * c) / 2
        corners = (self.x - half[0], self.y - half[1], self.x + half[0], self.y + half[1])
        return [float(each) / RESOLUTION_M for each in corners]


def make_vehicle_scene(rng: np.random.Generator, side_px: int, n_vehicles: int) -> VehicleScene:
    """A square of ground with a road and up to `n_vehicles` on its two lanes: those that would touch another or lie across the edge are left out."""
    side_m = side_px * RESOLUTION_M
    texture = 1 + 0.25 * fractal_field(rng, (side_px, side_px), 1.2, (2, side_px / 3)).astype(np.float64)
    bands: NDArray[np.float64] = np.array(GRASS)[:, None, None] * texture
    for _ in range(6):
        x, y, length, width = rng.uniform((0, 0, 2, 2), (side_m, side_m, 8, 8)).tolist()
        shed = _Rectangle(x, y, length, width, rng.uniform(0, np.pi))
        _paint(bands, shed, side_px, ROOF)
    angle = rng.uniform(0, np.pi)
    x, y = (rng.uniform(0.35, 0.65, 2) * side_m).tolist()
    road = _Rectangle(x, y, 4 * side_m, 2 * LANE_M + 2, angle)
    bands[:, road.mask(side_px)] = np.array(ASPHALT)[:, None]
    taken, boxes, names = np.zeros((side_px, side_px), np.bool_), list[list[float]](), list[str]()
    for _ in range(n_vehicles):
        name = "truck" if rng.random() < 0.25 else "car"
        vehicle = _on_road(rng, road, side_m, name)
        box = vehicle.box_px()
        mask = vehicle.mask(side_px)
        if min(box) < 0 or max(box) > side_px or (taken & mask).any():
            continue
        _paint(bands, vehicle, side_px, COLOURS[int(rng.integers(len(COLOURS)))])
        taken |= mask
        boxes.append(box)
        names.append(name)
    noisy = bands + rng.normal(0, 0.01, bands.shape)
    return VehicleScene(noisy.clip(0, 1).astype(np.float32), np.array(boxes, np.float64).reshape(-1, 4), tuple(names))


def _on_road(rng: np.random.Generator, road: _Rectangle, side_m: float, name: str) -> _Rectangle:
    along, lane = rng.uniform(-0.6, 0.6) * side_m, rng.choice([-0.5, 0.5]) * LANE_M
    x = road.x + along * np.cos(road.angle) - lane * np.sin(road.angle)
    y = road.y + along * np.sin(road.angle) + lane * np.cos(road.angle)
    length, width = (rng.uniform(*each) for each in SIZES_M[name])
    return _Rectangle(float(x), float(y), length, width, road.angle + rng.normal(0, 0.03))


def _paint(bands: NDArray[np.float64], what: _Rectangle, side_px: int, colour: tuple[float, float, float]) -> None:
    """A thing with a shadow on its lower right."""
    bands[:, what.mask(side_px, SHADOW_M)] *= SHADE
    bands[:, what.mask(side_px)] = np.array(colour)[:, None]
