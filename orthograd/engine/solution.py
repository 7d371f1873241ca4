"""What every solver hands back to `OrthoGrad`, and the settings that every solver reads."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import Parameter

from orthograd.engine.projection import Spectrum


@dataclass(frozen=True)
class Settings:
    """Settings of the projection, checked by `OrthoGrad`.

    Attributes:
        alpha: Weight of the retain term, in [0, 1].
        scope: ``"global"`` or ``"tensor"``.
        retain: ``"per_sample"`` or ``"mean"``.
        rtol: Relative cut-off on singular values of the unit-length rows.
        noise_floor: Gradient norm at and below which a row is dropped.
        full_diagnostics: Whether the dear figures are wanted too.
    """

    alpha: float
    scope: str
    retain: str
    rtol: float
    noise_floor: float
    full_diagnostics: bool


@dataclass(frozen=True)
class Solution:
    """The direction to descend, one tensor for each trainable parameter, and the figures of the step.

    The attributes are explained in `orthograd.engine.Diagnostics`.
    """

    solver: str
    direction: list[Tensor]
    spectrum: Spectrum | None
    forget_norm: float
    projected_norm: float
    retain_mean_norm: float
    removed_norm: float
    removed_per_layer: dict[str, float] | None
    max_cosine: float | None
    max_cosine_measured: bool
    engine_bytes: int
    backward_samples: int
    forward_samples: int = 0
    fallbacks: tuple[str, ...] = ()
    refinements: int = 0


Parameters = dict[str, Parameter]


def merge_spectra(spectra: list[Spectrum]) -> Spectrum:
    """Sum of the counts and the largest condition number, for a projection tensor by tensor."""
    return Spectrum(
        sum(spectrum.rank for spectrum in spectra),
        sum(spectrum.dropped_rows for spectrum in spectra),
        sum(spectrum.dropped_directions for spectrum in spectra),
        max(spectrum.condition_number for spectrum in spectra),
    )
