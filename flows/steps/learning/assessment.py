"""Assess a map: draw a sample for interpretation, and estimate accuracy and areas from what was interpreted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flows.steps.learning.map_population import MapPopulation, StrataCounts, count_strata
from products.errors import RequestError
from products.learning.accuracy import confusion
from products.learning.card import score_name
from products.learning.ground_area import MOST_SPREAD
from products.learning.maps import M2_PER_HA
from products.learning.stratified_design import Drawn, allocate, candidates, joined, sample_size
from products.learning.stratified_estimate import (
    accuracy_document,
    area_document,
    stratified_estimates,
)
from products.scene_recipe import canonical_digest

FORMAT = "neocube-assessment-design-1"
SOURCE = "Olofsson et al. 2014, Remote Sensing of Environment 148, 42-57"


@dataclass(frozen=True, slots=True)
class SampleOrder:
    """What is asked of a sample: its size, or the standard error of overall accuracy where all classes have the expected user's accuracy."""

    n_points: int | None
    standard_error: float
    expected_users: float
    least_per_stratum: int
    seed: int


def draw_sample(population: MapPopulation, order: SampleOrder, simulated: bool) -> dict[str, Any]:
    """The design: strata with exact pixel counts, weights by ground area, and the pixels drawn (id, stratum, x, y)."""
    counts = count_strata(population)
    _check_equal_area(population, counts)
    found = np.flatnonzero(counts.pixels)
    weight = counts.ground_m2 / counts.ground_m2.sum()
    total = int(counts.pixels.sum())
    wanted = order.n_points or sample_size(weight[found], order.expected_users, order.standard_error, total)
    names = [population.strata[i] for i in found]
    n = min(max(wanted, int(np.minimum(counts.pixels, order.least_per_stratum).sum())), total)
    drawn_of = np.zeros_like(counts.pixels)
    drawn_of[found] = allocate(counts.pixels[found], order.n_points or n, order.least_per_stratum, names)
    sample = _drawn(population, drawn_of, order.seed)
    strata = [
        {"name": name, "pixel_count": int(counts.pixels[i]), "ground_ha": float(counts.ground_m2[i]) / M2_PER_HA}
        | {"weight": float(weight[i]), "points": int(drawn_of[i])}
        for i, name in enumerate(population.strata)
    ]
    document = {
        "format": FORMAT,
        "source": SOURCE,
        "map": population.product,
        "version": population.version,
        "snapshot": population.url,
        "area": population.area.name if population.area else None,
        "crs": population.crs,
        "periods": [time.label for time in population.times],
        "cells": list(population.cells),
        "simulated": simulated,
        "order": asdict(order),
        "pixel_ground_m2": [counts.smallest_m2, counts.largest_m2],
        "unmapped_pixel_count": counts.unmapped,
        "strata": strata,
        "points": [
            [number, population.strata[stratum - 1], float(x), float(y)]
            for number, (stratum, x, y) in enumerate(zip(sample.stratum, sample.x, sample.y, strict=True), start=1)
        ],
    }
    return document | {"digest": canonical_digest(document)}


def _drawn(population: MapPopulation, counts: np.ndarray[Any, np.dtype[np.int64]], seed: int) -> Drawn:
    parts = []
    for strip in population.strips():
        rows, columns = np.nonzero(strip.stratum)
        parts.append(candidates(strip.stratum[rows, columns], strip.x[columns], strip.y[rows], counts, seed))
    return joined(parts, counts)


def _check_equal_area(population: MapPopulation, counts: StrataCounts) -> None:
    """Pixels of a stratum are drawn and weigh alike, which is a sample of its area where they are equally large."""
    spread = counts.largest_m2 / counts.smallest_m2 - 1
    if spread > MOST_SPREAD:
        raise RequestError(
            f"the pixels of this map in {population.crs} differ by {spread:.0%} on the ground: expected at most {MOST_SPREAD:.0%}, "
            "as in a UTM zone or an equal-area CRS; map it on such a grid"
        )


def estimate(design: Mapping[str, Any], reference: Mapping[int, str]) -> dict[str, Any]:
    """Areas and accuracies with 95 % intervals from the reference class of each point of a design."""
    strata = design["strata"]
    names = [each["name"] for each in strata]
    code = {name: number for number, name in enumerate(names, start=1)}
    stratum = np.array([code[name] for _, name, _, _ in design["points"]])
    truth = np.array([code[reference[number]] for number, _, _, _ in design["points"]])
    counts = confusion(stratum, truth, len(names))
    pixels = np.array([each["pixel_count"] for each in strata])
    ground_ha = np.array([each["ground_ha"] for each in strata])
    found = stratified_estimates(counts, ground_ha / ground_ha.sum(), pixels)
    return {
        "map": design["map"],
        "version": design["version"],
        "periods": design["periods"],
        "crs": design["crs"],
        "design": design["digest"],
        "simulated": design["simulated"],
        "score": score_name(design["simulated"]),
        "points": len(stratum),
        "areas": area_document(found, names, pixels, ground_ha),
        "accuracy": accuracy_document(found, names),
        "error_matrix": {
            "classes": names,
            "counts": counts.tolist(),
            "area_proportions": np.round(found.proportions, 8).tolist(),
        },
        "notes": notes(design),
        "source": SOURCE,
    }


def notes(design: Mapping[str, Any]) -> list[str]:
    """How the figures are to be read, in sentences."""
    smallest, largest = design["pixel_ground_m2"]
    said = [
        "Rows of the error matrix are strata of the map, columns what was interpreted; intervals are 1.96 standard errors, cut to what is possible.",
        f"Strata weigh by their area on the ellipsoid: a pixel in {design['crs']} covers {smallest:.1f} to {largest:.1f} m2 of ground.",
        f"{design['unmapped_pixel_count']} pixels of the area have no class; nothing is said of them.",
    ]
    if design["simulated"]:
        said.insert(
            0,
            "The map was made from simulated data: the figures show that the pipeline works, and say nothing of real ground.",
        )
    return said
