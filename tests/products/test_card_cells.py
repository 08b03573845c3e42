"""What is said of cells."""

from products.learning.card_cells import first_of, unbuilt_notes

HINT = "; `neocube build coast` makes them where there are scenes"


def test_periods_without_any_cell_and_tiles_without_one_are_counted_and_named() -> None:
    periods = [str(year) for year in range(2010, 2020)]
    built = {("a", "2010"), ("b", "2010"), ("a", "2011")}
    assert unbuilt_notes("coast", ["a", "b"], periods, built) == (
        f"coast has no cell in 8 of 10 periods, which are left out: 2012, 2013, 2014, 2015, 2016 and 3 more{HINT}",
        f"coast has no cell in 1 of 4 tiles of its periods, which stay empty: b in 2011{HINT}",
    )
    assert unbuilt_notes("coast", ["a", "b"], periods[:1], built) == ()


def test_the_first_names_are_told_and_how_many_more_there_are() -> None:
    assert first_of(["a"]) == "a"
    assert first_of(range(6)) == "0, 1, 2, 3, 4 and 1 more"
