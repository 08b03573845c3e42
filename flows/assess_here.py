"""Draw a sample of a map for interpretation, and estimate accuracy and areas from it: without Prefect."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from datacube_config.connection import Index, open_index
from datacube_config.settings import get_settings
from flows.console import output_path, writing
from flows.steps.areas import find_area
from flows.steps.cubes.open_cube import asked_stored, find_cube, snapshot_asked_for
from flows.steps.index.catalogue import published_cell
from flows.steps.learning.assessment import SampleOrder, draw_sample, estimate
from flows.steps.learning.assessment_points import (
    check_sample_path,
    design_path,
    read_design,
    read_references,
    write_sample,
)
from flows.steps.learning.map_population import map_population
from flows.steps.pictures.assessment import assessment_picture
from flows.steps.storage import s3_options
from products.errors import RequestError
from products.period import parse_period

SHOWN = ("map", "version", "crs", "periods", "cells", "strata", "simulated", "digest")


def design_sample(
    name: str, area: str | None, crs: str | None, periods: tuple[str, ...], order: SampleOrder, out: str | None
) -> dict[str, Any]:
    """Draw a sample of a map, by its product and area or its snapshot's path, and write it; returns `sample` and the strata."""
    settings = get_settings()
    labels = [parse_period(text).label for text in periods]
    if out:
        check_sample_path(Path(out))
        output_path(out)
    with open_index(settings) as index:
        url = snapshot_asked_for(index, name, area, crs)
        ground = find_area(area) if area else None
        population = map_population(url, s3_options(settings), ground, labels)
        times = [time.label for time in population.times]
        population = replace(population, cells=tuple(_cells_of(index, population.cells, times)))
        path = Path(out or f"{population.product}_{'_'.join(t.label for t in population.times)}_sample.gpkg")
        check_sample_path(path)
        design = draw_sample(population, order, is_simulated(index, population.cells))
    with writing(path):
        write_sample(path, design)
    said = {key: design[key] for key in SHOWN} | {"cells": len(design["cells"]), "points": len(design["points"])}
    return {"sample": str(path), "design": str(design_path(path)), **said}


def estimate_map(name: str, sample: str) -> dict[str, Any]:
    """Areas and accuracy of a map from its interpreted sample, also as JSON and a picture beside it; RequestError if it is of another map."""
    settings, path = get_settings(), Path(sample)
    design = read_design(path)
    is_snapshot = name.rstrip("/").endswith(".zarr")
    if name != design["map"] and not is_snapshot:
        raise RequestError(f"{sample} is a sample of {design['map']}, not of {name}: give the map it was drawn from")
    url = name if is_snapshot else design["snapshot"]
    if not is_snapshot and design["area"]:
        with open_index(settings) as index:
            url = find_cube(index, name, design["area"], design["crs"]).snapshot_url
    held = [str(cell) for cell in asked_stored(url, s3_options(settings)).attrs["neocube:cells"]]
    if set(held) != set(design["cells"]):
        with open_index(settings) as index:
            _check_unchanged(index, sample, design, url, held)
    document = estimate(design, read_references(path, design))
    written = {
        "json": path.with_name(f"{path.stem}.estimate.json"),
        "picture": path.with_name(f"{path.stem}.estimate.png"),
    }
    written["json"].write_text(json.dumps(document, indent=2))
    written["picture"].write_bytes(assessment_picture(document))
    return document | {key: str(value) for key, value in written.items()}


def _check_unchanged(index: Index, sample: str, design: Mapping[str, Any], url: str, held: Sequence[str]) -> None:
    """RequestError unless a map has, in the periods of a design, the cells that it was drawn from; other periods may have joined it."""
    periods = " and ".join(design["periods"])
    drawn, now = (set(_cells_of(index, cells, design["periods"])) for cells in (design["cells"], held))
    remedy = f"assess the old map by its path ({design['snapshot']}) or draw a new sample"
    if not now:
        raise RequestError(f"{sample} was drawn from cells of {periods}, of which {url} holds none: {remedy}")
    if drawn != now:
        raise RequestError(
            f"{sample} was drawn from other cells of {periods} than {url} has now: {len(drawn - now)} of {len(drawn)} "
            f"were replaced or retired since, {len(now - drawn)} are new; {remedy}"
        )


def _cells_of(index: Index, cells: Sequence[str], periods: Sequence[str]) -> list[str]:
    """Those of some cells that are of these periods, or that the index does not know any more."""
    rows = index.dc.index.datasets.bulk_get([UUID(cell) for cell in cells])
    of = {str(cell.id): cell.period for cell in map(published_cell, rows)}
    return [cell for cell in cells if of.get(cell, periods[0]) in periods]


def is_simulated(index: Index, cells: tuple[str, ...]) -> bool:
    """Whether a cell of a map says that its model is from simulated data."""
    rows = (index.dc.index.datasets.get(UUID(cell)) for cell in cells)
    return any(row is not None and bool(row.metadata_doc["properties"].get("neocube:simulated")) for row in rows)
