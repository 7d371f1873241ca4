"""SCRUB+R against its definition, on the rounds of SCRUB."""

import pytest
import torch
from cases import CASES
from problem import data, flat, original, start
from torch import nn

from orthograd.data.samples import Samples

PARAMS = CASES["scrub_r"].params


def _error(model: nn.Module, samples: Samples) -> float:
    with torch.no_grad():
        return float((model(samples.images).argmax(dim=1) != samples.labels).double().mean())


def _relabelled(samples: Samples, wrong: int) -> Samples:
    """Labels such that the last round's model is wrong on the first `wrong` images only."""
    model = original()
    list(start("scrub", model, data(), PARAMS))
    with torch.no_grad():
        labels = model(samples.images).argmax(dim=1)
    labels[:wrong] = (labels[:wrong] + 1) % 3
    return Samples(samples.images, labels)


@pytest.mark.parametrize("wrong", [0, 3, 8, 12])
def test_it_restores_the_last_of_the_rounds_whose_forget_error_is_nearest(wrong: int) -> None:
    sets = data()
    sets["heldout"] = _relabelled(sets["heldout"], wrong)
    model = original()
    errors, rounds = [], []
    for step in start("scrub", model, sets, PARAMS):
        if step.complete:
            errors.append(_error(model, sets["forget"]))
            rounds.append(flat(model))
    assert len(set(errors)) > 2, "the rounds have to differ for the choice to matter"
    assert _error(model, sets["heldout"]) == pytest.approx(wrong / 12)
    gaps = [abs(error - wrong / 12) for error in errors]
    expected = max(index for index, gap in enumerate(gaps) if gap == min(gaps))

    model = original()
    steps = list(start("scrub_r", model, sets, PARAMS))
    torch.testing.assert_close(flat(model), rounds[expected], rtol=0, atol=0)
    assert steps[-1].values["rewound_to"] == expected + 1
    assert [step.complete for step in steps] == [False] * (len(steps) - 1) + [True]


def test_the_choices_of_the_test_above_are_not_all_one() -> None:
    chosen = set()
    for wrong in (0, 3, 8, 12):
        sets = data()
        sets["heldout"] = _relabelled(sets["heldout"], wrong)
        *_, last = start("scrub_r", original(), sets, PARAMS)
        chosen.add(last.values["rewound_to"])
    assert len(chosen) > 1
