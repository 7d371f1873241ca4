"""Balanced subsets and halves: sizes, disjointness, reproducibility, chance of each sample."""

import numpy as np
import pytest

from orthograd.metrics.attacks.sampling import balanced, halves


@pytest.mark.parametrize(("m", "n"), [(5, 12), (12, 5), (4, 4), (1, 1)])
def test_balanced(m: int, n: int) -> None:
    members, non_members = balanced(m, n, np.random.default_rng(0))
    for rows, size in ((members, m), (non_members, n)):
        assert len(rows) == min(m, n)
        assert (np.diff(rows) > 0).all()
        assert set(rows) <= set(range(size))


def test_balanced_draws_every_sample_alike() -> None:
    generator = np.random.default_rng(0)
    counts = sum(np.bincount(balanced(3, 6, generator)[1], minlength=6) for _ in range(2000))
    assert isinstance(counts, np.ndarray)
    # Half of 2000 draws each; five standard deviations are 112.
    assert np.abs(counts - 1000).max() < 112


def test_the_generator_decides() -> None:
    first, again, other = (balanced(5, 100, np.random.default_rng(seed))[1] for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(("m", "n"), [(0, 3), (3, 0)])
def test_balanced_needs_both_sides(m: int, n: int) -> None:
    with pytest.raises(ValueError, match="samples of both"):
        balanced(m, n, np.random.default_rng(0))


def test_halves_split_every_class() -> None:
    labels = np.repeat([0, 3, 7], [2, 5, 8])
    first, second = halves(labels, np.random.default_rng(0))
    assert sorted([*first, *second]) == list(range(15))
    assert np.bincount(labels[first]).tolist() == [1, 0, 0, 2, 0, 0, 0, 4]
    assert np.bincount(labels[second]).tolist() == [1, 0, 0, 3, 0, 0, 0, 4]


def test_halves_errors() -> None:
    with pytest.raises(ValueError, match="class 1 has one sample"):
        halves(np.array([0, 0, 1]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="no samples"):
        halves(np.empty(0, dtype=int), np.random.default_rng(0))
