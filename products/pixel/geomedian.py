"""The geometric median of many pixels side by side: `LANES` neighbouring pixels are the last axis, as in `products.pixel.lanes`."""

import numba
import numpy as np

from products.lane_code import LANES
from products.pixel.geomedian_newton import to_median
from products.pixel.lane_vectors import fused
from products.pixel.lanes import Bands, Floats

GEOMEDIAN_TOLERANCE = (
    2e-6  # reflectance; the iteration ends where the rest of the way, judged by its last two steps, is shorter
)
GEOMEDIAN_STEPS = 24
LONGEST_STRETCH = 50.0  # a step is at most as many times as long as Weiszfeld's
SMALLEST_STEP = 2e-7  # float32 cannot show less
ON_OBSERVATION = 1e-6  # reflectance; a centre closer than this lies on the observation
LONG_STEPS = 2  # along the direction of least curvature, before float64
UNIT_ROUNDING = 6e-8  # of float32, in each unit vector of the slope
GEOMEDIAN_DOUBT = 1e-5  # reflectance; a centre that may be farther from the median than this is found anew in float64


@numba.njit(nogil=True, cache=True, error_model="numpy")
def geomedian(values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, state: Floats) -> None:
    """The geometric median of the first len(bands) bands of values (k, band, lane), weight (k, lane) 1 or 0, into the first rows of state (row, lane).

    Weiszfeld's iteration from the mean, each step lengthened by the secant of the last two (Anderson 1965, depth one) unless steps grow. A lane
    stops on its own, so that its result does not depend on its neighbours. Weiszfeld 1937; Vardi and Zhang 2000 (PNAS 97, 1423); Walker and Ni 2011
    (SIAM J. Numer. Anal. 49, 1715). Where the slope that is left, over the least curvature, is a longer way than GEOMEDIAN_DOUBT, Newton's
    iteration takes over (`products.pixel.geomedian_newton`).
    """
    _start(values, n_bands, weight, highest, bands, state)
    for _ in range(GEOMEDIAN_STEPS):
        _pull(values, n_bands, weight, highest, bands, state)
        if not _move(bands, state):
            break
    for _ in range(LONG_STEPS):
        if not _doubt(values, n_bands, weight, highest, bands, state):
            return
        _long_step(bands, state)
    if _doubt(values, n_bands, weight, highest, bands, state):
        for lane in range(LANES):
            if state[(4 * len(bands) + 3) * LANES + lane] > np.float32(0.0):
                _found_anew(values, n_bands, weight, highest, bands, lane, state)


