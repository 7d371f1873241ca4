"""What one projection step did, in numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Diagnostics:
    """Figures of one call of ``OrthoGrad.backward`` or ``OrthoGrad.backward_from``.

    ``solver="cg"`` decomposes nothing: `rank`, `dropped_rows`, `dropped_directions`, `condition_number` and
    `max_cosine` are None there, unless ``retain="mean"`` leaves it a single row. With ``scope="tensor"`` the
    counts (`rank`, `dropped_rows`, `dropped_directions`) are sums over the tensors and `condition_number` is
    the largest of them; all other figures belong to the whole gradient.

    Attributes:
        solver: Solver that ran (the automatic choice shows here).
        scope: ``"global"`` or ``"tensor"``.
        retain: ``"per_sample"`` or ``"mean"``.
        forget_samples: m, the number of forget losses.
        retain_samples: k, the number of retain losses.
        rank: Number of directions that were projected out.
        dropped_rows: Retain gradients whose norm was at or below the noise floor.
        dropped_directions: Directions of the other rows under the relative cut-off ``rtol``.
        condition_number: Largest over smallest kept singular value of the unit-length rows (1 if none is
            kept).
        forget_norm: ‖g_u‖.
        projected_norm: ‖g_u⊥‖.
        retain_mean_norm: ‖mean_i g_r^i‖.
        direction_norm: ‖g‖ of the direction that this call added to ``p.grad``.
        removed_fraction: ‖g_u − g_u⊥‖ / ‖g_u‖, between 0 and 1 (0 if g_u is zero).
        removed_per_layer: The same ratio for every trainable tensor by its name; with full diagnostics, and
            always with the Gramian in scope "tensor".
        max_cosine: Largest |cos(g_u⊥, g_r^i)| over the rows above the noise floor; with ``retain="mean"`` the
            cosine with the mean retain gradient, which says nothing of single samples.
        max_cosine_measured: True where `max_cosine` was measured on gradients; False where it is the residual
            of the k×k system, blind to rounding errors in the Gramian itself.
        fallbacks: Names of the parameters that no layer formula covered.
        refinements: Number of refinement steps of the k×k system, or of iterations of ``solver="cg"``.
        forward_samples: Samples sent forward by this call (0 where the caller went forward and no module ran
            again). All modules that run again for a fallback count as one pass of the samples.
        backward_samples: Samples sent backward by this call, each pass counted, in the same way; k² for the
            parameters whose rows take one backward pass for each loss. `OrthoGrad.backward` with solver
            "materialize" counts each loss once (m + k), although each pass goes through the graph of its batch.
        seconds: Wall-clock seconds of this call.
        engine_bytes: Largest number of bytes that the engine held for rows, tiles, Gramian and gradient
            copies, computed from shapes; the autograd graph is not in it.
        peak_bytes: Peak of the CUDA allocator during this call; None on other devices and without full
            diagnostics.
    """

    solver: str
    scope: str
    retain: str
    forget_samples: int
    retain_samples: int
    rank: int | None
    dropped_rows: int | None
    dropped_directions: int | None
    condition_number: float | None
    forget_norm: float
    projected_norm: float
    retain_mean_norm: float
    direction_norm: float
    removed_fraction: float
    removed_per_layer: Mapping[str, float] | None
    max_cosine: float | None
    max_cosine_measured: bool
    fallbacks: tuple[str, ...]
    refinements: int
    forward_samples: int
    backward_samples: int
    seconds: float
    engine_bytes: int
    peak_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, ready for ``json.dumps``."""
        return {**asdict(self), "fallbacks": list(self.fallbacks)}
