"""Formulas are arithmetic and nothing else; catalogue indices mean what the catalogue says."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
import spyndex
from hypothesis import given
from hypothesis import strategies as st

from products.errors import RequestError
from products.feature_program import programs
from products.formula import CATALOGUE_BANDS, index_constants, index_formula, parse_formula
from products.index_constants import OF_THE_PLACE
from products.pixel.reference import index_values

BANDS = frozenset(CATALOGUE_BANDS.values())
OLI = {"B": "SR_B2", "G": "SR_B3", "R": "SR_B4", "N": "SR_B5", "S1": "SR_B6", "S2": "SR_B7"}


def evaluated(text: str, **bands: np.ndarray) -> np.ndarray:
    formula = parse_formula(text, BANDS | frozenset(bands))
    program = programs([(formula, ())], {(band, ()): place for place, band in enumerate(bands)})[0]
    return index_values(program, np.column_stack([np.atleast_1d(values) for values in bands.values()]).astype(float))


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 5))
def test_a_formula_follows_the_rules_of_arithmetic(nir: float, red: float, power: int) -> None:
    text = f"-(nir - 2 * red) / (nir + red) ** {power} + 0.5 - red"
    expected = -(nir - 2 * red) / (nir + red) ** power + 0.5 - red

    np.testing.assert_allclose(evaluated(text, nir=np.array(nir), red=np.array(red)), expected, rtol=1e-12)


def test_a_formula_names_its_bands_once_in_order() -> None:
    assert parse_formula("(nir - red) / (nir + red)", BANDS).bands == ("nir", "red")


@pytest.mark.parametrize(
    "text",
    ["nir.real", "__import__('os')", "nir if red else 1", "nir @ red", "nir + 1j", "nir + True", "nir[0]", "(nir, red)",
     "lambda: nir", "nir // red", "nir > red", "[nir for nir in red]", "'nir'", "+nir", "(nir := 1)"],
)  # fmt: skip
def test_anything_but_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"only bands, numbers, \+ - \* / \*\* and brackets are allowed"):
        parse_formula(text, BANDS)


@pytest.mark.parametrize("text", ["", "(nir", "nir red", "nir +", "(" * 300 + "nir" + ")" * 300])
def test_what_cannot_be_read_is_answered_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match=r"(cannot read the formula|formula of \d+ characters)"):
        parse_formula(text, BANDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nri + red", "names an unknown band 'nri'; near ones: nir"),
        ("1 + 2", "names no band: expected some of blue"),
        ("nir + " * 100 + "nir", "formula of 603 characters: expected at most 500"),
        ("(blue + " * 9 + "red" + ")" * 9, "nested deeper than 8 values: write it more simply"),
        ("1" + "0" * 400 + " * nir", "has a number beyond 1e"),
        ("1e400 * nir", "has a number beyond 1e"),
    ],
)
def test_a_wrong_formula_is_refused_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_formula(text, BANDS)


def test_an_unknown_index_lists_the_near_ones() -> None:
    with pytest.raises(RequestError, match="unknown index 'NDVX'; near ones: NDVI"):
        index_formula("NDVX", BANDS)


def test_an_index_that_needs_more_than_bands_and_constants_is_refused() -> None:
    with pytest.raises(RequestError, match="needs 'T', which is neither a band nor a constant here"):
        index_formula("NDBaI", BANDS)


def test_cmri_is_ours_and_ndvi_minus_ndwi() -> None:
    assert index_formula("cmri", BANDS).bands == ("nir", "red", "green")


@pytest.mark.parametrize(
    "name", ["NDVI", "MNDWI", "MVI", "NDWI", "EVI", "SAVI", "MSAVI", "NBR", "NDBI", "AWEIsh", "GNDVI", "NDMI"]
)
def test_a_catalogue_index_gives_what_the_catalogue_computes(shared_data: Path, name: str) -> None:
    table = json.loads((shared_data / "reference" / "spyndex" / "spectral.json").read_text())
    samples = {letter: np.array(list(table[column].values())) for letter, column in OLI.items()}
    constants = {
        symbol: spyndex.constants[symbol].default for symbol in ("L", "g", "C1", "C2", "alpha", "beta", "gamma")
    }
    expected = spyndex.computeIndex(name, params={**samples, **constants})

    found = evaluated(index_formula(name, BANDS).text, **{CATALOGUE_BANDS[letter]: v for letter, v in samples.items()})

    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_indices_whose_names_differ_in_case_only_are_told_apart() -> None:
    every = frozenset(CATALOGUE_BANDS.values())

    assert index_formula("BAI", every).text != index_formula("BaI", every).text
    with pytest.raises(RequestError, match="'bai' may be BAI or BaI, which differ in case only"):
        index_formula("bai", every)


def test_every_optical_index_of_the_catalogue_is_here_and_computes_what_the_catalogue_computes() -> None:
    """Left out are those of thermal, radar and other sensors' bands."""
    random = np.random.default_rng(2)
    reflectance = {letter: random.uniform(0.02, 0.5, 50) for letter in CATALOGUE_BANDS}
    elsewhere = {"T", "T1", "HH", "HV", "VV", "VH", "G1", "Y"}
    of_the_place = {"sla": 1.2, "slb": 0.04, "k": 1e-4, "n": 4.0, "PAR": 900.0}
    left_out = {name for name, index in spyndex.indices.items() if elsewhere & set(index.bands)}
    for name, index in spyndex.indices.items():
        if name in left_out:
            with pytest.raises(RequestError, match="neither a band nor a constant here"):
                index_formula(name, frozenset(CATALOGUE_BANDS.values()))
            continue
        found = index_formula(name, frozenset(CATALOGUE_BANDS.values()), of_the_place)
        known = reflectance | of_the_place
        values = {
            symbol: known.get(symbol, getattr(spyndex.constants.get(symbol), "default", None)) for symbol in index.bands
        }
        if None not in [value for value in values.values() if not isinstance(value, np.ndarray)]:
            with np.errstate(all="ignore"):
                expected = spyndex.computeIndex(name, params=values)
                computed = evaluated(found.text, **{CATALOGUE_BANDS[letter]: v for letter, v in reflectance.items()})
            np.testing.assert_allclose(computed, expected, rtol=1e-9, err_msg=name)
    assert (len(spyndex.indices), len(spyndex.indices) - len(left_out)) == (280, 245)


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("TSAVI", r"sla \(Soil line slope\) and slb \(Soil line intercept\).*constants: {sla: …, slb: …}"),
        ("ATSAVI", "sla"),
        ("SAVI2", "sla"),
        ("wdvi", r"^the index 'WDVI' needs sla \(Soil line slope\), which every place has its own of"),
        ("NIRvH2", "k"),
        ("RWI", "n"),
        ("NIRvP", "PAR"),
    ],
)
def test_an_index_with_constants_of_the_place_is_refused_without_them(name: str, lacks: str) -> None:
    with pytest.raises(RequestError, match=lacks):
        index_formula(name, frozenset(CATALOGUE_BANDS.values()))


