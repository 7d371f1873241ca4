"""Theorems of the projection on plain tensors, for the matrix route and for the Gramian route."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orthograd.engine.projection import GramianSolver, default_noise_floor, default_rtol, project_rows

RTOL = default_rtol(torch.float64)
FLOOR = default_noise_floor(torch.float64)
EPS = torch.finfo(torch.float64).eps


def via_rows(rows, vector):
    return project_rows(rows, vector, RTOL, FLOOR)


def via_gramian(rows, vector):
    solver = GramianSolver(rows @ rows.T, RTOL, FLOOR, EPS)
    return vector - solver.solve(rows @ vector) @ rows, solver.spectrum


def matrix(rank, k, d, seed):
    """A k×d matrix of the given rank."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(k, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, d, generator=generator, dtype=torch.float64)
    return left @ right, torch.randn(d, generator=generator, dtype=torch.float64)


@st.composite
def systems(draw):
    k, d = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    rank = draw(st.integers(1, min(k, d)))
    rows, vector = matrix(rank, k, d, draw(st.integers(0, 2**31)))
    return rank, rows, vector


def unit_condition(rows, rank):
    singular = torch.linalg.svdvals(rows / rows.norm(dim=1, keepdim=True))
    return float(singular[0] / singular[rank - 1])


@pytest.mark.parametrize("project", [via_rows, via_gramian])
@settings(deadline=None)
@given(system=systems())
def test_theorems_of_an_orthogonal_projection(project, system):
    rank, rows, vector = system
    condition = unit_condition(rows, rank)
    if condition > 1e3:
        return
    bound = 1e-10
    residual, spectrum = project(rows, vector)
    assert spectrum.rank == rank
    assert spectrum.condition_number == pytest.approx(condition, rel=1e-6)
    assert spectrum.dropped_directions == len(rows) - rank
    unit = rows / rows.norm(dim=1, keepdim=True)
    assert (unit @ residual).abs().max() <= bound * vector.norm()
    assert residual.norm() <= vector.norm() * (1 + bound)
    again, _ = project(rows, residual)
    assert (again - residual).norm() <= bound * vector.norm()
    # The part that was removed lies in the span: nothing of it survives a projection.
    removed, _ = project(rows, vector - residual)
    assert removed.norm() <= bound * vector.norm()


@pytest.mark.parametrize("project", [via_rows, via_gramian])
@settings(deadline=None)
@given(system=systems(), seed=st.integers(0, 2**31), largest=st.floats(0, 8))
def test_scale_sign_and_order_of_the_rows_do_not_matter(project, system, seed, largest):
    rank, rows, vector = system
    if unit_condition(rows, rank) > 1e3:
        return
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (largest * (2 * torch.rand(len(rows), 1, generator=generator, dtype=torch.float64) - 1))
    sign = torch.randint(0, 2, (len(rows), 1), generator=generator) * 2.0 - 1
    order = torch.randperm(len(rows), generator=generator)
    residual, _ = project(rows, vector)
    other, spectrum = project((rows * scale * sign)[order], vector)
    assert spectrum.rank == rank
    assert (other - residual).norm() <= 1e-10 * vector.norm()


@pytest.mark.parametrize("project", [via_rows, via_gramian])
def test_closed_form_of_one_row(project):
    rows = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    vector = torch.tensor([1.0, 0.0], dtype=torch.float64)
    residual, spectrum = project(rows, vector)
    # v − ⟨v, q⟩ q with q = (3, 4)/5
    assert torch.allclose(residual, torch.tensor([16.0, -12.0], dtype=torch.float64) / 25, atol=1e-15)
    assert (spectrum.rank, spectrum.dropped_rows, spectrum.condition_number) == (1, 0, 1.0)


@pytest.mark.parametrize("project", [via_rows, via_gramian])
def test_duplicates_are_one_direction_and_zero_rows_none(project):
    rows, vector = matrix(3, 3, 10, 0)
    expected, _ = project(rows, vector)
    padded = torch.cat([rows, rows[:1], torch.zeros(2, 10, dtype=torch.float64), -2 * rows[1:2]])
    residual, spectrum = project(padded, vector)
    assert torch.allclose(residual, expected, rtol=0, atol=1e-12)
    assert (spectrum.rank, spectrum.dropped_rows, spectrum.dropped_directions) == (3, 2, 2)


@pytest.mark.parametrize("project", [via_rows, via_gramian])
def test_only_zero_rows_remove_nothing(project):
    rows, vector = torch.zeros(4, 5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    residual, spectrum = project(rows, vector)
    assert torch.equal(residual, vector)
    assert (spectrum.rank, spectrum.dropped_rows, spectrum.condition_number) == (0, 4, 1.0)


@pytest.mark.parametrize("project", [via_rows, via_gramian])
def test_more_rows_than_dimensions_remove_everything(project):
    rows, vector = matrix(4, 9, 4, 1)
    residual, spectrum = project(rows, vector)
    assert spectrum.rank == 4
    assert residual.norm() <= 1e-10 * vector.norm()


@pytest.mark.parametrize("project", [via_rows, via_gramian])
def test_rtol_acts_on_singular_values_of_unit_rows(project):
    # Unit rows at the angle 2θ have the singular values √2·cos θ and √2·sin θ: their ratio is tan θ.
    for factor, rank in ((0.5, 1), (2.0, 2)):
        angle = torch.atan(torch.tensor(factor * RTOL, dtype=torch.float64))
        rows = torch.stack(
            [torch.stack([angle.cos(), angle.sin()]), torch.stack([angle.cos(), -angle.sin()])]
        )
        _, spectrum = project(rows, torch.ones(2, dtype=torch.float64))
        assert spectrum.rank == rank


def test_the_gramian_route_does_not_form_an_inverse():
    """With V Λ⁻¹ Vᵀ as one matrix the error in g_u⊥ is eps·κ²; with the factors one after the other it is not
    where the vector has a small part in the weak directions."""
    rows, _ = matrix(6, 6, 20, 0)
    rows[3:] = rows[:3] + 1e-5 * rows[3:]
    vector = rows[:3].sum(0)
    residual, spectrum = via_gramian(rows, vector)
    assert spectrum.rank == 6
    assert spectrum.condition_number > 1e5
    assert residual.norm() <= 1e-9 * vector.norm()
