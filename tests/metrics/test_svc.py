"""The SVC attack against the dual problem solved by another optimizer, and at known truths."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from orthograd.metrics.attacks.svc import decisions, svc_attack
from orthograd.metrics.outputs import Outputs


def _outputs(p: np.ndarray) -> Outputs:
    """Two classes, the true one of which has confidence p."""
    return Outputs(np.log(np.stack([1 - p, p], axis=1)), np.ones(len(p), dtype=int))


def _decision(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Of the SVC with C = 3 and kernel exp(−(x − x')²): the dual, maximised under its constraints by SLSQP."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-((a[:, None] - b[None]) ** 2))

    q = y[:, None] * y * kernel(x, x)
    alpha = minimize(
        lambda a: 0.5 * a @ q @ a - a.sum(),
        np.full(len(x), 0.1),
        jac=lambda a: q @ a - 1,
        method="SLSQP",
        bounds=[(0, 3)] * len(x),
        constraints={"type": "eq", "fun": lambda a: a @ y, "jac": lambda a: y},
        options={"ftol": 1e-14, "maxiter": 2000},
    ).x
    free = (alpha > 1e-4) & (alpha < 3 - 1e-4)
    bias = (y - kernel(x, x) @ (alpha * y))[free].mean()
    return kernel(at, x) @ (alpha * y) + bias


def test_against_the_dual_problem() -> None:
    generator = np.random.default_rng(0)
    retain, fit_unseen = generator.beta(6, 2, 15), generator.beta(3, 3, 15)
    forget, unseen = generator.beta(4, 2, 200), generator.beta(3, 3, 100)
    result = svc_attack(*map(_outputs, (retain, fit_unseen, forget, unseen)), np.random.default_rng(0))
    x, y = np.concatenate([retain, fit_unseen]), np.repeat([1.0, -1.0], 15)
    of_forget, of_unseen = _decision(x, y, forget), _decision(x, y, unseen)
    # The two solvers stop within 1e-3 of the solution: the samples that close to the border may differ.
    near = (np.abs(of_forget) < 5e-3).sum()
    assert near < 5
    assert abs(result.non_member_share.value * 200 - (of_forget <= 0).sum()) <= near
    assert result.auc.value == pytest.approx((of_forget[:, None] > of_unseen).mean(), abs=2e-3)
    assert (result.fitted, result.members, result.non_members) == (15, 200, 100)


@pytest.mark.parametrize(("confidence", "share"), [(0.95, 0.0), (0.05, 1.0)])
def test_of_what_is_far_apart_every_sample_is_told(confidence: float, share: float) -> None:
    noise = np.random.default_rng(0).uniform(-0.04, 0.04, (4, 20))
    sides = [_outputs(c + e) for c, e in zip((0.95, 0.05, confidence, 0.05), noise, strict=True)]
    result = svc_attack(*sides, np.random.default_rng(0))
    assert result.non_member_share.value == share


def test_forgotten_like_unseen_is_chance() -> None:
    generator = np.random.default_rng(0)
    sides = [generator.beta(a, 2, 300) for a in (20, 2, 2, 2)]
    result = svc_attack(*map(_outputs, sides), np.random.default_rng(0))
    assert result.auc.low <= 0.5 <= result.auc.high
    # Most of what was never seen is called so: the ideal share is that of retrained models, not one half.
    assert result.non_member_share.low > 0.5


def test_the_fit_is_balanced() -> None:
    generator = np.random.default_rng(0)
    sides = [_outputs(generator.random(n)) for n in (100, 12, 30, 30)]
    assert svc_attack(*sides, np.random.default_rng(0)).fitted == 12


def test_decisions_are_those_of_the_library_also_where_confidence_is_nearly_one() -> None:
    generator = np.random.default_rng(2)
    inside, outside = 1 - 10.0 ** generator.uniform(-14, -1, 300), generator.beta(8, 1, 300)
    machine = SVC(kernel="rbf", gamma=1.0, C=3)
    machine.fit(np.concatenate([inside, outside])[:, None], np.repeat([1, 0], 300))
    at = np.concatenate([1 - 10.0 ** generator.uniform(-14, -1, 500), generator.beta(8, 1, 500)])
    ours, theirs = decisions(machine, at), machine.decision_function(at[:, None])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)
    assert len(set(decisions(machine, np.ones(1001)))) == 1
    labels = np.repeat([1, 0], 500)
    assert roc_auc_score(labels, ours) == pytest.approx(roc_auc_score(labels, theirs), abs=1e-4)
