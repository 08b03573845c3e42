"""Linear spectral unmixing: the share of each of some surfaces in a pixel, as formulas over bands."""

import numpy as np
from pydantic import Field, field_validator, model_validator

from products.errors import RequestError
from products.feature_step import (
    KNOWN_BANDS,
    LimitedStep,
    NamedStep,
    checked_bands,
    checked_name,
    checked_reducers,
)
from products.formula import Formula, parse_formula

Spectrum = dict[str, float]
ALIKE = 1e8  # condition of the equations beyond which float32 reflectance cannot tell surfaces apart


class MixtureStep(NamedStep, LimitedStep):
    """Shares of surfaces with known spectra in every clear observation, reduced over time.

    Least squares with shares that add up to 1 (Settle and Drake 1993, Int. J. Remote Sens. 14, 1159-1177); a share may be below 0 or above 1 where a pixel is
    not such a mixture.
    """

    endmembers: dict[str, Spectrum] = Field(min_length=2)
    reduce: tuple[str, ...] = Field(min_length=1)

    @field_validator("reduce")
    @classmethod
    def _reducers(cls, reduce: tuple[str, ...]) -> tuple[str, ...]:
        return checked_reducers(reduce)

    @model_validator(mode="after")
    def _solvable(self) -> "MixtureStep":
        bands = self._bands
        for name, spectrum in self.endmembers.items():
            checked_name(name, None)
            if set(spectrum) != set(bands):
                raise RequestError(f"mixture: expected of {name!r} the bands of the first surface: {', '.join(bands)}")
        checked_bands(bands)
        if len(self.endmembers) > len(bands) + 1:
            raise RequestError(
                f"mixture: {len(bands)} bands tell {len(bands) + 1} surfaces apart at most, got {len(self.endmembers)}"
            )
        if np.linalg.cond(self._equations()) > ALIKE:
            raise RequestError("mixture: the spectra cannot be told apart: one of them is a mixture of others")
        return self

    def formulas(self) -> tuple[tuple[str, Formula], ...]:
        """(`mixture_NAME`, program) of each surface."""
        n, spectra = len(self.endmembers), self._spectra()
        inverse = np.linalg.inv(self._equations())
        weights, constants = inverse[:n, :n] @ spectra.T, inverse[:n, n]
        made = []
        for name, row, constant in zip(self.endmembers, weights, constants, strict=True):
            terms = " + ".join(f"({weight:.7g}) * {band}" for weight, band in zip(row, self._bands, strict=True))
            made.append((self.named(f"mixture_{name}"), parse_formula(f"{terms} + ({constant:.7g})", KNOWN_BANDS)))
        return tuple(made)

    def names(self) -> tuple[str, ...]:
        """`mixture_water_p50`, … surface by surface."""
        return tuple(f"{name}_{reducer}" for name, _ in self.formulas() for reducer in self.reduce)

    @property
    def _bands(self) -> tuple[str, ...]:
        return tuple(next(iter(self.endmembers.values())))

    def _spectra(self) -> np.ndarray:
        """float64 (band, surface)."""
        return np.array([[spectrum[band] for spectrum in self.endmembers.values()] for band in self._bands])

    def _equations(self) -> np.ndarray:
        """float64 (surface + 1, surface + 1): the normal equations, bordered by the sum of the shares."""
        spectra, n = self._spectra(), len(self.endmembers)
        matrix = np.ones((n + 1, n + 1))
        matrix[:n, :n], matrix[n, n] = spectra.T @ spectra, 0.0
        return matrix
