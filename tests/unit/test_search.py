"""The search: where trials lie, what judges them, which one is taken."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from orthograd.search import Choices, Range, Space, corners, score, trials
from orthograd.steps import tuned

SPACE = TypeAdapter(Space).validate_python(
    {
        "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
        "alpha": {"low": 0.0, "high": 1.0, "log": False},
        "passes": {"low": 1, "high": 4, "log": False},
        "momentum": {"choices": [0.0, 0.9]},
        "weight_decay": 5e-4,
        "nothing": None,
    }
)


def test_sixteen_trials_fill_every_quarter_of_every_dimension_evenly() -> None:
    found = pd.DataFrame(trials(SPACE, 16, 0, "ft"))
    assert len(found) == 16
    # A Sobol sequence of 16 points has exactly 4 in each quarter.
    decades = found["learning_rate"].map(lambda value: math.floor(math.log10(value)))
    assert decades.value_counts().to_dict() == {-4: 4, -3: 4, -2: 4, -1: 4}
    assert (found["alpha"] * 4).astype(int).value_counts().to_dict() == {0: 4, 1: 4, 2: 4, 3: 4}
    assert found["passes"].value_counts().to_dict() == {1: 4, 2: 4, 3: 4, 4: 4}
    assert all(isinstance(trial["passes"], int) for trial in trials(SPACE, 2, 0, "ft"))
    assert found["momentum"].value_counts().to_dict() == {0.0: 8, 0.9: 8}
    assert set(found["weight_decay"]) == {5e-4}
    assert found["nothing"].isna().all()


def test_trials_depend_on_seed_and_method_and_on_nothing_else() -> None:
    assert trials(SPACE, 4, 0, "ft") == trials(SPACE, 4, 0, "ft")
    assert trials(SPACE, 4, 0, "ft") != trials(SPACE, 4, 1, "ft")
    assert trials(SPACE, 4, 0, "ft") != trials(SPACE, 4, 0, "scrub")


def test_a_space_with_nothing_to_search_is_tried_once() -> None:
    assert trials({"alpha": 0.5}, 8, 0, "ft") == [{"alpha": 0.5}]


def test_whole_numbers_on_a_logarithm_reach_both_ends() -> None:
    numbers = Range(low=1, high=8, log=True)
    assert numbers.at(0.0) == 1
    assert numbers.at(0.999999) == 8


def test_the_corners_hold_every_end_and_every_choice() -> None:
    found = corners({"a": Range(low=0.0, high=1.0, log=False), "b": Choices(choices=[1, 2, 3]), "c": "x"})
    assert {point["a"] for point in found} == {0.0, 1.0}
    assert {point["b"] for point in found} == {1, 2, 3}
    assert {point["c"] for point in found} == {"x"}


@pytest.mark.parametrize(
    ("reached", "diverged", "forget", "expected"),
    [
        ([True, True], [False, False], [0.8, 0.7], 0.65),  # mean of the validation accuracies 0.7 and 0.6
        ([False, False], [False, False], [1.0, 0.9], -0.15),  # 0.2 and 0.1 above the target 0.8
        ([True, False], [False, False], [0.8, 1.0], 0.25),  # (0.7 − 0.2) / 2
        # Of weights that are not finite every prediction is wrong, which is no forgetting.
        ([False, False], [True, True], [0.0, 0.0], -1.0),
        ([True, False], [False, True], [0.8, 0.0], -0.15),  # (0.7 − 1) / 2
    ],
)
def test_the_score_by_hand(
    reached: list[bool], diverged: list[bool], forget: list[float], expected: float
) -> None:
    assert score(reached, diverged, forget, [0.8, 0.8], [0.7, 0.6]) == pytest.approx(expected, abs=1e-12)


def test_the_best_score_is_taken_and_all_trials_are_kept(tmp_path: Path) -> None:
    rows = [
        {"method": method, "trial": trial, "params": json.dumps({"alpha": trial}), "score": s, "gap": gap}
        for method, scores, gaps in (
            ("ft", (0.1, 0.7, 0.7), (0.3, 0.2, 0.1)),
            ("scrub", (0.5, 0.2, -1), (0, 0, 0)),
        )
        for trial, (s, gap) in enumerate(zip(scores, gaps, strict=True))
    ]
    frame = pd.DataFrame(rows)
    files = [tmp_path / "random.csv", tmp_path / "class.csv"]
    frame.to_csv(files[0], index=False)
    frame[frame["method"] == "ft"].to_csv(files[1], index=False)
    out, table = tmp_path / "tuned.yaml", tmp_path / "tuned.csv"
    records = [path.with_suffix(".json") for path in files]
    for path in records:
        path.write_text(json.dumps({"method": "ft", "seeds": [100], "reads": {"100": []}}), encoding="utf-8")
    reads = tmp_path / "tuned.json"
    scenarios = ["random", "class"]
    tuned.run(
        Namespace(trials=files, scenario=scenarios, record=records, tuned=out, table=table, reads=reads)
    )
    assert yaml.safe_load(out.read_text(encoding="utf-8")) == {
        "random": {"ft": {"alpha": 1}, "scrub": {"alpha": 0}},  # the first of two equal scores
        "class": {"ft": {"alpha": 1}},
    }
    assert json.loads(reads.read_text(encoding="utf-8"))["searches"] == [
        {"scenario": scenario, "method": "ft", "seeds": [100], "reads": {"100": []}} for scenario in scenarios
    ]
    written = pd.read_csv(table)
    assert len(written) == 9
    assert written[written["chosen"]]["trial"].tolist() == [1, 0, 1]
    assert written[written["nearest_to_retrained"]]["trial"].tolist() == [2, 0, 2]
