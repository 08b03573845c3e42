"""What a panel shows of a metric: as a query to Prometheus, and taken from the readings of this moment."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flows.steps.service.service_metrics import Reading

Join = Literal["sum", "min", "max"]
JOINED: Mapping[Join, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max}
Values = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Figures:
    """A metric by some of its labels, the values of the others joined; `name` is its legend as Grafana words it, those labels where it has none.

    `where` keeps some values of a label. 0 stands where the metric `or_zero` has such labels and this one has not. Of instants `is_age` makes ages.
    """

    metric: str
    by: tuple[str, ...]
    join: Join = "sum"
    name: str = ""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    or_zero: str = ""
    is_age: bool = False
    whole: "Figures | None" = None

    def as_age(self) -> "Figures":
        """Seconds since the instants of the metric."""
        return replace(self, is_age=True)

    def share_of(self, whole: "Figures") -> "Figures":
        """These figures over `whole`, of the same labels, where that is above 0."""
        return replace(self, whole=whole)

    @property
    def legend(self) -> str:
        """The name of a value, its labels in two braces."""
        return self.name or " ".join(f"{{{{{label}}}}}" for label in self.by)

    def named(self, place: tuple[str, ...]) -> str:
        """The legend of one value, by its labels."""
        labels = dict(zip(self.by, place, strict=True))
        return re.sub(r"\{\{(\w+)\}\}", lambda found: labels[found[1]], self.legend).strip()

    @property
    def query(self) -> str:
        """The PromQL expression that gives these values to Prometheus."""
        chosen = ", ".join(f'{label}=~"{"|".join(values)}"' for label, values in self.where.items())
        labels = f"by ({', '.join(self.by)})"
        asked = f"{self.join} {labels} ({self.metric}{f'{{{chosen}}}' if chosen else ''})"
        asked = f"time() - {asked}" if self.is_age else asked
        asked = f"({asked} or 0 * sum {labels} ({self.or_zero}))" if self.or_zero else asked
        return f"{asked} / ({self.whole.query} > 0)" if self.whole else asked

    def values(self, readings: Iterable[Reading], now: float) -> Values:
        """Values by those of the labels `by`, at `now`, in seconds since 1970."""
        every, groups = list(readings), dict[tuple[str, ...], list[float]]()
        for reading in every:
            if reading.metric == self.metric and all(reading.labels[name] in kept for name, kept in self.where.items()):
                groups.setdefault(self._place(reading), []).append(reading.value)
        found: Values = {place: float(JOINED[self.join](values)) for place, values in groups.items()}
        if self.is_age:
            found = {place: now - instant for place, instant in found.items()}
        if self.or_zero:
            found = {self._place(reading): 0.0 for reading in every if reading.metric == self.or_zero} | found
        if self.whole:
            wholes = self.whole.values(every, now)
            found = {place: part / wholes[place] for place, part in found.items() if wholes.get(place, 0) > 0}
        return dict(sorted(found.items()))

    def _place(self, reading: Reading) -> tuple[str, ...]:
        return tuple(reading.labels.get(name, "") for name in self.by)
