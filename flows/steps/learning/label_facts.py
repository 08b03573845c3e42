"""What a label file says about itself: its digest, its CRS, and whether it comes from a known landscape."""

import hashlib
import json
from dataclasses import dataclass

from flows.steps.learning.label_files import LabelFile
from products.scene_recipe import canonical_digest


@dataclass(frozen=True, slots=True)
class LabelSource:
    """What a label file says about itself; `simulated` where it comes from a known landscape, `class_names` where codes in it mean these."""

    file: LabelFile
    digest: str
    crs: str
    simulated: bool
    class_names: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """The digest of the content, and of the classes that its codes mean: the same codes of other classes are other labels."""
        return canonical_digest([self.digest, self.class_names]) if self.class_names else self.digest


def label_source(file: LabelFile, crs: str, simulated: bool) -> LabelSource:
    """Where labels come from, with the SHA-256 of their file."""
    return LabelSource(file, hashlib.sha256(file.path.read_bytes()).hexdigest(), crs, simulated)


def says_simulated(file: LabelFile) -> bool:
    """Whether a GeoJSON file says that its labels come from a known, made-up landscape."""
    if file.suffix not in (".geojson", ".json"):
        return False
    document = json.loads(file.path.read_bytes())
    return isinstance(document, dict) and bool(document.get("simulated", False))
