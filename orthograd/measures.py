"""All metrics of one run that need more than accuracies: closeness to retrained models, membership inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orthograd.metrics.agreement import agreement
from orthograd.metrics.attacks.estimates import LEVEL, Estimate, tpr_at_fpr
from orthograd.metrics.attacks.population import population_attack
from orthograd.metrics.attacks.sampling import halves
from orthograd.metrics.attacks.scores import loss, phi
from orthograd.metrics.attacks.svc import svc_attack
from orthograd.metrics.attacks.threshold import Score, threshold_attack
from orthograd.metrics.attacks.ulira import u_lira_in_pairs
from orthograd.metrics.controls import ControlResult, control, planted_fake, retrained_level
from orthograd.metrics.distance import activation_distance
from orthograd.metrics.divergence import js_divergence, kl_divergence
from orthograd.metrics.outputs import Outputs
from orthograd.metrics.per_class import per_class_accuracy
from orthograd.randomness import stream
from orthograd.scores import Scores, ShadowScores, finite

ScenarioKind = Literal["random", "class"]

# Sets on which two models are compared sample by sample.
COMPARED = ("forget", "test")
THRESHOLDS: tuple[Score, ...] = ("confidence", "entropy", "modified_entropy")

# The success of an attack, of which 0.5 is chance: an AUC, or an accuracy on balanced sides.
SUCCESS = {
    "population": "mia_population_auc",
    "confidence": "mia_confidence_accuracy",
    "entropy": "mia_entropy_accuracy",
    "modified_entropy": "mia_modified_entropy_accuracy",
    "svc": "mia_svc_auc",
    "low_loss": "mia_low_loss_auc",
}
# The false-positive rate at which true-positive rates are shown, and the column with that of the low-loss attack.
FPR = 0.01
TPR = "mia_tpr_at_1_fpr"
CLOSENESS = tuple(
    f"{metric}_{name}" for name in COMPARED for metric in ("kl", "js", "agreement", "activation_distance")
)
# Before the name of a class, in the columns with its test accuracy.
PER_CLASS = "accuracy_test_class_"
MEMBERSHIP = (*SUCCESS.values(), TPR, "mia_svc_non_member_share")


def per_class(scores: Scores, classes: Sequence[str]) -> dict[str, float]:
    """Test accuracy class by class, by column; none of a model that diverged.

    Args:
        scores: of the model.
        classes: their names, in the order of the labels.
    """
    if not finite(scores):
        return {}
    found = per_class_accuracy(Outputs(*scores["test"]))
    return {f"{PER_CLASS}{classes[label]}": value for label, value in found.items()}


def closeness(scores: Scores, references: Sequence[Scores]) -> dict[str, float]:
    """How alike the outputs of a model and of retrained models are: `CLOSENESS`, the mean over the references.

    KL and JS in nats, retrained model first; agreement of the predictions and distance of the softmax outputs as in
    `orthograd.metrics`.

    Raises:
        ValueError: no reference, or logits that are not finite.
    """
    if not references:
        raise ValueError("no retrained model to compare outputs with: set `replicates` to at least 1")
    result: dict[str, float] = {}
    for name in COMPARED:
        ours = Outputs(*scores[name])
        theirs = [Outputs(*reference[name]) for reference in references]
        measured = {
            "kl": [kl_divergence(other.log_probabilities, ours.log_probabilities) for other in theirs],
            "js": [js_divergence(other.log_probabilities, ours.log_probabilities) for other in theirs],
            "agreement": [agreement(ours.logits, other.logits) for other in theirs],
            "activation_distance": [activation_distance(ours.logits, other.logits) for other in theirs],
        }
        result |= {f"{metric}_{name}": float(np.mean(values)) for metric, values in measured.items()}
    return result


@dataclass(frozen=True)
class _Sides:
    """Who is a member, who was never seen, and what the attacks with a threshold are fitted on."""

    forget: Outputs
    unseen: Outputs
    fit_members: Outputs
    fit_unseen: Outputs
    judged_forget: Outputs
    judged_unseen: Outputs


def _sides(scores: Scores, kind: ScenarioKind, generator: np.random.Generator) -> _Sides:
    outputs = {name: Outputs(*values) for name, values in scores.items()}
    forget = outputs["forget"]
    if kind == "random":
        # The validation set is on the attacker's side only: the judged unseen samples are test images.
        return _Sides(
            forget,
            outputs["test"],
            outputs["retain"],
            outputs["validation"],
            forget,
            outputs["test"],
        )
    # Unseen samples of the same class. The retain set has none of it, so thresholds are fitted on halves.
    unseen = outputs["test_forgotten"]
    fit, judged = halves(forget.labels, generator)
    fit_unseen, judged_unseen = halves(unseen.labels, generator)
    return _Sides(
        forget,
        unseen,
        forget.take(fit),
        unseen.take(fit_unseen),
        forget.take(judged),
        unseen.take(judged_unseen),
    )


def attacks(scores: Scores, kind: ScenarioKind, seed: int, level: float = LEVEL) -> dict[str, Estimate]:
    """Every attack on one model, by the names in `MEMBERSHIP`, with intervals over the samples.

    `TPR` is left out where there are too few unseen samples for it (`tpr_at_fpr`).

    Random scenario: members are the forget set, unseen are test images; attacks that need fitting are fitted on retain
    against validation images. Class scenario: unseen are test images of the forgotten class; thresholds are fitted on
    one half of both sides and judged on the other; the SVC is fitted on retain against validation images of the other
    classes. The same seed draws the same samples for every model, so that models are compared on equal samples.

    Args:
        scores: of the model.
        kind: of the scenario.
        seed: of the split.
        level: of the intervals.
    """
    results: dict[str, Estimate] = {}

    def draws(attack: str) -> np.random.Generator:
        return np.random.default_rng(stream(seed, "attack", attack))

    sides = _sides(scores, kind, draws("halves"))
    population = population_attack(loss(sides.forget), loss(sides.unseen), draws("population"), level)
    results[SUCCESS["population"]] = population.auc
    results[SUCCESS["low_loss"]] = population.low_loss_auc
    tpr = tpr_at_fpr(-loss(sides.forget), -loss(sides.unseen), FPR, level)
    if tpr is not None:
        results[TPR] = tpr
    for score in THRESHOLDS:
        results[SUCCESS[score]] = threshold_attack(
            score,
            sides.fit_members,
            sides.fit_unseen,
            sides.judged_forget,
            sides.judged_unseen,
            draws(score),
            level,
        ).accuracy
    svc = svc_attack(
        Outputs(*scores["retain"]),
        Outputs(*scores["validation"]),
        sides.forget,
        sides.unseen,
        draws("svc"),
        level,
    )
    results[SUCCESS["svc"]] = svc.auc
    results["mia_svc_non_member_share"] = svc.non_member_share
    return results


def controls(
    original: Scores, retrained: Mapping[str, Scores], kind: ScenarioKind, seed: int, others: int
) -> list[ControlResult]:
    """Judge every attack on models whose truth is known, see `orthograd.metrics.controls`.

    Args:
        original: of the model that was trained on the forget set.
        retrained: of the models that never saw it, by name.
        kind: of the scenario.
        seed: of the split.
        others: retrained models of the other splits.
    """
    logits, labels = original["forget"]
    fake: Scores = {**original, "forget": (planted_fake(logits).astype(np.float32), labels)}
    on_original, on_fake = attacks(original, kind, seed), attacks(fake, kind, seed)
    level = retrained_level(len(retrained) + others if retrained else 0)
    on_retrained = {name: attacks(scores, kind, seed, level) for name, scores in retrained.items()}
    return [
        control(
            attack,
            on_original[column],
            on_fake[column],
            {name: found[column] for name, found in on_retrained.items()},
            others,
        )
        for attack, column in SUCCESS.items()
    ]


def fake_shadows(original: ShadowScores) -> ShadowScores:
    """The planted fake of shadow models that unlearned nothing: `planted_fake` on what they should have unlearned."""
    logits = original.logits.copy()
    for own, unlearned in zip(logits, original.unlearned, strict=True):
        own[unlearned] = planted_fake(own[unlearned])
    return ShadowScores(logits, original.labels, original.unlearned)


def shadow_attack(scores: ShadowScores) -> list[dict[str, int | float | None]]:
    """U-LiRA on every shadow model in turn, see `u_lira_in_pairs`: AUC and TPR at `FPR`, one row a model.

    None where they are not defined: the TPR with too few unseen images, both where a model's outputs are not finite.
    """
    unlearned = scores.unlearned
    counts = [{"members": int(own.sum()), "non_members": int((~own).sum())} for own in unlearned]
    if not np.isfinite(scores.logits).all():
        return [{**count, "auc": None, "tpr": None} for count in counts]
    own = np.stack([phi(Outputs(logits, scores.labels)) for logits in scores.logits])
    return [
        {
            **count,
            "auc": result.auc.value,
            "tpr": None if (tpr := result.tpr[FPR]) is None else tpr.value,
        }
        for count, result in zip(counts, u_lira_in_pairs(own, unlearned), strict=True)
    ]
