"""A cell's id follows from what made it and from nothing else."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geom import box

from products import identity
from products.grid import Tile
from products.identity import CellKey, SourceKey, cell_id, scenes_cell_id, source_keys
from products.map_scale import is_turned
from products.period import Period, parse_period
from products.registry import features_recipe, parse_recipe
from products.scene import Angles, BandFile, Scene
from products.source_spec import ClearSpec, SourceSpec
from products.spec import FeaturesRecipe

KEY = CellKey("mangrove_features", 1, Tile("EPSG:32647", -12, 3), parse_period("2020"))
SOURCES = (SourceKey("LC08_127057_20200110", "02_T1_20200824"), SourceKey("S2A_47NPD_20200112", "0214"))


def test_an_id_is_the_same_on_every_machine() -> None:
    assert cell_id(KEY, SOURCES, "digest") == UUID("746bba35-655e-55e1-8304-be0e1d1ec68d")


def test_a_cell_is_named_by_product_period_and_tile() -> None:
    assert KEY.label == "mangrove_features 2020 32647_r-12_c3"


@given(st.permutations(range(6)))
def test_the_order_of_sources_does_not_matter(order: list[int]) -> None:
    sources = [SourceKey(f"acquisition {number % 4}", f"rendition {number}") for number in range(6)]

    assert cell_id(KEY, [sources[number] for number in order], "digest") == cell_id(KEY, sources, "digest")


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, product="other"),
        replace(KEY, version=2),
        replace(KEY, tile=Tile("EPSG:32648", -12, 3)),
        replace(KEY, tile=Tile("EPSG:32647", -11, 3)),
        replace(KEY, tile=Tile("EPSG:32647", 3, -12)),
        replace(KEY, period=parse_period("2021")),
        replace(KEY, period=Period(KEY.period.start, datetime(2021, 1, 2, tzinfo=UTC))),
    ],
)
def test_another_place_time_or_product_has_another_id(other: CellKey) -> None:
    assert cell_id(other, SOURCES, "digest") != cell_id(KEY, SOURCES, "digest")


@pytest.mark.parametrize(
    "sources",
    [
        (),
        SOURCES[:1],
        (*SOURCES, SourceKey("LC09", "02")),
        (replace(SOURCES[0], rendition="02_T1_20230101"), SOURCES[1]),
        (
            SourceKey(SOURCES[0].acquisition, SOURCES[1].rendition),
            SourceKey(SOURCES[1].acquisition, SOURCES[0].rendition),
        ),
    ],
)
def test_other_sources_or_renditions_give_another_id(sources: tuple[SourceKey, ...]) -> None:
    assert cell_id(KEY, sources, "digest") != cell_id(KEY, SOURCES, "digest")


def test_angles_and_revisions_are_part_of_a_source_where_pixels_depend_on_them() -> None:
    acquired = parse_period("2020").start
    known = Scene(
        UUID(int=1), "item", "product", "collection", "msi", "sentinel-2a", acquired, "a", "r", "p",
        box(0, 0, 1, 1, "EPSG:4326"), {}, Angles(50.5, 130.25, 7.5, 100.0),
    )  # fmt: skip
    (plain,), (angled,) = source_keys([known]), source_keys([known], with_angles=True)
    (other,) = source_keys([replace(known, angles=Angles(50.5, 130.25, 7.6, 100.0))], with_angles=True)
    (unread,) = source_keys([known], [known.id], with_angles=True)
    (revised,) = source_keys([replace(known, revision=1)])
    (twice,) = source_keys([replace(known, revision=2)])
    assert plain == SourceKey("a", "r")
    assert len({plain, angled, other, unread, revised, twice}) == 6


def test_a_positive_nodata_of_reflectance_is_part_of_what_a_cell_read() -> None:
    acquired = datetime(2020, 5, 1, tzinfo=UTC)
    known = Scene(
        UUID(int=1), "item", "product", "collection", "oli", "landsat-8", acquired, "a", "r", "p", box(0, 0, 1, 1, "EPSG:4326"),
        {"red": BandFile("red.tif", 1e-4, 0.0, 0), "nir": BandFile("nir.tif", 1e-4, 0.0, -999), "qa_pixel": BandFile("qa.tif", 1.0, 0.0, 1)},
    )  # fmt: skip
    assert source_keys([known]) == [SourceKey("a", "r")]
    bright = replace(known, bands={**known.bands, "red": BandFile("red.tif", 1e-4, 0.0, 65535)})
    assert source_keys([bright]) == [SourceKey("a", "r nodata 65535")]


def test_another_recipe_or_model_gives_another_id() -> None:
    ids = {cell_id(KEY, SOURCES, "digest"), cell_id(KEY, SOURCES, "other"), cell_id(KEY, SOURCES, "digest", "model")}

    assert len(ids) == 3


def test_a_kernel_that_gives_other_pixels_gives_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cell_id(KEY, SOURCES, "digest")
    monkeypatch.setattr(identity, "KERNEL_VERSIONS", {**identity.KERNEL_VERSIONS, "temporal": 99})

    assert cell_id(KEY, SOURCES, "digest") != before


@pytest.mark.parametrize(
    ("feature", "own"),
    [
        ("count: {}", None),
        ("harmonics: {index: NDVI}", "harmonics"),
        ("season: {index: NDVI}", "season"),
        ("distance: {source: a, band: b, max_distance_m: 90, name: c}", "distance"),
    ],
)
def test_a_kernel_of_a_few_features_is_part_of_the_cells_that_have_these_alone(
    monkeypatch: pytest.MonkeyPatch, feature: str, own: str | None
) -> None:
    recipe = parse_recipe(
        f"""
