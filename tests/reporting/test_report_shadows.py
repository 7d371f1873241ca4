"""The table of U-LiRA: means over the judged models, and what marks it as not to be believed."""

import re

import numpy as np
import pandas as pd
import pytest
from report_study import make_experiment
from scipy import stats

from orthograd.reporting.shadows import FAKE, ShadowData, table
from orthograd.specs import ShadowStudy

STUDY = ShadowStudy(
    experiment="T-IMG-R", model="small_resnet", methods=["orthograd", "ft"], number=6, first_seed=1000
)
AUCS = {
    "original": [0.7, 0.8, 0.9, 0.8, 0.75, 0.85],
    FAKE: [0.9] * 5 + [0.8],
    "retrained": [0.45, 0.55, 0.5, 0.52, 0.48, 0.51],
    "orthograd": [0.6, 0.7, 0.5, 0.6, 0.65, 0.55],
    "ft": [0.8] * 6,
}


def _data(**changes: list[float]) -> ShadowData:
    rows = [
        {"method": kind, "shadow": seed, "members": 1200, "non_members": 1200, "auc": auc, "tpr": auc / 2}
        for kind, values in (AUCS | changes).items()
        for seed, auc in zip(STUDY.seeds, values, strict=True)
    ]
    return ShadowData(make_experiment(), STUDY, pd.DataFrame(rows))


def test_means_and_intervals_over_the_judged_models() -> None:
    made = table(_data())
    assert [row[0].text for row in made.rows] == ["Original", "Planted fake", "Retrained", "OrthoGrad", "FT"]
    row = made.frame.set_index("method").loc["orthograd"]
    values = np.array(AUCS["orthograd"])
    half_width = stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6)
    assert row["auc_mean"] == pytest.approx(0.6, abs=1e-12)
    assert row["auc_half_width"] == pytest.approx(half_width, rel=1e-9)
    assert (row["n"], row["members"], row["non_members"]) == (6, 1200, 1200)
    assert made.rows[3][1].text == f"0.600 ± {half_width:.3f}"
    assert made.rows[3][2].text == f"30.0 ± {50 * half_width:.1f}"
    assert made.header == ("Method", "AUC", "TPR at 1% FPR")
    assert "The attack passed." in made.caption.notes
    assert "4 models" in made.caption.notes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"original": [0.45, 0.55, 0.5, 0.52, 0.48, 0.51]}, "misses the original model"),
        ({FAKE: [0.3, 0.31, 0.3, 0.29, 0.3, 0.3]}, "misses the planted fake: .* is below chance"),
        ({"retrained": [0.6, 0.61, 0.6, 0.59, 0.6, 0.6]}, "off chance on the retrained model .mean of the"),
        ({"original": [np.nan] * 6}, "not all shadow models without unlearning have finite outputs"),
    ],
)
def test_a_control_that_fails_marks_the_columns_with_the_reason(
    change: dict[str, list[float]], reason: str
) -> None:
    made = table(_data(**change))
    assert made.header == ("Method", "AUC †", "TPR at 1% FPR †")
    assert all(cell.doubtful for row in made.rows for cell in row[1:])
    assert re.search(reason, made.caption.notes)


def test_a_method_that_diverged_has_no_number_and_is_named() -> None:
    made = table(_data(ft=[np.nan] * 6))
    assert [cell.text for cell in made.rows[4]] == ["FT", "–", "–"]
    assert made.caption.notes.endswith("Without a result, as a model's outputs were not finite: FT.")
