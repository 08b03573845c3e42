"""Which rendition of an acquisition is chosen: the highest by the keys that archives.yaml names, in their order."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from datacube_config.archives import archive_table
from flows.steps.scenes.datastrip import same_slice

TIERS = ("RT", "T2", "T1")
FIELDS = {"landsat-c2-l2": ("collection", "tier", "processed"), "sentinel-2-l2a": ("baseline", "generated")}

Rank = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rendition of an acquisition and the archive that gave it; `slice` tells two stations' parts of a pass apart."""

    id: UUID
    rendition: str
    archive: str
    slice: str = ""

    @property
    def rank(self) -> Rank:
        """Orders the candidates of one acquisition, the chosen one last."""
        return rendition_rank(self.rendition, self.archive)


def rendition_rank(rendition: str, archive: str = "") -> Rank:
    """Orders renditions of one acquisition, the chosen one last; the whole rendition settles what the policy leaves."""
    return (*(_value(key, rendition, archive) for key in _keys(rendition)), rendition)


def rendition_difference(chosen: str, other: str, chosen_archive: str = "", other_archive: str = "") -> str:
    """What puts `chosen` above `other`: `baseline 05.00 > 02.14`, `tier T1 > RT`, `provider usgs > cdse`."""
    for key in _keys(chosen):
        if _value(key, chosen, chosen_archive) != _value(key, other, other_archive):
            return f"{key} {_text(key, chosen, chosen_archive)} > {_text(key, other, other_archive)}"
    return f"rendition {chosen} > {other}"


def superseded(candidates: Iterable[Candidate]) -> dict[UUID, Candidate]:
    """What takes the place of each candidate of one acquisition that is not the highest of its slice."""
    kept: list[Candidate] = []
    lost: dict[UUID, Candidate] = {}
    for each in sorted(candidates, key=lambda candidate: candidate.rank, reverse=True):
        better = next((one for one in kept if same_slice(one.slice, each.slice)), None)
        if better is None:
            kept.append(each)
        else:
            lost[each.id] = better
    return lost


def _keys(rendition: str) -> tuple[str, ...]:
    return archive_table().renditions[_collection(rendition)]


def _collection(rendition: str) -> str:
    """The collection whose renditions have this form: `02/T1/20200824` or `05.00/20230612T214223`."""
    n_fields = rendition.count("/") + 1
    return next(name for name, fields in FIELDS.items() if len(fields) == n_fields)


def _text(key: str, rendition: str, archive: str) -> str:
    if key == "provider":
        return archive
    return rendition.split("/")[FIELDS[_collection(rendition)].index(key)]


def _value(key: str, rendition: str, archive: str) -> int | str:
    """What is compared: the higher is chosen. An archive that the order does not name comes after all that it does."""
    text = _text(key, rendition, archive)
    if key == "provider":
        order = archive_table().order
        return -order.index(text) if text in order else -len(order)
    return TIERS.index(text) if key == "tier" else text
