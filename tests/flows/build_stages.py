"""Where a build can be killed."""

import flows.build_here
import flows.steps.cubes.building
import flows.steps.cubes.cell_store
import flows.steps.cubes.cells
import flows.steps.cubes.snapshot
import flows.steps.cubes.strips
from tests.flows.killing import after, before

STAGES = {
    "after the plan, before any write": before(flows.build_here, "bind_product"),
    "before the first cell is loaded": before(flows.steps.cubes.strips, "load_observations"),
    "with the first cell in memory": before(flows.steps.cubes.strips, "compute_layers"),
    "with pixels written and half their metadata": before(flows.steps.cubes.cell_store, "create_array", 4),
    "with a cell written, coordinates missing": before(flows.steps.cubes.cell_store, "write_coordinates"),
    "with a cell written, not verified": before(flows.steps.cubes.cells, "verify_written"),
    "with a cell verified, not committed": before(flows.steps.cubes.cells, "_commit"),
    "inside the transaction of a cell": after(flows.steps.cubes.cells, "publish_derived"),
    "after the commit of the first cell": after(flows.steps.cubes.building, "publish_cell"),
    "in the second cell": before(flows.steps.cubes.cells, "write_shards", 2),
    "before the cube": before(flows.build_here, "publish_cube"),
    "with half a cube linked": after(flows.steps.cubes.snapshot, "_link", 2),
    "with a cube linked, not marked complete": after(flows.steps.cubes.snapshot, "assemble"),
    "before the pointer": before(flows.steps.cubes.snapshot, "point"),
    "after the pointer": after(flows.steps.cubes.snapshot, "point"),
}