name: some
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 64}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
features:
  - index: {{names: [NDVI], reduce: [p50]}}
  - {feature}
""",
        "some.yaml",
    )
    assert isinstance(recipe, FeaturesRecipe)
    before = scenes_cell_id(recipe, recipe.digest(), KEY, (), SOURCES)
    if own is None:
        assert before == cell_id(KEY, SOURCES, recipe.digest())
    for kernel in ("harmonics", "season", "distance"):
        monkeypatch.setattr(identity, "KERNEL_VERSIONS", {**identity.KERNEL_VERSIONS, kernel: 99})
        assert (scenes_cell_id(recipe, recipe.digest(), KEY, (), SOURCES) != before) == (kernel == own)
        monkeypatch.undo()


def test_only_cells_that_average_onto_a_turned_grid_are_of_the_kernel_for_it() -> None:
    turned = {crs: is_turned(crs) for crs in ("EPSG:3031", "EPSG:3413", "EPSG:3035", "EPSG:32647", "EPSG:3857")}
    assert turned == {"EPSG:3031": True, "EPSG:3413": True, "EPSG:3035": True, "EPSG:32647": False, "EPSG:3857": False}
    recipe = features_recipe("mangrove_features")
    polar = replace(KEY, tile=Tile("EPSG:3031", 0, 0))
    assert scenes_cell_id(recipe, "digest", KEY, [], SOURCES) == cell_id(KEY, SOURCES, "digest", kernels=recipe.kernels)
    assert scenes_cell_id(recipe, "digest", polar, [], SOURCES) == cell_id(
        polar, SOURCES, "digest", kernels=(*recipe.kernels, "turned")
    )


@pytest.mark.parametrize("opening", [ClearSpec(open_px=1), ClearSpec(open_m=30)])
def test_only_cells_of_recipes_that_open_clouds_are_of_the_kernel_for_it(opening: ClearSpec) -> None:
    plain = features_recipe("mangrove_features")
    sources = (plain.sources[0], SourceSpec(collection="sentinel-2-l2a", clear=opening))
    opened = plain.model_copy(update={"sources": sources})
    assert plain.kernels_used == plain.kernels
    assert opened.kernels_used == (*plain.kernels, "opening")
