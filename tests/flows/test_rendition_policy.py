"""One chosen rendition for each acquisition and slice, by the policy of archives.yaml or one's own."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from uuid import NAMESPACE_DNS, UUID, uuid5

import pytest

from datacube_config.archives import use_archives
from datacube_config.errors import SettingsError
from flows.steps.scenes.datastrip import landsat_slice, same_slice
from flows.steps.scenes.rendition_policy import Candidate, rendition_difference, rendition_rank, superseded

MSI = ["02.14/20200219T123947", "05.00/20230612T214223", "05.00/20240101T000000", "05.10/20230101T000000"]
LANDSAT = ["02/RT/20210101", "02/T2/20200101", "02/T1/20190101", "02/T1/20200101"]


@pytest.fixture
def own_policy(tmp_path: Path) -> Iterator[Path]:
    """A file of one's own, to be written and named to `use_archives`."""
    yield tmp_path / "archives.yaml"
    use_archives(None)


def candidate(name: str, archive: str = "", slice_: str = "") -> Candidate:
    return Candidate(uuid5(NAMESPACE_DNS, f"{name}{archive}{slice_}"), name, archive, slice_)


def chosen(*candidates: Candidate) -> set[tuple[str, str, str]]:
    """The ones that nothing supersedes, whatever the order they come in."""
    kept = [frozenset(c for c in order if c.id not in superseded(order)) for order in permutations(candidates)]
    assert len(set(kept)) == 1
    return {(each.rendition, each.archive, each.slice) for each in kept[0]}


def test_renditions_are_ordered_by_tier_baseline_and_time() -> None:
    for names in (LANDSAT, MSI):
        assert names == sorted(names, key=rendition_rank)
    assert rendition_difference(LANDSAT[2], LANDSAT[0]) == "tier T1 > RT"
    assert rendition_difference(MSI[1], MSI[0]) == "baseline 05.00 > 02.14"
    assert rendition_difference(LANDSAT[3], LANDSAT[2]) == "processed 20200101 > 20190101"


def test_of_one_baseline_the_first_provider_is_chosen_before_the_last_processing() -> None:
    ours, theirs = candidate(MSI[1], "earth-search"), candidate(MSI[2], "planetary-computer")
    assert chosen(ours, theirs) == {(MSI[1], "earth-search", "")}
    assert chosen(ours, theirs, candidate(MSI[3], "/data/archive")) == {(MSI[3], "/data/archive", "")}
    (reason,) = (
        rendition_difference(one.rendition, MSI[2], one.archive, "planetary-computer")
        for one in superseded([ours, theirs]).values()
    )
    assert reason == "provider earth-search > planetary-computer"


def test_an_archive_without_a_place_in_the_order_comes_last() -> None:
    assert rendition_rank(MSI[1], "earth-search-v0") > rendition_rank(MSI[2], "/data/archive")
    assert rendition_rank(MSI[1], "/one") < rendition_rank(MSI[2], "/other")


def test_for_landsat_the_later_processing_is_chosen_before_the_first_provider() -> None:
    assert chosen(candidate(LANDSAT[2], "earth-search"), candidate(LANDSAT[3], "planetary-computer")) == {
        (LANDSAT[3], "planetary-computer", "")
    }


def test_the_policy_of_ones_own_file_is_in_force(own_policy: Path) -> None:
    pair = candidate(MSI[1], "earth-search"), candidate(MSI[2], "planetary-computer")
    own_policy.write_text("renditions: {sentinel-2-l2a: [generated]}\n")
    use_archives(own_policy)
    assert chosen(*pair) == {(MSI[2], "planetary-computer", "")}
    assert rendition_rank(MSI[3]) < rendition_rank(MSI[2])
    assert rendition_difference(MSI[2], MSI[3]) == "generated 20240101T000000 > 20230101T000000"
    own_policy.with_name("other.yaml").write_text("order: [planetary-computer]\n")
    use_archives(own_policy.with_name("other.yaml"))
    assert chosen(*pair) == {(MSI[2], "planetary-computer", "")}
    assert rendition_rank(MSI[0], "earth-search") < rendition_rank(MSI[1], "planetary-computer")


def test_an_unknown_key_of_the_policy_is_refused_with_its_line(own_policy: Path) -> None:
    own_policy.write_text("renditions:\n  sentinel-2-l2a: [baseline, luck]\n")
    with pytest.raises(SettingsError, match="line 2.*'generated'"):
        use_archives(own_policy)


SAME = [
    ("", "", True), ("", "S20200714T115252", True), ("S20200714T115252", "S20200714T115252 T20200714T115552", True),
    ("S20200714T115252", "S20200714T115253", True), ("S20251010T163403", "S20251010T162737", False),
    ("S20251010T163403 T20251010T163500", "S20251010T162737 T20251010T163500", False),
    ("T20200714T115552", "S20200714T115252 T20200714T115552", True), ("T20200714T115552", "T20200714T115556", False),
    ("T20200714T115552", "S20200714T115252", True), ("GLGN", "GLGN", True), ("GLGN", "GLSN", False), ("GLGN", "", True),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "expected"), SAME)
def test_slices_are_told_apart_by_the_first_mark_that_both_have(one: str, other: str, expected: bool) -> None:
    assert same_slice(one, other) == same_slice(other, one) == expected


def test_each_slice_of_an_acquisition_keeps_its_highest_rendition() -> None:
    """T16SGD of 2025-10-10 is in two datastrips of one datatake."""
    north, south = "S20251010T162737", "S20251010T163403"
    both = candidate("05.11/20251010T194500", slice_=north), candidate("05.11/20251010T200000", slice_=south)
    assert len(chosen(*both)) == 2
    again = candidate("05.12/20260101T000000", slice_="S20251010T163405")
    assert chosen(*both, again) == {
        ("05.11/20251010T194500", "", north),
        ("05.12/20260101T000000", "", "S20251010T163405"),
    }


def test_a_landsat_slice_is_its_receiving_station() -> None:
    assert landsat_slice("LC80330322023281LGN00") == "GLGN"
    assert landsat_slice("LT50100671986114XXX02") == landsat_slice(None) == landsat_slice("LC8") == ""


def test_every_loser_names_what_takes_its_place() -> None:
    candidates = [candidate(name) for name in MSI]
    lost: dict[UUID, Candidate] = superseded(candidates)
    assert {each.id for each in candidates[:-1]} == set(lost)
    assert set(lost.values()) == {candidates[-1]}
