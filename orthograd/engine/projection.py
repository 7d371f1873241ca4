"""Pure linear algebra of the projection: from a matrix of gradients, or from its Gramian.

Both routes share one rule for the rank, so that they answer the same question. Rows whose norm is at or below
`noise_floor` are dropped first, because their direction is rounding noise. The others are scaled to unit
length, which makes the answer independent of the scale of each sample's loss. Of the unit rows, directions
whose singular value is below `rtol` times the largest one are dropped. The solve is done in float64 whatever
the input is.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """How many directions were kept, and how well they are conditioned.

    Attributes:
        rank: Kept directions.
        dropped_rows: Rows at or below the noise floor.
        dropped_directions: Directions of the remaining rows under the cut-off.
        condition_number: Largest over smallest kept singular value of the unit-length rows; 1 if none is
            kept.
    """

    rank: int
    dropped_rows: int
    dropped_directions: int
    condition_number: float


def default_rtol(dtype: torch.dtype) -> float:
    """Cut-off on singular values for gradients of `dtype`: 8·√eps (2.8e-3 in float32, 1.2e-7 in float64).

    A Gramian whose entries carry a relative error of eps has eigenvalues that are noise below about eps of
    the largest; 64·eps keeps clear of that, and eigenvalues are squares of singular values.
    """
    return 8 * math.sqrt(torch.finfo(dtype).eps)


def default_noise_floor(dtype: torch.dtype) -> float:
    """Gradient norm at and below which a row is noise: 32·eps (3.8e-6 in float32, 7.1e-15 in float64).

    An absolute figure, made for losses in nats: the gradient of a cross-entropy with respect to the logits, p
    − y, carries an absolute error of about eps, which the Jacobian of the network then multiplies. It scales
    with the
    loss: who multiplies the losses by s should multiply the floor by s.
    """
    return 32 * float(torch.finfo(dtype).eps)


def project_rows(rows: Tensor, vector: Tensor, rtol: float, noise_floor: float) -> tuple[Tensor, Spectrum]:
    """Project a vector off the span of the rows of a matrix, through an SVD: the oracle.

    Args:
        rows: (k, d), any floating dtype.
        vector: (d,).
        rtol: Relative cut-off on the singular values of the unit-length rows.
        noise_floor: Rows with a norm at or below it are left out.

    Returns:
        The residual g_u⊥ (d,) in float64, and the spectrum.
    """
    rows, residual = rows.double(), vector.double()
    norms = torch.linalg.vector_norm(rows, dim=1)
    kept = norms > noise_floor
    unit = rows[kept] / norms[kept, None]
    count = int(kept.sum())
    if count == 0:
        return residual.clone(), Spectrum(0, len(rows), 0, 1.0)
    _, singular, right = torch.linalg.svd(unit, full_matrices=False)
    rank = int((singular > rtol * singular[0]).sum())
    basis = right[:rank]
    # Twice is enough (Kahan and Parlett): the first pass leaves a residual of eps·‖v‖ along the basis, which
    # is not small beside ‖g_u⊥‖ when nearly all of the vector is removed.
    for _ in range(2):
        residual = residual - basis.T @ (basis @ residual)
    condition = float(singular[0] / singular[rank - 1])
    return residual, Spectrum(rank, len(rows) - count, count - rank, condition)


class GramianSolver:
    """Solves K c = r for the coefficients of the projection, g_u⊥ = g_u − Σ_i c_i g_r^i.

    The unit-length system D⁻¹ K D⁻¹ (D c) = D⁻¹ r with D = diag(‖g_r^i‖) is decomposed once in float64 and
    can be solved for several right-hand sides (refinement).

    Args:
        gramian: (k, k), symmetric positive semi-definite up to rounding, float64.
        rtol: Relative cut-off on singular values of the unit rows; eigenvalues below rtol² of the largest go.
            At least √(min(k, 64)·eps), below which the eigenvalues of a Gramian are noise.
        noise_floor: Rows with √K_ii at or below it get the coefficient 0.
        eps: Machine epsilon of the rows from which the Gramian was formed.

    Attributes:
        norms: (k,) ‖g_r^i‖.
        kept: (k,) bool, rows above the noise floor.
        spectrum: Rank, dropped counts, condition number.
    """

    def __init__(self, gramian: Tensor, rtol: float, noise_floor: float, eps: float) -> None:
        self.norms = gramian.diagonal().clamp(min=0).sqrt()
        self.kept = self.norms > noise_floor
        self._norms = self.norms[self.kept]
        count = len(self._norms)
        if count == 0:
            self._values, self._vectors = gramian.new_zeros(0), gramian.new_zeros(0, 0)
            self.spectrum = Spectrum(0, len(gramian), 0, 1.0)
            return
        unit = gramian[self.kept][:, self.kept] / self._norms[:, None] / self._norms[None, :]
        values, vectors = torch.linalg.eigh((unit + unit.T) / 2)
        # 64: the floor never lies above `default_rtol`, so that with it both routes keep the same directions.
        large = values > max(rtol**2, min(count, 64) * eps) * values[-1]
        self._values, self._vectors = values[large], vectors[:, large]
        values = self._values
        rank = len(values)
        condition = float((values[-1] / values[0]).sqrt())
        self.spectrum = Spectrum(rank, len(gramian) - count, count - rank, condition)

    def solve(self, products: Tensor) -> Tensor:
        """Coefficients c (k,) in float64 for the products ⟨g_r^i, v⟩ (k,) of the rows with a vector v."""
        coefficients = torch.zeros_like(products)
        # Never as one matrix: the error of V Λ⁻¹ Vᵀ is relative to the smallest eigenvalue in all directions.
        scaled = (self._vectors.T @ (products[self.kept] / self._norms)) / self._values
        coefficients[self.kept] = self._vectors @ scaled / self._norms
        return coefficients