@numba.njit(nogil=True, cache=True)
def state_rows(bands: Bands) -> int:
    """Rows of the state of `geomedian`: centre, step, last move, last step; then weight on the centre, pull, last length, active, observations."""
    return 4 * len(bands) + 5


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _start(values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, state: Floats) -> None:
    """The mean; lanes with one or two observations have arrived."""
    here, pull, length, active = 4 * len(bands), 4 * len(bands) + 1, 4 * len(bands) + 2, 4 * len(bands) + 3
    state[: state_rows(bands) * LANES] = np.float32(0.0)
    for k in range(highest):
        seen, used = values[k * n_bands * LANES : (k + 1) * n_bands * LANES], weight[k * LANES : (k + 1) * LANES]
        for lane in range(LANES):
            state[pull * LANES + lane] += used[lane]
            for b in range(len(bands)):
                state[b * LANES + lane] += seen[b * LANES + lane] * used[lane]
    for lane in range(LANES):
        n = state[pull * LANES + lane]
        for b in range(len(bands)):
            state[b * LANES + lane] /= n
        state[here * LANES + lane] = np.float32(0.0)
        state[length * LANES + lane] = np.float32(-1.0)
        state[active * LANES + lane] = np.float32(1.0) if n > 2 else np.float32(0.0)
        state[(active + 1) * LANES + lane] = n


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz"})
def _pull(values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, state: Floats) -> None:
    """Sums over the observations: unit vectors from the centre to them, their inverse distances, and the weight on the centre."""
    n, here, pull = len(bands), 4 * len(bands), 4 * len(bands) + 1
    for lane in range(LANES):
        for b in range(n):
            state[(n + b) * LANES + lane] = np.float32(0.0)
        state[here * LANES + lane] = np.float32(0.0)
        state[pull * LANES + lane] = np.float32(0.0)
    for k in range(highest):
        seen, used = values[k * n_bands * LANES : (k + 1) * n_bands * LANES], weight[k * LANES : (k + 1) * LANES]
        for lane in range(LANES):
            square = np.float32(0.0)
            for b in range(n):
                away = seen[b * LANES + lane] - state[b * LANES + lane]
                square = fused(away, away, square)
            distance = np.sqrt(square)
            is_on = distance < np.float32(ON_OBSERVATION)
            share = np.float32(0.0) if is_on else used[lane] / distance
            state[here * LANES + lane] += used[lane] if is_on else np.float32(0.0)
            state[pull * LANES + lane] += share
            for b in range(n):
                away = seen[b * LANES + lane] - state[b * LANES + lane]
                state[(n + b) * LANES + lane] = fused(share, away, state[(n + b) * LANES + lane])


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz"})
def _move(bands: Bands, state: Floats) -> bool:
    """Move the centre of each lane that has not arrived; whether any has not."""
    n, here, pull, length, active = (
        len(bands),
        4 * len(bands),
        4 * len(bands) + 1,
        4 * len(bands) + 2,
        4 * len(bands) + 3,
    )
    for lane in range(LANES):
        square = np.float32(0.0)
        for b in range(n):
            square = fused(state[(n + b) * LANES + lane], state[(n + b) * LANES + lane], square)
        force = np.sqrt(square)
        on = state[here * LANES + lane]
        scale = (np.float32(1.0) - on / force) / state[pull * LANES + lane] if on < force else np.float32(0.0)
        step, change, along, moved = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for b in range(n):
            f = state[(n + b) * LANES + lane] * scale
            df = f - state[(3 * n + b) * LANES + lane]
            dx = state[(2 * n + b) * LANES + lane]
            step = fused(f, f, step)
            change = fused(df, df, change)
            along = fused(f, df, along)
            moved = fused(dx, dx, moved)
        shrinks = step < state[length * LANES + lane]
        secant = along / change if shrinks and change > np.float32(0.0) else np.float32(0.0)
        stretched = np.float32(0.0)
        for b in range(n):
            f = state[(n + b) * LANES + lane] * scale
            move = fused(-secant, state[(2 * n + b) * LANES + lane] + f - state[(3 * n + b) * LANES + lane], f)
            stretched = fused(move, move, stretched)
        longest = np.float32(LONGEST_STRETCH * LONGEST_STRETCH) * step
        cut = np.sqrt(longest / stretched) if stretched > longest else np.float32(1.0)
        goes = state[active * LANES + lane]
        for b in range(n):
            f = state[(n + b) * LANES + lane] * scale
            move = cut * fused(-secant, state[(2 * n + b) * LANES + lane] + f - state[(3 * n + b) * LANES + lane], f)
            state[(2 * n + b) * LANES + lane] = move
            state[(3 * n + b) * LANES + lane] = f if goes > np.float32(0.0) else state[(3 * n + b) * LANES + lane]
            state[b * LANES + lane] += move if goes > np.float32(0.0) else np.float32(0.0)
        rest = min(max(change / moved, np.float32(1.0 / LONGEST_STRETCH**2)), np.float32(1.0))
        near = shrinks and step <= np.float32(GEOMEDIAN_TOLERANCE**2) * rest
        far = step > np.float32(SMALLEST_STEP**2)
        state[active * LANES + lane] = goes if far and not near else np.float32(0.0)
        state[length * LANES + lane] = step
    still = np.float32(0.0)
    for lane in range(LANES):
        still = max(still, state[active * LANES + lane])
    return bool(still > np.float32(0.0))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz"})
