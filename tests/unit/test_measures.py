"""The metrics of a run as a whole: on models whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from orthograd.measures import (
    CLOSENESS,
    MEMBERSHIP,
    SUCCESS,
    TPR,
    attacks,
    closeness,
    controls,
    fake_shadows,
    shadow_attack,
)
from orthograd.metrics.attacks.scores import loss
from orthograd.metrics.outputs import Outputs
from orthograd.scores import (
    Scores,
    ShadowScores,
    accuracy,
    finite,
    read_scores,
    read_shadow_scores,
    write_scores,
    write_shadow_scores,
)

CLASSES = 4
SIZES = {"forget": 200, "retain": 600, "validation": 400, "test": 800}


def _logits(rng: np.random.Generator, labels: np.ndarray, margin: float) -> np.ndarray:
    logits = rng.normal(size=(len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += margin
    return logits.astype(np.float32)


def _scores(seed: int, kind: str, forget_margin: float, seen_margin: float = 6.0) -> Scores:
    """A model that is sure of what it was trained on, and of the forget set as much as is said."""
    rng = np.random.default_rng(seed)
    margins = {"forget": forget_margin, "retain": seen_margin, "validation": 1.0, "test": 1.0}
    if kind == "class":
        margins |= {"validation_forgotten": 1.0, "test_forgotten": 1.0}
    scores: Scores = {}
    for name, margin in margins.items():
        size = SIZES.get(name, 200)
        labels = np.arange(size) % (CLASSES - 1 if kind == "class" else CLASSES)
        if kind == "class" and name.endswith(("forget", "forgotten")):
            labels = np.full(size, CLASSES - 1)
        scores[name] = (_logits(rng, labels, margin), labels)
    return scores


@pytest.mark.parametrize("kind", ["random", "class"])
def test_attacks_catch_a_model_that_remembers_and_are_at_chance_without_memory(kind: str) -> None:
    remembers = attacks(_scores(0, kind, forget_margin=6.0), kind, seed=0)
    # At 95% one of six intervals would be off chance in one draw of four.
    forgot = attacks(_scores(1, kind, forget_margin=1.0), kind, seed=0, level=0.999)
    # Too few unseen samples for a true-positive rate.
    assert set(remembers) == set(forgot) == set(MEMBERSHIP) - {TPR}
    for column in SUCCESS.values():
        assert remembers[column].low > 0.75
        assert forgot[column].low < 0.5 < forgot[column].high
    assert remembers["mia_svc_non_member_share"].value < 0.1 < forgot["mia_svc_non_member_share"].value


def test_over_unlearning_shows_in_the_direction() -> None:
    over = attacks(_scores(0, "random", forget_margin=-3.0), "random", seed=0)
    assert over["mia_low_loss_auc"].high < 0.5
    # The regression learns that a high loss gives the forget set away.
    assert over["mia_population_auc"].low > 0.5


def test_the_true_positive_rate_counts_what_is_below_the_lowest_hundredth(monkeypatch) -> None:
    monkeypatch.setitem(SIZES, "test", 1000)
    scores = _scores(0, "random", 3.0)
    found = attacks(scores, "random", seed=0)[TPR]
    forget, test = (loss(Outputs(*scores[name])) for name in ("forget", "test"))
    expected = float((forget < np.sort(test)[10]).mean())
    assert 0 < expected < 1
    assert found.value == expected
    assert found.low < expected < found.high


def test_the_samples_of_an_attack_depend_on_the_seed_alone() -> None:
    scores = _scores(0, "random", 1.0)
    assert attacks(scores, "random", 0) == attacks(scores, "random", 0)
    assert attacks(scores, "random", 0) != attacks(scores, "random", 1)


@pytest.mark.parametrize("kind", ["random", "class"])
def test_controls_tell_which_attacks_may_be_believed(kind: str) -> None:
    retrained = {str(i): _scores(10 + i, kind, forget_margin=1.0) for i in range(2)}
    results = {r.attack: r for r in controls(_scores(0, kind, 6.0), retrained, kind, seed=0, others=0)}
    assert set(results) == set(SUCCESS)
    # The population attack learns the direction, so that the exchanged logits of the fake give it away.
    assert results["population"].passed
    # The low loss of the true class is exchanged with the arg-max.
    assert "misses the planted fake" in results["low_loss"].reason
    # A "retrained" model that remembers is off chance.
    for result in controls(_scores(0, kind, 6.0), {"0": _scores(9, kind, 6.0)}, kind, seed=0, others=0):
        assert "off chance on the retrained model 0" in result.reason


def test_closeness_of_a_model_to_itself_and_to_another() -> None:
    one, other = _scores(0, "random", 1.0), _scores(1, "random", 1.0)
    same = closeness(one, [one])
    assert set(same) == set(CLOSENESS)
    for name in ("forget", "test"):
        assert same[f"agreement_{name}"] == 1
        for metric in ("kl", "js", "activation_distance"):
            assert same[f"{metric}_{name}"] == pytest.approx(0, abs=1e-12)
    both = closeness(one, [one, other])
    assert both["kl_test"] == pytest.approx(closeness(one, [other])["kl_test"] / 2, rel=1e-12)
    with pytest.raises(ValueError, match="set `replicates` to at least 1"):
        closeness(one, [])


def test_a_diverged_model_is_told(tmp_path) -> None:
    scores = _scores(0, "random", 1.0)
    assert finite(scores)
    logits, labels = scores["test"]
    logits = logits.copy()
    logits[0, 0] = np.nan
    assert not finite({**scores, "test": (logits, labels)})
    # The others are judged as they are, the one that is not finite is wrong.
    right = (logits[1:].argmax(axis=1) == labels[1:]).sum()
    assert accuracy(logits, labels) == right / len(labels)


def test_scores_are_read_as_they_were_written_and_give_the_same_bytes(tmp_path) -> None:
    scores = _scores(0, "class", 1.0)
    for name in ("a.npz", "b.npz"):
        write_scores(tmp_path / name, scores)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = read_scores(tmp_path / "a.npz")
    assert list(found) == list(scores)
    for name, (logits, labels) in scores.items():
        np.testing.assert_array_equal(found[name][0], logits)
        np.testing.assert_array_equal(found[name][1], labels)


def _shadow_scores(margin: float, pairs: int = 4, n: int = 60) -> ShadowScores:
    """Models that are surer by a margin of what they unlearned than of what they never saw."""
    rng = np.random.default_rng(0)
    halves = np.stack([rng.permutation(n) < n // 2 for _ in range(pairs)])
    unlearned = np.stack([halves, ~halves], axis=1).reshape(2 * pairs, n)
    labels = np.arange(n) % CLASSES
    logits = np.stack([_logits(rng, labels, 0.0) for _ in unlearned])
    logits[:, np.arange(n), labels] += margin * unlearned
    return ShadowScores(logits, labels, unlearned)


def test_shadow_models_that_remember_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    aucs = {margin: [row["auc"] for row in shadow_attack(_shadow_scores(margin))] for margin in (0.0, 6.0)}
    assert np.mean(aucs[6.0]) > 0.9
    assert np.mean(aucs[0.0]) == pytest.approx(0.5, abs=0.08)  # eight AUCs with a deviation of 0.075 each
    (row, *_) = shadow_attack(_shadow_scores(6.0))
    # A rate of 1% needs a thousand images that were never seen.
    assert (row["members"], row["non_members"], row["tpr"]) == (30, 30, None)
    assert shadow_attack(_shadow_scores(6.0, pairs=12, n=2000))[0]["tpr"] > 0.5
    write_shadow_scores(tmp_path / "scores.npz", _shadow_scores(6.0))
    read = read_shadow_scores(tmp_path / "scores.npz")
    assert [row["auc"] for row in shadow_attack(read)] == aucs[6.0]


def test_the_fake_shadows_change_what_they_should_have_unlearned_and_nothing_else() -> None:
    original = _shadow_scores(6.0)
    fake = fake_shadows(original)
    changed = fake.logits.argmax(axis=2) != original.logits.argmax(axis=2)
    np.testing.assert_array_equal(changed, original.unlearned)
    np.testing.assert_array_equal(np.sort(fake.logits), np.sort(original.logits))
    assert np.mean([row["auc"] for row in shadow_attack(fake)]) > 0.9


def test_shadow_models_of_which_one_diverged_have_no_result() -> None:
    scores = _shadow_scores(6.0)
    scores.logits[3, 2, 1] = np.nan
    assert {(row["members"], row["auc"], row["tpr"]) for row in shadow_attack(scores)} == {(30, None, None)}
