"""The recipe of a training set: what it takes, what it refuses in which words, and what changes its digest."""

from typing import Any

import pytest
import yaml

from products.errors import RequestError
from products.learning.samples_recipe import SamplesRecipe
from products.registry import features_recipe, parse_recipe, samples_recipe

BASE: dict[str, Any] = {
    "name": "coast_samples",
    "version": 1,
    "kind": "samples",
    "features": "coast_features",
    "classes": ["mangrove", "water"],
    "labels": [{"file": "labels.gpkg"}],
}
MATCHES: dict[str, Any] = {
    **{key: value for key, value in BASE.items() if key not in ("classes", "labels")},
    "matches": {"file": "chl.csv", "values": ["chl_ugl"], "time": "date", "within": "P1D", "crs": "EPSG:4326"},
}


def recipe(base: dict[str, Any] = BASE, **changed: Any) -> SamplesRecipe:
    found = parse_recipe(yaml.safe_dump(base | changed), "r.yaml")
    assert isinstance(found, SamplesRecipe)
    return found


def test_one_source_of_labels_may_stand_alone() -> None:
    assert recipe(labels={"file": "labels.gpkg"}) == recipe()


def test_values_mean_classes_by_name_in_vectors_and_by_code_in_rasters() -> None:
    (plain,) = recipe().labels
    assert plain.codes(recipe().classes, by_number=False) == {"mangrove": 1, "water": 2}
    assert plain.codes(recipe().classes, by_number=True) == {1: 1, 2: 2}
    (said,) = recipe(labels={"values": {"mangrove": [7]}, "ignore": [9]}).labels
    assert said.codes(recipe().classes, by_number=True) == {9: 0, 7: 1}
    (one,) = recipe(labels={"class": "water", "min_value": 90}).labels
    assert one.one_code(recipe().classes) == 2


def test_where_files_lie_changes_no_digest_and_what_decides_samples_does() -> None:
    assert recipe(labels={"file": "other.gpkg"}).digest() == recipe().digest()
    assert recipe(MATCHES, matches=MATCHES["matches"] | {"file": "x.csv"}).digest() == recipe(MATCHES).digest()
    for changed in (
        {"seed": 2},
        {"labels": {"edge_px": 2}},
        {"design": {"random": {"n": 5}}},
        {"chips": {"size_px": 8}},
    ):
        assert recipe(**changed).digest() != recipe().digest()
    assert recipe(title="words").digest() == recipe().digest()


def test_a_period_may_be_a_year_as_yaml_reads_it() -> None:
    assert recipe(period=2020).period == "2020"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": ["water"]}, "expected at least two classes to tell apart, got water"),
        ({"classes": ["water", "water"]}, "the class 'water' stands twice in classes"),
        ({"classes": ["Water", "land"]}, "expected a name of lower-case letters"),
        ({"labels": {"values": {"snow": [1]}}}, "labels name the class 'snow': expected one of mangrove, water"),
        ({"labels": {"values": {"water": [1]}, "ignore": [1]}}, "the label value 1 stands twice in values and ignore"),
        ({"labels": {"class": "water", "values": {"water": [1]}}}, "`class` gives all labels of a source one class"),
        ({"labels": {"min_value": 9}}, "`min_value` needs `class`"),
        ({"labels": {"edge": 1}}, r"line \d+, labels.0.edge: unknown key 'edge'"),
        ({"labels": []}, "expected `labels` of classes, or `matches`"),
        ({"matches": MATCHES["matches"]}, "expected `labels` of classes, or `matches`"),
        (
            {"chips": {"size_px": 8, "stride_px": 4, "around_labels": True}},
            "chips lie around_labels or every stride_px",
        ),
        ({"design": {"stratified": {"per_class": {"water": 3}}}}, "per_class names water: expected each class once"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        recipe(**changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": ["land", "water"]}, "`matches` gives numbers at places: leave `classes` and `chips` out"),
        ({"design": {"random": {"n": 4}}}, "every row of `matches` is taken"),
        ({"matches": MATCHES["matches"] | {"within": "P1M"}}, "expected `within` in days or weeks, such as P1D"),
    ],
)
def test_what_does_not_go_with_matches_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        recipe(MATCHES, **changed)


def test_a_recipe_of_another_kind_is_refused() -> None:
    assert samples_recipe("mangrove_samples").classes == ("mangrove", "water", "other")
    with pytest.raises(RequestError, match="'mangrove_features' is of kind features: expected kind samples"):
        samples_recipe("mangrove_features")
    with pytest.raises(RequestError, match="'mangrove_samples' is of kind samples: expected kind features"):
        features_recipe("mangrove_samples")
