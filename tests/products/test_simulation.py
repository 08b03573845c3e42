"""The simulated coast: classes, tides, sensors and quality layers against known values."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from products.period import parse_period
from products.pixel.harmonise import TO_OLI
from products.simulation.canvas import Edge, Frame, place_canvas
from products.simulation.fields import fractal_field
from products.simulation.labels import SQUARE_PX, label_squares
from products.simulation.landscape import CLASS_NAMES, MANGROVE, WATER, Landscape, make_landscape
from products.simulation.observation import Observation, observe
from products.simulation.passes import (
    PLATFORMS,
    Pass,
    mgrs_squares,
    passes_over,
    sun_over,
    tide_m,
    wrs_path_rows,
)
from products.simulation.quality import qa_pixel
from products.simulation.response import as_platform, block_average, landsat_average, quantised, slc_off_kept
from products.simulation.scenes import Layer, cut, frames_of, landsat_layers, msi_layers
from products.simulation.sky import CLOUD, make_sky
from products.simulation.spectra import BANDS, SPECTRA, surface_at_tide, surface_reflectance

PLACE = (100.845, 4.95)
SIZE_PX = 64


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return make_landscape(np.random.default_rng(3), place_canvas(*PLACE, SIZE_PX).fine_px)


def _pass(platform: str, day: str = "2020-03-01") -> Pass:
    found = next(one for one in PLATFORMS if one.name == platform)
    return Pass(found, datetime.fromisoformat(day).replace(hour=3, minute=30, tzinfo=UTC), 128)


def _layers(
    landscape: Landscape, platform: str, day: str = "2020-03-01", *, add_offset: bool = False, seed: int = 5
) -> tuple[Observation, dict[str, Layer]]:
    one, rng = _pass(platform, day), np.random.default_rng(seed)
    bands = BANDS if one.is_msi else ("coastal", "blue", "green", "red", "nir_narrow", "swir1", "swir2")
    seen = observe(landscape, one, sun_over(*PLACE, one.instant), 0.2, bands, rng)
    if one.is_msi:
        return seen, msi_layers(seen, one, rng, add_offset=add_offset)
    return seen, landsat_layers(seen, one, SIZE_PX, rng)


def test_every_class_has_its_part_of_the_coast(landscape: Landscape) -> None:
    shares = {name: float((landscape.classes == code).mean()) for code, name in CLASS_NAMES.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0.03 for share in shares.values())
    assert shares["mangrove"] > 0.15
    assert shares["water"] > 0.2


def test_the_same_seed_makes_the_same_landscape() -> None:
    first, second = (make_landscape(np.random.default_rng(9), 96) for _ in range(2))
    assert first.classes.tobytes() == second.classes.tobytes()
    assert first.elevation_m.tobytes() == second.elevation_m.tobytes()


def test_a_rising_tide_only_drowns(landscape: Landscape) -> None:
    low, high = (surface_at_tide(landscape, tide) == WATER for tide in (-1.0, 1.0))
    assert not (low & ~high).any()
    assert high.sum() > low.sum()
    assert (surface_at_tide(landscape, 1.0)[landscape.classes == MANGROVE] == MANGROVE).all()


def test_mangrove_spectra_have_the_mangrove_vegetation_index_of_mangroves() -> None:
    green, nir, swir1 = (BANDS.index(band) for band in ("green", "nir_narrow", "swir1"))
    for spectrum in SPECTRA[MANGROVE]:
        assert (spectrum[nir] - spectrum[green]) / (spectrum[swir1] - spectrum[green]) > 4.4


def test_mangrove_is_evergreen_and_other_vegetation_is_not(landscape: Landscape) -> None:
    wet, dry = (surface_reflectance(landscape, day, 0.0, ("swir1",))[0] for day in (335, 150))
    change = {
        name: float((dry - wet)[landscape.ground == code].mean() / wet[landscape.ground == code].mean())
        for code, name in CLASS_NAMES.items()
    }
    assert change["other_vegetation"] > 0.2
    assert abs(change["mangrove"]) < 0.05


def test_fractal_fields_are_standardised_and_periodic() -> None:
    field = fractal_field(np.random.default_rng(0), (64, 90), 1.5, (1, 20))
    assert field.dtype == np.float32
    assert float(field.mean()) == pytest.approx(0, abs=1e-5)
    assert float(field.std()) == pytest.approx(1, abs=1e-5)
    assert np.abs(field[0] - field[-1]).max() < 1.5


def test_a_landsat_pixel_averages_the_cells_it_covers_by_area() -> None:
    fine = np.zeros((9, 9), dtype=np.float32)
    fine[1, 1] = 1.0
    assert landsat_average(fine, 0, 0, 1, 1)[0, 0] == pytest.approx(0.25 / 9)
    fine[2, 2] = 1.0
    assert landsat_average(fine, 0, 0, 1, 1)[0, 0] == pytest.approx(1.25 / 9)
    whole = np.random.default_rng(0).random((18, 18)).astype(np.float32)
    assert landsat_average(np.ones_like(whole), 0, 0, 4, 4) == pytest.approx(np.ones((4, 4)))
    np.testing.assert_allclose(landsat_average(whole, 1, 2, 2, 2), landsat_average(whole, 0, 0, 4, 4)[1:3, 2:4])


def test_blocks_are_averaged() -> None:
    np.testing.assert_allclose(
        block_average(np.arange(16, dtype=np.float32).reshape(4, 4), 2), [[2.5, 4.5], [10.5, 12.5]]
    )


@pytest.mark.parametrize("platform", sorted(TO_OLI))
def test_the_published_adjustment_undoes_the_simulated_band_pass(platform: str) -> None:
    truth = np.linspace(0, 0.6, 7, dtype=np.float32)
    for band, (slope, intercept) in TO_OLI[platform].items():
        np.testing.assert_allclose(slope * as_platform(truth, platform, band) + intercept, truth, atol=1e-6)


def test_band_pass_tables_are_the_published_ones(shared_data: Path) -> None:
    facts = json.loads((shared_data / "reference/facts/bandpass_coefficients.json").read_text())
    roy = facts["roy2016"]["OLI_from_ETM+_RMA"]
    assert list(TO_OLI["landsat-7"].values()) == list(zip(roy["slope"], roy["intercept"], strict=True))
    for platform, table in (("sentinel-2a", "S2A"), ("sentinel-2b", "S2B")):
        hls = facts["hls"][table]
        assert list(TO_OLI[platform].values()) == list(zip(hls["slope"], hls["intercept"], strict=True))


def test_digital_numbers_follow_the_product_guides() -> None:
    reflectance = np.array([[0.0, 0.75, -0.5]], dtype=np.float32)
    seen = np.array([[True, True, True]])
    assert quantised(reflectance, 2.75e-5, -0.2, seen).tolist() == [[7273, 34545, 1]]
    assert quantised(reflectance, 1e-4, -0.1, seen).tolist() == [[1000, 8500, 1]]
    assert quantised(reflectance, 1e-4, 0.0, ~seen).tolist() == [[0, 0, 0]]


def test_qa_pixel_has_the_values_of_real_scenes() -> None:
    cloud, shadow, water = (np.zeros((1, 12), dtype=bool) for _ in range(3))
    none, seen = np.zeros((1, 12), dtype=bool), np.ones((1, 12), dtype=bool)
    cloud[0, 0], shadow[0, 5], water[0, 8], seen[0, 11] = True, True, True, False
    oli = qa_pixel(cloud, shadow, none, water, seen, has_cirrus_band=True)[0]
    assert oli[[0, 1, 5, 7, 8, 11]].tolist() == [22280, 21762, 23888, 21824, 21952, 1]
    etm = qa_pixel(cloud, shadow, none, water, seen, has_cirrus_band=False)[0]
    assert etm[[0, 1, 5, 7, 8]].tolist() == [5896, 5442, 7440, 5440, 5504]


def test_slc_off_wedges_grow_eastwards() -> None:
    kept = slc_off_kept((330, 160), 0.2)
    assert kept[:, :20].mean() > kept[:, -20:].mean()
    assert 0.7 < kept.mean() < 0.85


def test_landsat_7_has_gaps_only_after_the_failure(landscape: Landscape) -> None:
    assert (_layers(landscape, "landsat-7", "2003-05-30")[1]["red"] > 0).all()
    after = _layers(landscape, "landsat-7", "2003-06-15")[1]
    lost = after["red"] == 0
    assert 0.1 < lost.mean() < 0.4
    assert (after["qa_pixel"][lost] == 1).all()
    assert (after["qa_radsat"][lost] == 512).all()


def test_bright_clouds_exceed_the_signed_range(landscape: Landscape) -> None:
    brightest = max(int(_layers(landscape, "landsat-8", seed=seed)[1]["nir"].max()) for seed in range(4))
    assert brightest > 32767


def test_the_offset_is_a_thousand_digital_numbers(landscape: Landscape) -> None:
    plain = _layers(landscape, "sentinel-2a")[1]["red"].astype(int)
    raised = _layers(landscape, "sentinel-2a", add_offset=True)[1]["red"].astype(int)
    assert (raised - plain)[plain > 1].tolist() == [1000] * int((plain > 1).sum())


@pytest.mark.parametrize("platform", ["landsat-8", "sentinel-2b"])
def test_quality_layers_agree_with_the_true_sky_but_for_some_errors(landscape: Landscape, platform: str) -> None:
    agreed = total = wrong = 0
    for seed in range(6):
        layers = _layers(landscape, platform, seed=seed)[1]
        found = np.isin(layers["scl"], (7, 8, 9)) if "scl" in layers else (layers["qa_pixel"] >> 3) & 1 == 1
        cloudy = layers["sky"] == CLOUD
        agreed, total = agreed + int((found == cloudy).sum()), total + cloudy.size
        wrong += int((found != cloudy).sum())
    assert agreed / total > 0.9
    assert wrong > 0


def test_two_rows_of_a_pass_show_the_same_pixels(landscape: Landscape) -> None:
    one, canvas = _pass("landsat-8"), place_canvas(*PLACE, SIZE_PX)
    layers = _layers(landscape, "landsat-8")[1]
    north, south = frames_of(one, canvas, *PLACE)
    above, below = (cut(layers, frame, one, SIZE_PX)["red"] for frame in (north, south))
    shared = above[south.row :], below[: north.height - south.row]
    both = (shared[0] > 0) & (shared[1] > 0)
    assert both.mean() > 0.3
    assert (shared[0][both] == shared[1][both]).all()
    assert (above == 0).any()
    assert ((shared[0] > 0) | (shared[1] > 0)).all()


def test_two_tiles_of_a_pass_overlap_and_cover_the_landscape() -> None:
    one, canvas = _pass("sentinel-2a"), place_canvas(*PLACE, SIZE_PX)
    west, east = frames_of(one, canvas, *PLACE)
    assert (west.name, east.name) == ("47NPF", "47NQF")
    assert east.column < west.width
    assert east.column + east.width == canvas.fine_px
    assert west.width % 6 == east.column % 6 == 0


def test_the_footprint_is_the_outline_of_valid_pixels() -> None:
    canvas = place_canvas(*PLACE, SIZE_PX)
    frame = Frame("128056", 0, 0, 40, SIZE_PX, Edge(-0.16, 1.0, 0.4))
    geobox = canvas.landsat_frame(0, 0, 40, SIZE_PX)
    outline = frame.footprint(geobox, SIZE_PX).to_crs(geobox.crs)
    assert outline.area / geobox.extent.area == pytest.approx(frame.seen(SIZE_PX).mean(), abs=0.02)


@pytest.mark.parametrize("place", [PLACE, (-47.9, -0.8), (151.2, -33.9), (12.0, 60.0)])
def test_grids_are_anchored_as_in_life(place: tuple[float, float]) -> None:
    canvas = place_canvas(*place, SIZE_PX)
    landsat, fine, coarse = (
        canvas.landsat_geobox,
        canvas.msi_frame(0, 0, 60, 60, 10),
        canvas.msi_frame(0, 0, 60, 60, 20),
    )
    assert landsat.affine.c % 30 == landsat.affine.f % 30 == 15
    assert fine.affine.c % 10 == fine.affine.f % 10 == coarse.affine.c % 20 == coarse.affine.f % 20 == 0
    assert landsat.crs.epsg // 100 == 326
    assert fine.crs.epsg // 100 == (327 if place[1] < 0 else 326)
    assert (fine.affine.f > 0) or place[1] >= 0
    centre = landsat.extent.to_crs("EPSG:4326").centroid.coords[0]
    assert centre == pytest.approx(place, abs=0.01)


def test_landsat_days_paths_and_rows_are_the_true_ones() -> None:
    assert wrs_path_rows(*PLACE) == (128, 56, 57)
    assert wrs_path_rows(101.69, 3.14)[0] == 127
    days = {one.instant.date().isoformat() for one in passes_over(-121.5, 47.4, parse_period("2020"))}
    assert wrs_path_rows(-123.3, 47.4)[0] == 47
    assert days
    dates = [
        one.instant.date().isoformat()
        for one in passes_over(-123.3, 47.4, parse_period("2020"))
        if one.platform.name == "landsat-8"
    ]
    assert "2020-12-04" in dates


@pytest.mark.parametrize(
    ("year", "platforms"),
    [
        ("1995", {"landsat-5"}),
        ("2010", {"landsat-5", "landsat-7"}),
        ("2014", {"landsat-7", "landsat-8"}),
        ("2020", {"landsat-7", "landsat-8", "sentinel-2a", "sentinel-2b"}),
        ("2023", {"landsat-8", "landsat-9", "sentinel-2a", "sentinel-2b"}),
        ("1975", set()),
    ],
)
def test_platforms_exist_in_their_years(year: str, platforms: set[str]) -> None:
    assert {one.platform.name for one in passes_over(*PLACE, parse_period(year))} == platforms


def test_passes_repeat_every_cycle_and_can_be_limited() -> None:
    passes = passes_over(*PLACE, parse_period("2020"))
    for name, days in (("landsat-8", 16), ("sentinel-2a", 10)):
        instants = [one.instant for one in passes if one.platform.name == name]
        assert {(after.date() - before.date()).days for before, after in pairwise(instants)} == {days}
    limited = passes_over(*PLACE, parse_period("2020"), 3)
    assert len(limited) == 12
    assert set(limited) <= set(passes)


def test_squares_are_named_as_the_military_grid_names_them() -> None:
    assert mgrs_squares(31, 49.1, 480_000, 5_440_000) == ("31UDQ", "31UEQ")
    assert mgrs_squares(13, 40.1, 430_000, 4_440_000)[1] == "13TDE"
    assert mgrs_squares(47, 4.95, 704_000, 547_000) == ("47NPF", "47NQF")


def test_the_sun_stands_where_a_real_item_says() -> None:
    sun = sun_over(-123.2, 47.45, datetime(2020, 12, 4, 19, 2, 11, tzinfo=UTC))
    assert sun.elevation_deg == pytest.approx(18.8, abs=1.5)
    assert sun.azimuth_deg == pytest.approx(164.9, abs=4)


def test_shadows_fall_away_from_the_sun() -> None:
    sun = sun_over(*PLACE, datetime(2020, 12, 1, 3, 30, tzinfo=UTC))
    for seed in range(20):
        sky = make_sky(np.random.default_rng(seed), (120, 120), sun, 10.0)
        if 0.02 < sky.cloud.mean() < 0.3 and sky.shadow.max() > 0.9:
            break
    shifts = np.arange(-300, 300, 2)
    assert 90 < sun.azimuth_deg < 180
    away = [
        float(
            (
                np.roll(
                    sky.cloud,
                    (round(s * np.cos(np.radians(sun.azimuth_deg))), round(-s * np.sin(np.radians(sun.azimuth_deg)))),
                    (0, 1),
                )
                * sky.shadow
            ).mean()
        )
        for s in shifts
    ]
    assert max(away) > 3 * sky.cloud.mean() * sky.shadow.mean()


def test_tides_stay_within_the_sum_of_their_amplitudes() -> None:
    heights = [
        tide_m(datetime(2020, 1, 1 + hour // 24, hour % 24, tzinfo=UTC), dict.fromkeys(("M2", "S2", "K1", "O1"), 40.0))
        for hour in range(600)
    ]
    assert max(np.abs(heights)) <= 1.33
    assert max(heights) > 0.6 > -0.6 > min(heights)


def test_labels_lie_well_inside_patches_and_do_not_touch(landscape: Landscape) -> None:
    classes = landscape.classes
    used = np.zeros(classes.shape, dtype=int)
    squares = label_squares(classes, np.random.default_rng(0))
    for square in squares:
        window = (
            slice(square.row - 1, square.row + SQUARE_PX + 1),
            slice(square.column - 1, square.column + SQUARE_PX + 1),
        )
        assert {CLASS_NAMES[code] for code in np.unique(classes[window])} == {square.subclass}
        used[square.row : square.row + SQUARE_PX, square.column : square.column + SQUARE_PX] += 1
    assert used.max() == 1
    assert used.mean() < 0.25
    assert {square.class_name for square in squares} == {"mangrove", "water", "other"}
