"""The ODC product of cells: all versions of a recipe share it, so that all have the same measurements."""

from typing import Any

from datacube.utils import jsonify_document

from datacube_config.connection import Index
from flows.steps.index.index_setup import add_product
from products.errors import RequestError
from products.template import CELL_KIND, CellTemplate, odc_product_definition


def declare_cells(index: Index, template: CellTemplate) -> None:
    """Add the product of a template to the index if it is not there, or tell it the units; RequestError as `check_cells`."""
    check_cells(index, template)
    add_product(index.dc, odc_product_definition(template))


def check_cells(index: Index, template: CellTemplate) -> None:
    """RequestError if the product of a template is known as something else, or with other measurements; nothing is written."""
    known = index.dc.index.products.get_by_name(template.product)
    if known is None:
        return
    if known.metadata_type.name != CELL_KIND:
        raise RequestError(
            f"the index has {template.product} as a product of {known.metadata_type.name}: take another `name:`"
        )
    before = _by_name(known.definition["measurements"])
    wanted = _by_name(jsonify_document(odc_product_definition(template))["measurements"])
    changed = [name for name in before if name in wanted and before[name] != wanted[name]]
    differences = {"lacks": before.keys() - wanted.keys(), "adds": wanted.keys() - before.keys(), "changes": changed}
    if said := "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in differences.items() if names):
        raise RequestError(
            f"{template.product} version {template.version} has other features than the product in the index: it {said}. "
            "All versions of a product have the same ones, as one ODC product holds them: take another `name:`"
        )


def _by_name(measurements: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The measurements without their units: those of a known product may be older than the units of features."""
    return {each["name"]: {key: value for key, value in each.items() if key != "units"} for each in measurements}
