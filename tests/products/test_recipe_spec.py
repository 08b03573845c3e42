"""A features recipe is read strictly: every mistake is answered with its line and what was expected."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import spyndex
import yaml

from products.errors import RequestError
from products.registry import DEFINITIONS, features_recipe, model_recipe, parse_recipe, read_recipe, recipe_names
from products.source_spec import file_band
from products.spec import FeaturesRecipe

TEXT = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
LANDSAT, SENTINEL = TEXT.splitlines(keepends=True)[7:9]
HEAD = TEXT[: TEXT.index("features:\n")]


def parsed(text: str) -> FeaturesRecipe:
    recipe = parse_recipe(text, "mine.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    return recipe


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def with_features(*entries: str) -> str:
    return HEAD + "features:\n" + "".join(f"  - {entry}\n" for entry in entries)


def test_feature_names_are_predictable_and_in_recipe_order() -> None:
    assert parsed(TEXT).feature_names == (
        "blue", "green", "red", "nir", "swir1", "swir2", "smad", "emad", "bcmad",
        "ndvi_p10", "ndvi_p50", "ndvi_p90", "mndwi_p10", "mndwi_p50", "mndwi_p90", "mvi_p10", "mvi_p50", "mvi_p90",
        "count_used", "count_expected",
    )  # fmt: skip


def test_only_bands_that_a_feature_needs_are_read() -> None:
    recipe = parsed(with_features("index: {names: [NDVI], reduce: [p50]}", "count: {}"))

    assert recipe.used_bands == ("nir", "red")


def test_an_index_is_called_by_its_name_where_one_is_given() -> None:
    entry = "index: {names: [NDVI], name: s2_ndvi, reduce: [p10, p50]}"
    assert parsed(with_features(entry)).feature_names == ("s2_ndvi_p10", "s2_ndvi_p50")
    low = "index: {names: [NDVI], name: s2_ndvi, reduce: [p50], tide: {lowest: 0.2}}"
    assert parsed(with_features(low)).feature_names == ("low_tide_s2_ndvi_p50",)


def test_constants_of_an_index_are_part_of_the_digest_only_where_they_are_other_than_the_catalogues() -> None:
    plain, spelled, half = (
        parsed(with_features(f"index: {{names: [SAVI, NDVI], reduce: [p50]{said}}}"))
        for said in ("", ", constants: {L: 1}", ", constants: {L: 0.5}")
    )
    assert plain.digest() == spelled.digest() != half.digest()
    formulas = [formula.text for _, formula in half.features[0].formulas()]
    assert formulas == ["(1.0 + 0.5) * (nir - red) / (nir + red + 0.5)", "(nir - red) / (nir + red)"]
    soil = parsed(with_features("harmonics: {index: WDVI, constants: {sla: 1.0}}"))
    assert soil.features[0].formulas()[0][1].text == "nir - 1.0 * red"


def test_one_index_with_two_values_of_a_constant_needs_two_names() -> None:
    first = "index: {names: [SAVI], reduce: [p50]}"
    with pytest.raises(RequestError, match="'savi' is an index with other constants in each of two features: give one"):
        parsed(with_features(first, "index: {names: [SAVI], constants: {L: 0.5}, reduce: [p90]}"))
    with pytest.raises(RequestError, match="'savi' is an index with other constants"):
        parsed(with_features("harmonics: {index: SAVI, constants: {L: 0.5}}", first))
    both = parsed(with_features(first, "index: {names: [SAVI], name: savi_half, constants: {L: 0.5}, reduce: [p50]}"))
    assert both.feature_names == ("savi_p50", "savi_half_p50")


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("medoid: {bands: [red, nir]}", ("medoid_red", "medoid_nir")),
        ("best: {index: NDVI, bands: [red]}", ("max_ndvi_red",)),
        ("band: {names: [red], reduce: [mean, count]}", ("red_mean", "red_count")),
        ("index: {names: [NDVI], reduce: [p2_5, p97_5]}", ("ndvi_p2_5", "ndvi_p97_5")),
        ("tasselled_cap: {reduce: [median]}", ("brightness_median", "greenness_median", "wetness_median")),
        ("harmonics: {index: NDVI}", ("ndvi_level", "ndvi_amplitude_1", "ndvi_day_1", "ndvi_rmse")),
        ("harmonics: {formula: nir - red, name: gap, trend: true}", ("gap_level", "gap_trend", "gap_amplitude_1", "gap_day_1", "gap_rmse")),
        ("index: {names: [kNDVI], reduce: [p50]}", ("kndvi_p50",)),
    ],
)  # fmt: skip
def test_every_kind_names_its_layers(entry: str, names: tuple[str, ...]) -> None:
    assert parsed(with_features(entry)).feature_names == names


SAME_LAYERS = {
    "texture": ("of: {index: NDVI}, measures: [contrast], levels: 8", "of: {index: NDVI}, measures: [contrast]", "ndvi_p50_contrast_7"),
    "terrain": ("source: tandem_dem, measures: [slope, position]", "measures: [slope, position]", "slope"),
    "tasselled_cap": ("coefficients: baig2014, reduce: [p50], sources: [landsat-c2-l2]", "reduce: [p50], sources: [sentinel-2-l2a]", "brightness_p50"),
    "band": ("names: [red], reduce: [p50], sources: [landsat-c2-l2]", "names: [red], reduce: [p50], sources: [sentinel-2-l2a]", "red_p50"),
    "mixture": (
        "endmembers: {water: {red: 0.03, nir: 0.02}, sand: {red: 0.3, nir: 0.4}}, reduce: [p50]",
        "endmembers: {water: {red: 0.02, nir: 0.01}, sand: {red: 0.3, nir: 0.4}}, reduce: [p50]",
        "mixture_water_p50",
    ),
    "mads": ("sources: [landsat-c2-l2]", "sources: [sentinel-2-l2a]", "smad"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME_LAYERS)
def test_two_features_with_the_same_layers_are_told_apart_by_name(kind: str) -> None:
    one, other, layer = SAME_LAYERS[kind]
    medians = [
        f"geomedian: {{bands: [red, nir], name: {name}, sources: [{source}]}}"
        for name, source in (("l", "landsat-c2-l2"), ("s", "sentinel-2-l2a"))
    ]
    with pytest.raises(RequestError, match=rf"two features are called '{layer}': give one of them another `name:`"):
        parsed(with_features(*medians, f"{kind}: {{{one}}}", f"{kind}: {{{other}}}"))
    both = parsed(with_features(*medians, f"{kind}: {{{one}, name: first}}", f"{kind}: {{{other}}}"))
    n_layers = (len(both.feature_names) - 4) // 2
    named, plain = both.feature_names[4 : 4 + n_layers], both.feature_names[4 + n_layers :]
    assert named == tuple(f"first_{name}" for name in plain) and plain[0] == layer


@pytest.mark.parametrize("kind", SAME_LAYERS)
def test_a_name_that_is_not_given_leaves_the_digest(kind: str) -> None:
    _, said, _ = SAME_LAYERS[kind]
    median = "geomedian: {bands: [red, nir], sources: [sentinel-2-l2a]}"
    plain, empty, named = (
        parsed(with_features(median, f"{kind}: {{{said}{name}}}")) for name in ("", ", name: null", ", name: another")
    )
    assert plain.digest() == empty.digest() != named.digest()
    with pytest.raises(
        RequestError, match="expected a name of lower-case letters, digits and underscores, got 'My one'"
    ):
        parsed(with_features(median, f"{kind}: {{{said}, name: My one}}"))


def test_a_name_stands_behind_that_of_the_tide() -> None:
    entry = "band: {names: [red], name: s2, reduce: [p50], tide: {lowest: 0.2}}"
    assert parsed(with_features(entry)).feature_names == ("low_tide_s2_red_p50",)


def test_a_feature_may_be_limited_to_the_sources_that_have_its_bands() -> None:
    limited = parsed(
        with_features(
            "index: {names: [NDREI], reduce: [p50], sources: [sentinel-2-l2a]}", "band: {names: [red], reduce: [p50]}"
        )
    )

    assert limited.used_bands == ("nir", "rededge1", "red")
    with pytest.raises(
        RequestError, match=r"needs the band 'rededge1', which not every source has.*limit the feature with `sources:`"
    ):
        parsed(with_features("index: {names: [NDREI], reduce: [p50]}"))
    with pytest.raises(RequestError, match="is limited to 'sentinel-1', which is not a source"):
        parsed(with_features("index: {names: [NDVI], reduce: [p50], sources: [sentinel-1]}"))


def test_seasons_of_one_recipe_have_one_step() -> None:
    with pytest.raises(RequestError, match="same step_days"):
        parsed(with_features("season: {index: NDVI}", "season: {index: EVI, step_days: 5}"))


def test_the_halo_is_the_largest_growth_of_clouds() -> None:
    assert parsed(TEXT).halo_px == 3


def test_resampling_is_cubic_for_landsat_and_average_for_msi_unless_stated() -> None:
    stated = changed("{collection: landsat-c2-l2,", "{collection: landsat-c2-l2, resampling: bilinear,")

    assert [source.resampling_of("red") for source in parsed(TEXT).sources] == ["cubic", "average"]
    assert [source.resampling_of("red") for source in parsed(stated).sources] == ["bilinear", "average"]
    by_band = "{collection: sentinel-2-l2a, resampling: {nir: bilinear, swir1: nearest},"
    some = parsed(changed("{collection: sentinel-2-l2a,", by_band)).sources[1]
    assert [some.resampling_of(band) for band in ("red", "nir", "nir_narrow", "swir1")] == [
        "average",
        "bilinear",
        "bilinear",
        "nearest",
    ]
    plain = parsed(changed("{collection: sentinel-2-l2a,", "{collection: sentinel-2-l2a, resampling: {red: average},"))
    assert plain.digest() == parsed(TEXT).digest() != parsed(changed("{collection: sentinel-2-l2a,", by_band)).digest()
    with pytest.raises(RequestError, match="resampling: landsat-c2-l2 has no band 'rededge1': expected some of blue"):
        parsed(changed("{collection: landsat-c2-l2,", "{collection: landsat-c2-l2, resampling: {rededge1: cubic},"))


def test_the_near_infrared_of_msi_is_b8a_where_hls_applies() -> None:
    assert file_band("nir", "msi", parsed(TEXT).harmonise) == "nir_narrow"
    assert file_band("nir", "oli", parsed(TEXT).harmonise) == "nir"
    assert file_band("nir", "msi", parsed(changed("msi: hls", "msi: none")).harmonise) == "nir"
    assert file_band("nir", "msi", None) == "nir"


def test_platforms_limit_the_sensors_of_a_source() -> None:
    recipe = parsed(changed("{collection: landsat-c2-l2,", "{collection: landsat-c2-l2, platforms: [landsat-7],"))

    assert [sensor.name for sensor in recipe.sources[0].sensors] == ["etm"]


SAME = [
    changed("title: Annual mangrove features from Landsat and Sentinel-2", "title: Another title # and a comment"),
    changed("period: P1Y", "period: {length: P1Y}"),
    changed("resolution_m: 30", "resolution_m: 30.0"),
    changed("version: 1", "version: 2"),
    changed("harmonise: {target: oli, tm_etm: roy2016, msi: hls}", "harmonise: {}"),
    TEXT + "min_observations: 1\n",
    TEXT + "precision_bits: null\n",
]
OTHER = [
    changed("resolution_m: 30", "resolution_m: 20"),
    changed("dilate_px: 2", "dilate_px: 1"),
    changed("anchor: landsat", "anchor: edge"),
    changed("msi: hls", "msi: none"),
    changed("harmonise: {target: oli, tm_etm: roy2016, msi: hls}", "harmonise: none"),
    changed("p90", "p95"),
    changed("  - count: {}\n", ""),
    TEXT + "min_observations: 3\n",
    TEXT + "precision_bits: 10\n",
    TEXT + "precision_bits: 23\n",
]


@pytest.mark.parametrize("text", SAME)
def test_what_does_not_affect_pixels_leaves_the_digest(text: str) -> None:
    assert parsed(text).digest() == parsed(TEXT).digest()


@pytest.mark.parametrize("text", OTHER)
def test_what_affects_pixels_changes_the_digest(text: str) -> None:
    assert parsed(text).digest() != parsed(TEXT).digest()


def test_features_without_parameters_have_their_own_digests() -> None:
    geomedian = "geomedian: {bands: [blue, red]}"

    assert (
        parsed(with_features(geomedian, "count: {}")).digest() != parsed(with_features(geomedian, "mads: {}")).digest()
    )


MISTAKES = [
    ("kind: features", "kind: feature", 3, "expected kind: features, series, observations, samples or model, got 'feature'"),
    ("kind: features", "kind: [features]", 3, "expected kind: features, series, observations, samples or model, got ['features']"),
    ("version: 1", "version: 1\nharmonize: none", 3, "unknown key 'harmonize'; near ones: harmonise"),
    ("tile_px", "tilepx", 5, "unknown key 'tilepx'; near ones: tile_px"),
    ("clear: {dilate_px: 2}", "claer: {dilate_px: 2}", 8, "unknown key 'claer'; near ones: clear"),
    ("dilate_px: 2", "dilate: 2", 8, "unknown key 'dilate'; near ones: dilate_"),
    ("reduce: [", "reducee: [", 14, "unknown key 'reducee'; near ones: reduce"),
    ("crs: utm", 'crs: "EPSG:99999"', 5, "unknown CRS 'EPSG:99999': expected an authority code"),
    ("crs: utm", 'crs: "EPSG:4326"', 5, "CRS 'EPSG:4326' is not projected"),
    ("resolution_m: 30", "resolution_m: -30", 5, "greater than 0, got -30"),
    ("tile_px: 256", "tile_px: 5", 5, "multiple of 8, got 5"),
    ("period: P1Y", "period: 1Y", 6, "expected a duration such as P1Y, P3M, P2W or P10D, got '1Y'"),
    ("period: P1Y", 'period: {length: P1Y, start: "02-30"}', 6, "expected start as MM-DD with a day up to 28"),
    ("collection: landsat-c2-l2", "collection: landsat", 8, "unknown collection 'landsat': expected one of landsat-c2-l2"),
    ("collection: sentinel-2-l2a", "collection: landsat-c2-l2", 7, "the collection 'landsat-c2-l2' stands twice"),
    ("{collection: landsat-c2-l2,", "{collection: landsat-c2-l2, platforms: [landsat-6],", 8, "unknown platform 'landsat-6'"),
    ("green, red", "gren, red", 12, "unknown band 'gren'; near ones: green"),
    ("blue, green", "blue, blue", 12, "a band stands twice in blue, blue"),
    ("mads: {}", "madz: {}", 13, "unknown feature 'madz'; near ones: mads"),
    ("mads: {}", "mads", 13, "expected one feature as `- kind: {…}` with a kind of geomedian, mads, medoid, best, index"),
    ("NDVI,", "NDVX,", 14, "unknown index 'NDVX'; near ones: NDVI"),
    ("p10,", "q10,", 14, "unknown reducer 'q10': expected p0 to p100 (p2_5 for 2.5), mean, std, min, max"),
    ("p10,", "p101,", 14, "unknown reducer 'p101'"),
    ("p10,", "p2.5,", 14, "unknown reducer 'p2.5': expected p0 to p100 (p2_5 for 2.5), mean"),
    ("p10,", "p100_5,", 14, "unknown reducer 'p100_5'"),
    ("p10,", "p_5,", 14, "unknown reducer 'p_5'"),
    ("p10,", "p5_,", 14, "unknown reducer 'p5_'"),
    ("p10,", "p2_5, p2_5,", 14, "the reducer 'p2_5' stands twice"),
    ("p10,", "p², p50", 14, "unknown reducer 'p²'"),
    ("[p10, p50, p90]", "[]", 14, "at least 1 item"),
    ("count: {}", "count: {}\n  - count: {}", 11, "two features are called 'count_used': leave one of them out"),
    ("count: {}", "index: {names: [NDVI], reduce: [p50]}", 11, "two features are called 'ndvi_p50': give one of them another `name:`"),
    ("count: {}", "index: {names: [NDRE, NDWI], name: both, reduce: [p50]}", 15, "name: both goes with one index, got 2 names"),
    ("count: {}", "index: {names: [TSAVI], reduce: [p50]}", 15, "the index 'TSAVI' needs sla"),
    ("count: {}", "index: {names: [SAVI], constants: {M: 0.5}, reduce: [p50]}", 15, "unknown constant 'M': expected constants of SAVI: L"),
    ("count: {}", "index: {names: [NDWI], constants: {L: 0.5}, reduce: [p50]}", 15, "unknown constant 'L': expected constants of NDWI, which has none"),
    ("count: {}", "index: {formula: nir, name: my, constants: {L: 1}, reduce: [p50]}", 15, "expected constants with an index of the catalogue only"),
    ("count: {}", "index: {names: [SAVI], constants: {L: .nan}, reduce: [p50]}", 15, "finite number"),
    ("count: {}", "harmonics: {index: WDVI}", 15, "the index 'WDVI' needs sla"),
    ("count: {}", "index: {names: [ndvi], reduce: [p50]}", 11, "two features are called 'ndvi_p50'"),
    ("count: {}", "geomedian: {bands: [coastal, blue]}", 11, "two features are called 'blue'"),
    ("  - geomedian: {bands: [blue, green, red, nir, swir1, swir2]}\n", "", 11, "mads are distances to the geomedian"),
    ("NDVI,", "NDREI,", 1, "'ndrei_p10' needs the band 'rededge1', which not every source has"),
    ("count: {}", "index: {formula: nir - red, reduce: [p50]}", 15, "the formula 'nir - red' needs a name:"),
    ("count: {}", "index: {formula: nir.x, name: my, reduce: [p50]}", 15, "only bands, numbers"),
    ("count: {}", "index: {formula: nir, name: My, reduce: [p50]}", 15, "expected a name of lower-case letters"),
    ("count: {}", "index: {reduce: [p50]}", 15, "an index needs either names: [NDVI, …] or formula: and name:"),
    ("name: mangrove_features", "name: ../etc", 1, "expected a name of lower-case letters, digits and underscores"),
    ("version: 1\n", "", 1, "version: Field required"),
    ("version: 1", "version: 0", 2, "greater than or equal to 1, got 0"),
    ("version: 1", "version: 99999999999999", 2, "less than or equal to 2147483647, got 99999999999999"),
    ("name: mangrove_features", "name: a", 1, "2 to 63 of them"),
    ("crs: utm", 'crs: "EPSG:2264"', 5, "'EPSG:2264' counts in US survey foot"),
    ("title:", "title: &a x\nfoo: *a\nx:", 5, "YAML aliases (*a) are not allowed in recipes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "message"), MISTAKES, ids=[new.strip() or "gone" for _, new, *_ in MISTAKES]
)
def test_a_mistake_is_answered_with_its_line(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(RequestError, match=rf"(?s)mine\.yaml, line {line}\b.*{re.escape(message)}"):
        parsed(changed(old, new))


def test_a_recipe_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(TEXT.replace("title: ", "title: Mangroves de Cura\xe7ao, ").encode("latin-1"))
    with pytest.raises(
        RequestError, match=r"latin\.yaml, line 4: expected text in UTF-8, got the byte 0xe7: save it as UTF-8"
    ):
        read_recipe(str(path))


def test_several_mistakes_are_answered_at_once() -> None:
    text = changed("tile_px", "tilepx").replace("p10,", "q10,")
    with pytest.raises(RequestError, match=r"line 5.*tilepx(?s:.)*line 14.*q10"):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (with_features("index: {names: [NDVX], reduce: [p50]}"), "line 12, features.0.index: unknown index 'NDVX'"),
        (
            TEXT.replace(LANDSAT + SENTINEL, "  - {collektion: landsat-c2-l2}\n"),
            "line 8, sources.0.collection: Field required",
        ),
    ],
)
def test_the_only_entry_of_a_list_is_its_own_fault_and_not_a_list_that_is_too_short(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)) as refused:
        parsed(text)
    assert "at least 1 item" not in str(refused.value)


@pytest.mark.parametrize("key", ["sources", "features"])
def test_an_empty_list_is_too_short(key: str) -> None:
    document = yaml.safe_load(TEXT) | {key: []}
    with pytest.raises(RequestError, match=f"{key}: Tuple should have at least 1 item"):
        parse_recipe(yaml.safe_dump(document), "mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml is empty: expected a recipe"),
        ("- a\n- b", "mine.yaml: expected a mapping with name, version, kind, …, got list"),
        ("a: [b", "mine.yaml is not readable YAML: .*line 1"),
        ("a:\n\t- b", "mine.yaml is not readable YAML"),
        ("a: \x00", "mine.yaml is not readable YAML"),
        ("? [a]\n: b", "mine.yaml is not readable YAML: .*unhashable key"),
        ("title: 2020-13-45", "mine.yaml is not readable YAML: month must be in 1"),
        ("[" * 20_000, "mine.yaml, line 1: nested deeper than 20 levels"),
    ],
)
def test_a_text_that_is_no_recipe_is_refused(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_recipe(text, "mine.yaml")


def test_python_tags_are_not_read() -> None:
    with pytest.raises(RequestError, match="could not determine a constructor for the tag"):
        parse_recipe("a: !!python/object/apply:os.system [true]", "mine.yaml")


def test_an_unknown_recipe_lists_the_near_ones() -> None:
    with pytest.raises(
        RequestError, match=r"unknown recipe 'mangrove_featurs'; near ones: mangrove_features.*ending in \.yaml"
    ):
        read_recipe("mangrove_featurs")


def test_a_missing_recipe_file_is_named() -> None:
    with pytest.raises(RequestError, match=r"no recipe file at nowhere/mine\.yaml"):
        read_recipe("nowhere/mine.yaml")


def test_a_recipe_of_another_kind_is_refused() -> None:
    with pytest.raises(RequestError, match="'mangrove_extent' is of kind model: expected kind features"):
        features_recipe("mangrove_extent")
    with pytest.raises(RequestError, match="'mangrove_features' is of kind features: expected kind model"):
        model_recipe("mangrove_features")


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parsed(TEXT).version = 2  # type: ignore[misc]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_with_neocube_reads(name: str) -> None:
    assert read_recipe(name).name == name
    assert all(a < b for a, b in pairwise(recipe_names()))


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(RequestError, match=r"mine.yaml, line \d+: the key 'version' stands twice"):
        parsed(TEXT + "version: 2\n")


def test_the_formula_behind_an_index_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parsed(TEXT).digest()
    assert parsed(TEXT).digest() == before
    monkeypatch.setattr(spyndex.indices["NDVI"], "formula", "(N - R)/(N + R + 0.1)")
    assert parsed(TEXT).digest() != before


def test_spelling_a_default_out_does_not_change_the_digest() -> None:
    assert parsed(changed("dilate_px: 2}}", "dilate_px: 2}, resampling: cubic}")).digest() == parsed(TEXT).digest()
    assert parsed(changed("dilate_px: 2}}", "dilate_px: 2}, resampling: bilinear}")).digest() != parsed(TEXT).digest()


@pytest.mark.parametrize(
    ("msi", "clear", "is_read"), [("hls", "{}", True), ("none", "{}", False), ("none", "{model: omnicloudmask}", True)]
)
def test_how_the_narrow_near_infrared_is_resampled_is_part_of_the_digest_where_it_is_read(
    msi: str, clear: str, is_read: bool
) -> None:
    def digest(resampling: str) -> str:
        source = f"{{collection: sentinel-2-l2a, clear: {clear}, resampling: {resampling}}}"
        text = re.sub(r"\{collection: sentinel-2-l2a.*\}", source, changed("msi: hls", f"msi: {msi}"))
        assert source in text
        return parsed(text).digest()

    assert (digest("{nir_narrow: cubic}") != digest("{red: average}")) == is_read
    assert (digest("{red: cubic, nir_narrow: bilinear}") != digest("{red: cubic}")) == is_read
    assert digest("{red: cubic, nir_narrow: average}") == digest("{red: cubic}")
    assert digest("{nir: cubic, nir_narrow: cubic}") == digest("{nir: cubic}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("coregister: {reference: sentinel-1}", "the reference 'sentinel-1' is not a source: expected one of landsat-c2-l2, sentinel"),
        ("coregister: {reference: landsat-c2-l2, band: rededge1}", "the band 'rededge1' is not read: expected one of blue"),
        ("coregister: {reference: landsat-c2-l2, max_shift_px: 65}", "expected tiles of at least 260 pixels, got 256"),
        ("coregister: {reference: landsat-c2-l2, apply: always}", "line 16, coregister.apply: .*'confident' or 'never', got 'always'"),
        ("brdf: nbar", "line 16, brdf: .*'none' or 'c_factor', got 'nbar'"),
    ],
)  # fmt: skip
def test_what_cannot_be_coregistered_or_normalised_is_refused(line: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parsed(f"{TEXT}{line}\n")


def test_the_coastal_band_has_no_parameters_of_the_brdf() -> None:
    text = "name: coast\nversion: 1\nkind: features\ngrid: {crs: utm, resolution_m: 30}\nperiod: P1Y\n"
    text += "sources: [{collection: sentinel-2-l2a}]\nfeatures:\n  - band: {names: [coastal], reduce: [p50]}\n"
    assert parsed(text + "brdf: none\n").used_bands == ("coastal",)
    with pytest.raises(RequestError, match="c_factor has no parameters for 'coastal': expected bands of blue, green"):
        parsed(text + "brdf: c_factor\n")


def test_coregistering_and_normalising_are_another_product() -> None:
    digests = {
        parsed(TEXT + line).digest()
        for line in ("", "brdf: none\n", "brdf: c_factor\n", "coregister: {reference: landsat-c2-l2}\n",
                     "coregister: {reference: landsat-c2-l2, apply: never}\n")
    }  # fmt: skip
    assert len(digests) == 4


MINE = """{product: my_msi, sensor: msi, bands: {red: B04, nir: B08%s}, scale: 0.0001, nodata: 0, mask: {band: SCL, values: {3: shadow, 9: cloud}}}"""


@pytest.mark.parametrize(
    ("bands", "harmonise", "features", "is_read"),
    [
        ("", "{msi: hls}", "index: {names: [NDVI], reduce: [p50]}", False),
        (", nir_narrow: B8A", "{msi: hls}", "index: {names: [NDVI], reduce: [p50]}", True),
        ("", "{msi: none}", "index: {names: [NDVI], reduce: [p50]}", True),
        ("", "none", "index: {names: [NDVI], reduce: [p50]}", True),
        ("", "{msi: hls}", "band: {names: [red], reduce: [p50]}", True),
    ],
)
def test_a_product_of_msi_has_the_band_that_is_read_for_nir(
    bands: str, harmonise: str, features: str, is_read: bool
) -> None:
    text = f"name: mine\nversion: 1\nkind: features\ngrid: {{crs: utm, resolution_m: 30}}\nperiod: P1Y\nsources:\n  - {MINE % bands}\n"
    text += f"harmonise: {harmonise}\nfeatures:\n  - {features}\n"
    if is_read:
        assert parsed(text).sources[0].collection == "my_msi"
        return
    said = "the source 'my_msi' has no nir_narrow, which is read for nir .* or say harmonise: {msi: none}"
    with pytest.raises(RequestError, match=said):
        parsed(text)


@pytest.mark.parametrize(
    ("period", "season", "n_steps"),
    [
        ("P1M", "season: {index: NDVI}", 4),
        ("P1M", "season: {index: NDVI, min_steps: 4}", 0),
        ("P1M", "season: {index: NDVI, min_steps: 5}", 4),
        ("P8W", "season: {index: NDVI}", 0),
        ("P7W", "season: {index: NDVI}", 5),
        ("{length: P3M, step: P1M}", "season: {index: NDVI, step_days: 16}", 0),
        ("{length: P3M, step: P1M}", "season: {index: NDVI, step_days: 19}", 5),
        ("P1Y", "season: {index: NDVI, step_days: 60, min_steps: 8}", 7),
    ],
)
def test_a_season_that_no_period_has_the_steps_for_is_refused(period: str, season: str, n_steps: int) -> None:
    text = with_features(season).replace("period: P1Y", f"period: {period}")
    assert f"period: {period}\n" in text
    if not n_steps:
        assert parsed(text).feature_names[0] == "ndvi_season_start"
        return
    with pytest.raises(RequestError, match=f"'ndvi_season_start' has at most {n_steps} steps of .* days in a period"):
        parsed(text)
