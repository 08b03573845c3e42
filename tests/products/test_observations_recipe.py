"""Recipes of observations, their passes, and the one observation that a pass gives of each pixel."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid5

import numpy as np
import pytest
from odc.geo.geom import box

from products.cell_content import cell_arrays, cell_template, compute_layers
from products.errors import RequestError
from products.features import Observations
from products.grid import Tile
from products.identity import KERNEL_VERSIONS, NAMESPACE, CellKey, cell_id, source_keys
from products.observations_spec import ObservationsRecipe
from products.passes import Pass, merged_passes, passes_of, search_span
from products.period import Period, parse_period
from products.pixel import reference
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.pixel.clear import count_causes
from products.pixel.observe import cause_of, observed
from products.registry import DEFINITIONS, features_recipe, parse_recipe, scene_recipe
from products.scene import Scene
from products.template import odc_product_definition
from products.time_axis import time_coordinates
from tests.products.host_cupy import use_host_cupy

TEXT = (DEFINITIONS / "coastal_observations.recipe.yaml").read_text()
NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)


def recipe(text: str = TEXT) -> ObservationsRecipe:
    found = parse_recipe(text, "observations.yaml")
    assert isinstance(found, ObservationsRecipe)
    return found


def scene(name: str, acquired: datetime, pass_id: str = "landsat-8/127/2020-03-01") -> Scene:
    ground = box(101, 4, 102, 5, "EPSG:4326")
    platform = pass_id.split("/")[0]
    return Scene(
        uuid5(NAMESPACE, name), name, "landsat_oli_c2_l2", "landsat-c2-l2", "oli", platform, acquired, name, "1", pass_id, ground, {}
    )  # fmt: skip


def test_the_recipe_of_the_definitions_asks_for_passes() -> None:
    made = recipe()
    assert made.is_by_pass and made.keeps_masked
    assert made.used_bands == ("blue", "green", "red", "nir", "swir1", "swir2")
    assert (made.n_layers, made.halo_px, made.reach_px, made.rasters) == (6, 3, 3, ())


def test_a_band_that_a_source_lacks_is_refused() -> None:
    with pytest.raises(RequestError, match="not every source has the band 'rededge1'; bands of all sources: blue, "):
        recipe(TEXT.replace("swir1, swir2]", "rededge1]"))
    with pytest.raises(RequestError, match="unknown band 'rad'; near ones: red"):
        recipe(TEXT.replace("green, red,", "green, rad,"))


def test_persistent_cloud_needs_more_than_a_pass() -> None:
    with pytest.raises(RequestError, match="persistent_cloud is told from many passes"):
        recipe(TEXT.replace("dilate_px: 2", "persistent_cloud: 0.9"))


def test_a_period_has_no_place_in_it() -> None:
    with pytest.raises(RequestError, match="unknown key 'period'"):
        recipe(TEXT + "period: P1Y\n")


def test_other_kinds_are_refused_where_features_or_cells_are_wanted() -> None:
    with pytest.raises(RequestError, match="'coastal_observations' is of kind observations: expected kind features"):
        features_recipe("coastal_observations")
    with pytest.raises(RequestError, match="is of kind model: expected kind features, series or observations"):
        scene_recipe("mangrove_extent")


def test_what_changes_pixels_changes_the_digest_and_a_title_does_not() -> None:
    digest = recipe().digest()
    assert recipe(TEXT.replace("title: Every", "title: Each")).digest() == digest
    others = [("blue, green", "green, blue"), ("dilate_px: 2", "dilate_px: 1"), ("msi: hls", "msi: none")]
    changed = {recipe(TEXT.replace(*pair)).digest() for pair in others}
    assert len(changed | {digest, recipe(TEXT + "precision_bits: 10\n").digest()}) == 5


def test_a_cell_depends_on_the_kernels_of_its_kind_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def ids() -> tuple[object, object]:
        key = CellKey("p", 1, Tile("EPSG:32647", 0, 0), parse_period("2020"))
        keys = source_keys([scene("a", NOON)])
        return cell_id(key, keys, "digest", kernels=recipe().kernels), cell_id(key, keys, "digest")

    before = ids()
    monkeypatch.setitem(KERNEL_VERSIONS, "observe", KERNEL_VERSIONS["observe"] + 1)
    assert (ids()[0] != before[0], ids()[1] == before[1]) == (True, True)


def test_scenes_of_one_pass_are_one_time_from_the_first_to_the_last() -> None:
    later = scene("b", NOON + timedelta(seconds=24))
    other = scene("c", NOON - timedelta(minutes=20), "sentinel-2a/R018/2020-03-01")
    found = passes_of([later, scene("a", NOON), other])
    assert [(one.label, one.platform, len(members)) for one, members in found] == [
        ("sentinel-2a/R018/2020-03-01", "sentinel-2a", 1),
        ("landsat-8/127/2020-03-01", "landsat-8", 2),
    ]
    assert (found[1][0].start, found[1][0].end) == (NOON, NOON + timedelta(seconds=25))


def test_a_pass_belongs_to_the_period_in_which_it_begins() -> None:
    midnight = datetime(2020, 3, 2, tzinfo=UTC)
    members = [scene("a", midnight - timedelta(seconds=5)), scene("b", midnight + timedelta(seconds=5))]
    asked = [parse_period("2020-03-01"), parse_period("2020-03-02")]
    first, second = (recipe().cells_of(members, [period]) for period in asked)
    assert [len(scenes) for _, scenes in first] == [2] and second == []
    assert all(recipe().searched(period).contains(one.acquired) for period in asked for one in members)


def test_a_pass_over_several_tiles_is_one_time_of_a_cube() -> None:
    one, other = (Pass(NOON + timedelta(seconds=s), NOON + timedelta(seconds=s + 1), "p", "landsat-8") for s in (9, 0))
    assert recipe().axis_of([], [one, other]) == merged_passes([other, one])
    (merged,) = merged_passes([one, other])
    assert (merged.start, merged.end) == (NOON, NOON + timedelta(seconds=10))
    assert search_span([one]).contains(NOON) and not search_span([parse_period("2020")]).contains(
        datetime(2019, 12, 31, 23, 59, tzinfo=UTC)
    )


def test_the_time_of_a_cube_is_the_first_sensing_with_pass_and_platform() -> None:
    passes = [one for one, _ in passes_of([scene("a", NOON + timedelta(microseconds=7))])]
    time, pass_id, platform = time_coordinates(cell_template(recipe()), passes)
    assert (time.name, time.dim, time.attributes["units"]) == ("time", "time", "microseconds since 1970-01-01")
    assert np.asarray(time.values).astype("M8[us]").tolist() == [datetime(2020, 3, 1, 12, 0, 0, 7)]
    assert (pass_id.values, platform.values) == (("landsat-8/127/2020-03-01",), ("landsat-8",))


def test_the_odc_product_has_the_bands_and_the_cause() -> None:
    template = cell_template(recipe())
    measurements = odc_product_definition(template)["measurements"]
    assert isinstance(measurements, list)
    assert [entry["name"] for entry in measurements] == [*recipe().used_bands, "cause"]
    assert measurements[-1] == {"name": "cause", "dtype": "uint8", "nodata": NOT_EXPECTED, "units": "1"}
    reflectance, cause = template.arrays
    assert (reflectance.dims, cause.dims) == (("time", "band", "y", "x"), ("time", "y", "x"))
    assert cause.attributes["flag_values"] == [*range(len(Cause)), 255]
    assert str(cause.attributes["flag_meanings"]).split()[3] == "cloud"


def seen(n_scenes: int = 3, shape: tuple[int, int] = (40, 30)) -> Observations:
    """One pass of some scenes, each pixel given by one of them or by none, with every cause and numbers of 0."""
    random = np.random.default_rng(5)
    block = random.integers(0, 65536, (2, n_scenes, *shape)).astype(np.uint16)
    block[random.random(block.shape) < 0.1] = 0
    giver = random.integers(-1, n_scenes, shape)
    fate = random.integers(0, len(Cause), shape).astype(np.uint8)
    causes = np.where(giver == np.arange(n_scenes)[:, None, None], fate, np.uint8(NOT_EXPECTED))
    accounts = np.zeros((len(ACCOUNT_NAMES), *shape), np.uint16)
    count_causes(causes, accounts)
    gain, bias = random.uniform(1e-5, 1e-4, (2, n_scenes, 2)).astype(np.float32)
    return Observations((), ("red", "nir"), block, causes, gain, bias, accounts)


def test_a_pixel_is_the_reflectance_of_the_scene_that_gives_it_masked_or_not() -> None:
    given = seen()
    found = observed(given.block, given.causes, given.gain, given.bias, 2)
    gain, bias = (terms.T[:, :, None, None].astype(float) for terms in (given.gain, given.bias))
    reflectance = given.block.astype(float) * gain + bias
    has_data = ~np.isin(given.causes, (Cause.UNREAD, Cause.NODATA, Cause.SLC_GAP, NOT_EXPECTED)) & (given.block != 0)
    expected = np.where(has_data.any(axis=1), np.where(has_data, reflectance, 0).sum(axis=1), np.nan)
    np.testing.assert_allclose(found, expected, rtol=2e-7)
    is_cloud = (given.causes == Cause.CLOUD).any(axis=0)
    assert np.isfinite(found[:, is_cloud]).mean() > 0.8


def test_the_cause_of_a_pixel_is_that_of_the_scene_that_gives_it() -> None:
    given = seen()
    np.testing.assert_array_equal(cause_of(given.accounts), given.causes.min(axis=0))
    with pytest.raises(ValueError, match="expected one observation of each pixel of a pass, got 2"):
        cause_of(given.accounts * np.uint16(2))


def test_a_cell_has_reflectance_and_cause_and_rounds_where_asked() -> None:
    given, period = seen(), parse_period("2020")
    exact = compute_layers(recipe(), given, period, 1)
    rounded = compute_layers(recipe(TEXT + "precision_bits: 7\n"), given, period, 1)
    assert 0 < np.nanmax(np.abs(rounded / exact - 1)) <= 2**-8
    arrays = cell_arrays(recipe(), exact, given.accounts)
    assert {name: array.shape for name, array in arrays.items()} == {
        "reflectance": (1, 2, 40, 30),
        "cause": (1, 40, 30),
    }


def test_a_pass_is_the_same_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    period, given = parse_period("2020"), seen()
    on_cpu = compute_layers(recipe(), given, period, 1)
    use_host_cupy(monkeypatch, tmp_path)
    on_gpu = compute_layers(recipe(), given, period, 1, device="gpu")
    np.testing.assert_array_equal(np.isnan(on_gpu), np.isnan(on_cpu))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-6, atol=1e-6)
    assert np.isnan(on_cpu).any() and np.isfinite(on_cpu).any()
    empty = replace(given, block=given.block[:, :0], causes=given.causes[:0], gain=given.gain[:0], bias=given.bias[:0])
    assert np.isnan(compute_layers(recipe(), empty, period, 1, device="gpu")).all()


@pytest.mark.parametrize("n_scenes", [1, 2, 5])
def test_every_pixel_of_a_pass_is_that_of_the_reference(n_scenes: int) -> None:
    given = seen(n_scenes)
    made = observed(given.block, given.causes, given.gain, given.bias, 2)
    exact = reference.observed(given.block, given.causes, given.gain, given.bias)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(exact))
    np.testing.assert_allclose(made, exact, rtol=1e-6, atol=1e-6)


def test_threads_and_rows_do_not_change_an_observation() -> None:
    given = seen()
    whole = observed(given.block, given.causes, given.gain, given.bias, 1)
    rows = slice(17, 33)
    part = observed(given.block[:, :, rows], given.causes[:, rows], given.gain, given.bias, 3)
    np.testing.assert_array_equal(part, whole[:, rows])


def test_no_scene_of_a_pass_is_no_observation() -> None:
    given = replace(seen(), causes=np.full((3, 40, 30), NOT_EXPECTED, np.uint8))
    assert np.isnan(observed(given.block, given.causes, given.gain, given.bias, 1)).all()
    assert (cause_of(np.zeros((13, 4, 4), np.uint16)) == NOT_EXPECTED).all()


def test_a_pass_is_a_period() -> None:
    one = Pass(NOON, NOON + timedelta(seconds=1), "p", "landsat-8")
    assert isinstance(one, Period) and one.contains(NOON)
    with pytest.raises(RequestError, match="a period must end after it starts"):
        Pass(NOON, NOON, "p", "landsat-8")
