"""The distance to retraining: how far a model's accuracies are from those of models that never saw the forget set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# The sets over which the mean gap is taken; `average_gap` also has an attack's success in it.
GAP_SETS = ("forget", "retain", "test")


def signed_differences(
    accuracy: Mapping[str, float], references: Sequence[Mapping[str, float]], names: Sequence[str]
) -> dict[str, float]:
    """Accuracy less the mean accuracy of the retrained references, for each named set; both signs matter.

    A negative difference on the forget set is over-unlearning: the model does worse than one that never saw it.

    Args:
        accuracy: of the judged model, by set, fractions.
        references: of the models retrained from scratch for the same split. A retrained model is judged against
            the others, never against itself: the result is then the noise floor.
        names: the sets.

    Raises:
        ValueError: there is no reference.
    """
    if not references:
        raise ValueError(
            "no retrained reference to compare with: set `replicates` to at least 1 (2 for a noise floor)"
        )
    return {
        name: accuracy[name] - sum(reference[name] for reference in references) / len(references)
        for name in names
    }


def mean_gap(differences: Mapping[str, float]) -> float:
    """The mean absolute difference over `GAP_SETS`, a fraction in [0, 1]; 0 is a model like a retrained one."""
    return sum(abs(differences[name]) for name in GAP_SETS) / len(GAP_SETS)


def average_gap(differences: Mapping[str, float]) -> float:
    """The average gap of the literature: mean |X − X of retraining| over UA, RA, TA and MIA, in [0, 1]; 0 is ideal.

    UA is 1 − forget accuracy, whose distance to retraining is that of the forget accuracy; RA and TA are the
    accuracies on retain and test.

    Args:
        differences: by `signed_differences` over `GAP_SETS` and "mia", the share of the forget set that an attack
            fitted on retain against unseen samples calls non-member (`attacks.svc`).
    """
    names = (*GAP_SETS, "mia")
    return sum(abs(differences[name]) for name in names) / len(names)