def _doubt(values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, state: Floats) -> bool:
    """Whether any lane that may be asked has a centre that may be off by more than GEOMEDIAN_DOUBT: these are active then, others are asked no more.

    The way that is left is the slope, over the least curvature: the sum of (1 - cosine^2) / distance along a direction. The direction is the last step's,
    multiplied by the sum of the outer products of the unit vectors over distance: one step of the power method, which is enough where Weiszfeld's
    iteration is slow, since there one direction outweighs all others. Leaves the pull, that direction, its curvature and the sum of inverse distances.
    """
    n, here, least, weights, active = (
        len(bands),
        4 * len(bands),
        4 * len(bands) + 1,
        4 * len(bands) + 2,
        4 * len(bands) + 3,
    )
    _unit(n, 3 * n, state)
    for lane in range(LANES):
        for b in range(n):
            state[(n + b) * LANES + lane] = np.float32(0.0)
            state[(2 * n + b) * LANES + lane] = np.float32(0.0)
        state[here * LANES + lane] = np.float32(0.0)
        state[least * LANES + lane] = np.float32(0.0)
        state[weights * LANES + lane] = np.float32(0.0)
    for k in range(highest):
        seen, used = values[k * n_bands * LANES : (k + 1) * n_bands * LANES], weight[k * LANES : (k + 1) * LANES]
        for lane in range(LANES):
            square, along = np.float32(0.0), np.float32(0.0)
            for b in range(n):
                away = seen[b * LANES + lane] - state[b * LANES + lane]
                square = fused(away, away, square)
                along = fused(away, state[(3 * n + b) * LANES + lane], along)
            distance = np.sqrt(square)
            is_on = distance < np.float32(ON_OBSERVATION)
            share = np.float32(0.0) if is_on else used[lane] / distance
            cube = share * share * share * along
            state[here * LANES + lane] += used[lane] if is_on else np.float32(0.0)
            state[weights * LANES + lane] += share
            for b in range(n):
                away = seen[b * LANES + lane] - state[b * LANES + lane]
                state[(n + b) * LANES + lane] = fused(share, away, state[(n + b) * LANES + lane])
                state[(2 * n + b) * LANES + lane] = fused(cube, away, state[(2 * n + b) * LANES + lane])
    _unit(n, 2 * n, state)
    for k in range(highest):
        seen, used = values[k * n_bands * LANES : (k + 1) * n_bands * LANES], weight[k * LANES : (k + 1) * LANES]
        for lane in range(LANES):
            square, along = np.float32(0.0), np.float32(0.0)
            for b in range(n):
                away = seen[b * LANES + lane] - state[b * LANES + lane]
                square = fused(away, away, square)
                along = fused(away, state[(2 * n + b) * LANES + lane], along)
            distance = np.sqrt(square)
            share = np.float32(0.0) if distance < np.float32(ON_OBSERVATION) else used[lane] / distance
            cosine = along * share
            least_here = state[least * LANES + lane]
            state[least * LANES + lane] = fused(share, fused(-cosine, cosine, np.float32(1.0)), least_here)
    doubts = np.float32(0.0)
    for lane in range(LANES):
        square = np.float32(0.0)
        for b in range(n):
            square = fused(state[(n + b) * LANES + lane], state[(n + b) * LANES + lane], square)
        on, count = state[here * LANES + lane], state[(active + 1) * LANES + lane]
        left = np.sqrt(square) - on
        most_left = fused(np.float32(UNIT_ROUNDING), count, left)
        is_far = most_left > np.float32(GEOMEDIAN_DOUBT) * state[least * LANES + lane] or (
            on > np.float32(0.0) and left > np.float32(0.0)
        )
        is_active = is_far and count > np.float32(2.0)
        state[active * LANES + lane] = np.float32(1.0) if is_active else np.float32(0.0)
        state[(active + 1) * LANES + lane] *= state[active * LANES + lane]
        doubts += state[active * LANES + lane]
    return bool(doubts > np.float32(0.0))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz"})
def _unit(n: int, first: int, state: Floats) -> None:
    """Make the vector of each lane in n rows of the state as long as one; one without length stays."""
    for lane in range(LANES):
        square = np.float32(0.0)
        for b in range(n):
            square = fused(state[(first + b) * LANES + lane], state[(first + b) * LANES + lane], square)
        share = np.float32(1.0) / np.sqrt(square) if square > np.float32(0.0) else np.float32(0.0)
        for b in range(n):
            state[(first + b) * LANES + lane] *= share


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz"})
def _long_step(bands: Bands, state: Floats) -> None:
    """Move the doubted centres by Newton's step along the direction of least curvature, and by Weiszfeld's across it, after `_doubt`."""
    n, least, weights, active = len(bands), 4 * len(bands) + 1, 4 * len(bands) + 2, 4 * len(bands) + 3
    for lane in range(LANES):
        along = np.float32(0.0)
        for b in range(n):
            along = fused(state[(n + b) * LANES + lane], state[(2 * n + b) * LANES + lane], along)
        inverse, curvature = state[weights * LANES + lane], state[least * LANES + lane]
        extra = along / curvature - along / inverse if curvature > np.float32(0.0) else np.float32(0.0)
        goes = state[active * LANES + lane] > np.float32(0.0)
        for b in range(n):
            move = fused(extra, state[(2 * n + b) * LANES + lane], state[(n + b) * LANES + lane] / inverse)
            state[b * LANES + lane] += move if goes else np.float32(0.0)
            state[(3 * n + b) * LANES + lane] = state[(2 * n + b) * LANES + lane]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _found_anew(
    values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, lane: int, state: Floats
) -> None:
    """The median of one lane in float64 from the mean, into its centre."""
    seen, centre = np.empty((int(state[(4 * len(bands) + 4) * LANES + lane]), len(bands))), np.empty(len(bands))
    used = 0
    for k in range(highest):
        if weight[k * LANES + lane] > np.float32(0.0):
            for b in range(len(bands)):
                seen[used, b] = values[(k * n_bands + b) * LANES + lane]
            used += 1
    for b in range(len(bands)):
        centre[b] = np.mean(seen[:, b])
    to_median(seen, centre)
    for b in range(len(bands)):
        state[b * LANES + lane] = np.float32(centre[b])