def test_given_constants_take_the_place_of_the_catalogues_in_kernels_too() -> None:
    red, nir = np.random.default_rng(4).uniform(0.02, 0.5, (2, 20))
    every = frozenset(CATALOGUE_BANDS.values())
    savi = evaluated(index_formula("SAVI", every, {"L": 0.5}).text, red=red, nir=nir)
    tsavi = evaluated(index_formula("TSAVI", every, {"sla": 1.2, "slb": -0.04}).text, red=red, nir=nir)

    np.testing.assert_allclose(savi, 1.5 * (nir - red) / (nir + red + 0.5), rtol=1e-12)
    np.testing.assert_allclose(tsavi, 1.2 * (nir - 1.2 * red + 0.04) / (1.2 * nir + red + 1.2 * 0.04), rtol=1e-12)
    assert index_formula("SAVI", every).text == index_formula("SAVI", every, {"L": 1.0}).text
    assert index_constants("kEVI") == {"C1": 6.0, "C2": 7.5, "L": 1.0, "g": 2.5}
    assert index_formula("kEVI", every).text != index_formula("kEVI", every, {"L": 0.5}).text
    assert (index_constants("CMRI"), index_constants("NDVI")) == ({}, {})


def test_the_table_of_constants_in_the_document_has_each_with_its_value_and_its_indices() -> None:
    every = frozenset(CATALOGUE_BANDS.values())
    known: dict[str, tuple[float | None, set[str]]] = {}
    for name in spyndex.indices:
        with suppress(RequestError):
            index_formula(name, every, dict.fromkeys(OF_THE_PLACE, 1.5))
            for symbol, value in index_constants(name).items():
                known.setdefault(symbol, (value, set()))[1].add(name)
    document = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
    table = document.split("| constant | what it is |")[1].split("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    told = {
        symbol.strip("`"): (None if value == "none" else float(value), set(indices.split(", ")))
        for symbol, _, value, indices in rows
    }
    assert told == known


def test_kernel_indices_and_wavelengths_follow_their_papers() -> None:
    random = np.random.default_rng(3)
    red, nir, swir1 = random.uniform(0.02, 0.5, (3, 20))
    every = frozenset(CATALOGUE_BANDS.values())
    kndvi = evaluated(index_formula("kNDVI", every).text, red=red, nir=nir)
    fai = evaluated(index_formula("FAI", every).text, red=red, nir=nir, swir1=swir1)

    np.testing.assert_allclose(kndvi, np.tanh(((nir - red) / (nir + red)) ** 2), rtol=1e-9)
    np.testing.assert_allclose(fai, nir - (red + (swir1 - red) * (865.0 - 655.0) / (1610.0 - 655.0)), atol=2e-3)


@pytest.mark.parametrize(("name", "published"), [("NDVI", "NDVI"), ("MSAVI", "MSAVI2")])
def test_indices_of_a_real_chip_equal_the_published_rasters(shared_data: Path, name: str, published: str) -> None:
    folder = shared_data / "sentinel2_l2a" / "barbellino"
    with rasterio.open(folder / "S2A2A_20170703_022_Barbellino_BOA_10.tif") as file:
        red, nir = file.read([4, 8]).astype(float) / 1e4
        missing = (file.read([4, 8]) == file.nodata).any(axis=0)
    with rasterio.open(folder / f"S2A2A_20170703_022_Barbellino_{published}_10.tif") as file:
        expected, known = file.read(1), file.read(1) != file.nodata
    both = known & ~missing

    found = evaluated(index_formula(name, BANDS).text, nir=nir[both], red=red[both])

    assert both.sum() > 900
    assert np.abs(found * 1e4 - expected[both]).max() <= 0.5 + 1e-6
