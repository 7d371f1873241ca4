"""Tables: numbers by hand, the same numbers in every format, ranking, and what few seeds do not allow."""

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_study import CLASSES, METHODS, make_experiment, make_frames
from scipy import stats

from orthograd.measures import PER_CLASS
from orthograd.reporting.data import ReportData, ReportError
from orthograd.reporting.ranking import standings, verdict
from orthograd.reporting.statistics import Interval
from orthograd.reporting.tables import (
    TABLES,
    accuracy_table,
    cost_table,
    escape_latex,
    membership_table,
    paired_table,
    per_class_table,
)
from orthograd.reporting.text import METHOD_LABELS, estimate, listing, method_label, number


def _row(table, **values):
    frame = table.frame
    for key, value in values.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_accuracy_numbers_by_hand(report_data):
    data = report_data.select(make_experiment())
    row = _row(accuracy_table(data), method="orthograd")
    x = data.runs.loc[data.runs["method"] == "orthograd", "accuracy_test"].to_numpy()
    assert row["accuracy_test_mean"] == pytest.approx(x.sum() / 3, rel=1e-12)
    spread = math.sqrt(((x - x.mean()) ** 2).sum() / 2)
    assert row["accuracy_test_half_width"] == pytest.approx(4.302652729911 * spread / math.sqrt(3), rel=1e-9)
    assert (row["n"], row["target_reached"]) == (3, 3)


def test_rows_and_columns(report_data):
    random = accuracy_table(report_data.select(make_experiment("random")))
    by_class = accuracy_table(report_data.select(make_experiment("class")))
    assert list(random.frame["method"]) == ["original", "retrained", *METHODS]
    assert [row[0].text for row in random.rows] == [
        "Original",
        "Retrained",
        "OrthoGrad",
        "FT",
        "NegGrad",
        "NegGrad+",
    ]
    assert "Test, forgotten class" not in random.header
    assert "Test, forgotten class" in by_class.header


def test_a_method_that_never_reached_the_target_is_not_ranked(report_data):
    table = accuracy_table(report_data.select(make_experiment()))
    ft = _row(table, method="ft")
    assert ft["target_reached"] == 0
    assert pd.isna(ft["rank"])
    shown = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert shown["FT"][-2:] == ["0/3", "–"]
    assert shown["Original"][-2:] == ["–", "–"]
    ranked = table.frame.dropna(subset="rank").sort_values("rank")
    assert list(ranked["rank"]) == [1, 2, 3]
    assert ranked["gap_mean"].is_monotonic_increasing


def test_retrained_row_is_the_noise_floor(report_data):
    data = report_data.select(make_experiment())
    row = _row(accuracy_table(data), method="retrained")
    runs = data.runs[data.runs["method"] == "retrained"]
    pairs = runs.pivot(index="seed", columns="replicate", values="accuracy_test")
    assert row["gap_test_mean"] == pytest.approx((pairs[0] - pairs[1]).abs().mean(), rel=1e-12)
    # Signed leave-one-out differences cancel within a seed: the floor must be read from |Δ|.
    assert row["diff_test_mean"] == pytest.approx(0, abs=1e-12)


def test_paired_numbers_by_hand(report_data):
    data = report_data.select(make_experiment())
    table = paired_table(data)
    runs = data.runs.set_index(["method", "seed"])["accuracy_test"]
    d = [runs["orthograd", seed] - runs["neggrad", seed] for seed in (0, 1, 2)]
    row = _row(table, minus="neggrad")
    assert row["accuracy_test_mean"] == pytest.approx(sum(d) / 3, rel=1e-12)
    spread = math.sqrt(sum((x - sum(d) / 3) ** 2 for x in d) / 2)
    assert row["accuracy_test_half_width"] == pytest.approx(4.302652729911 * spread / math.sqrt(3), rel=1e-9)
    assert list(table.frame["minus"]) == ["ft", "neggrad", "neggrad_plus"]
    assert _row(table, minus="ft")["both_reached"] == 0
    assert _row(table, minus="neggrad")["both_reached"] == 3


def test_cost_is_shown_in_mebibytes_and_stored_in_bytes(report_data):
    table = cost_table(report_data.select(make_experiment()))
    row = _row(table, method="orthograd")
    assert row["peak_bytes_mean"] == 180 * 2**20 + 1000
    assert table.rows[2][table.header.index("Peak MiB")].text.startswith("180.0 ± ")


SCALES = {
    **dict.fromkeys(["Population, AUC", "Low loss, AUC", "SVC, AUC", "ToW", "AUS"], 1),
    **{f"{label}, {name}": 1 for label in ("KL", "JS", "Distance of outputs") for name in ("forget", "test")},
    "UIS": 1,
    "Steps": 1,
    "Seconds": 1,
    "Peak MiB": 2**-20,
    "Samples forward": 1,
    "RTE": 1,
}
KEYS = {
    **{name.capitalize(): name for name in ("lowest", "median", "highest")},
    **{name: f"{PER_CLASS}{name}" for name in CLASSES},
    "Forget": "accuracy_forget",
    "Retain": "accuracy_retain",
    "Test": "accuracy_test",
    "Test, forgotten class": "accuracy_test_forgotten",
    "Test at target": "test_at_target",
    "UIS": "uis",
    "Gap": "gap",
    "|Δ| forget": "gap_forget",
    "|Δ| retain": "gap_retain",
    "|Δ| test": "gap_test",
    "Population, AUC": "mia_population_auc",
    "Low loss, AUC": "mia_low_loss_auc",
    "Low loss, TPR": "mia_tpr_at_1_fpr",
    "Confidence, acc.": "mia_confidence_accuracy",
    "Entropy, acc.": "mia_entropy_accuracy",
    "Modified entropy, acc.": "mia_modified_entropy_accuracy",
    "SVC, AUC": "mia_svc_auc",
    "SVC, non-members": "mia_svc_non_member_share",
    "Average gap": "average_gap",
    "ToW": "tow",
    "AUS": "aus",
    "KL, forget": "kl_forget",
    "KL, test": "kl_test",
    "JS, forget": "js_forget",
    "JS, test": "js_test",
    "Agreement, forget": "agreement_forget",
    "Agreement, test": "agreement_test",
    "Distance of outputs, forget": "activation_distance_forget",
    "Distance of outputs, test": "activation_distance_test",
    "Steps": "steps",
    "Seconds": "seconds",
    "Peak MiB": "peak_bytes",
    "Samples forward": "forward",
    "Samples backward": "backward",
    "RTE": "rte",
}


def _markdown(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    rows = [[re.sub(r"\\(.)", r"\1", cell.strip()).strip("*") for cell in row] for row in cells]
    return rows[0], rows[2:]


def _latex(text):
    body = text.split("\\toprule\n")[1].split("\\bottomrule")[0]
    lines = [line.removesuffix(" \\\\") for line in body.splitlines() if line != "\\midrule"]
    symbols = {"$\\pm$": "±", "$-$": "−", "--": "–", "$\\Delta$": "Δ", "$\\approx$": "≈", "\\textbar{}": "|"}
    symbols |= {"$\\equiv$": "≡"}
    rows = []
    for line in lines:
        for macro, symbol in symbols.items():
            line = line.replace(macro, symbol)
        rows.append([re.sub(r"\\textbf\{(.*)\}", r"\1", cell) for cell in line.split(" & ")])
    return rows[0], rows[1:]


def _numbers(text):
    parts = text.removeprefix("≈ ").removeprefix("≡ ").split(" ± ")
    return [float(part.replace("−", "-").replace(",", "")) for part in parts]


@pytest.mark.parametrize("seeds", [(0, 1, 2), tuple(range(6))])
@pytest.mark.parametrize("kind", ["random", "class"])
@pytest.mark.parametrize("make", TABLES)
def test_markdown_and_latex_show_the_numbers_of_the_csv(make, kind, seeds):
    table = make(ReportData.of_frames(*make_frames(seeds)).select(make_experiment(kind)))
    stored = pd.read_csv(io.StringIO(table.to_csv()))
    checked = 0
    for header, rows in (_markdown(table.to_markdown()), _latex(table.to_latex())):
        assert header == list(table.header)
        assert len(rows) == len(stored)
        for (_, raw), row in zip(stored.iterrows(), rows, strict=True):
            for name, text in zip(header, row, strict=True):
                if name not in KEYS:
                    continue
                mean, half_width = (raw[f"{KEYS[name]}_{part}"] for part in ("mean", "half_width"))
                if text == "–":
                    assert math.isnan(mean)
                    continue
                digits = len(text.split(" ± ")[0].partition(".")[2])
                scale = SCALES.get(name, 1 if name == "Samples backward" else 100)
                expected = [mean * scale, half_width * scale]
                np.testing.assert_allclose(_numbers(text), expected, atol=0.5001 * 10**-digits)
                checked += 1
    assert checked > 2 * 3 * 5


def test_csv_keeps_full_precision(report_data):
    table = accuracy_table(report_data.select(make_experiment()))
    stored = [float(row["gap_mean"]) for row in csv.DictReader(io.StringIO(table.to_csv()))]
    np.testing.assert_array_equal(stored, table.frame["gap_mean"])


@pytest.mark.parametrize("make", TABLES)
def test_few_seeds_have_no_bold_and_say_so(make, report_data):
    table = make(report_data.select(make_experiment()))
    assert not any(cell.bold for row in table.rows for cell in row)
    assert "n = 3 seeds: no significance claim; nothing is set in bold" in table.caption.text
    assert "Substitutions: Fashion-MNIST in place of ImageNet." in table.caption.text
    assert "95% t-interval over n = 3 seeds" in table.caption.text
    assert "\\textbf" not in table.to_latex()


def test_enough_seeds_have_bold_where_the_caption_says():
    data = ReportData.of_frames(*make_frames(range(6))).select(make_experiment())
    table = accuracy_table(data)
    bold = [
        (row[0].text, name)
        for row in table.rows
        for cell, name in zip(row, table.header, strict=True)
        if cell.bold
    ]
    assert bold == [("OrthoGrad", "Gap")]
    assert "no significance claim" not in table.caption.text
    differences = paired_table(data)
    column = differences.header.index("Test")
    assert differences.rows[1][column].bold  # against NegGrad: 5.9 points, far from 0
    # FT never reached the target: its differences are at unequal forgetting.
    assert not any(cell.bold for cell in differences.rows[0])


SIX = range(6)
WAVE = np.array([1, -1, 1, -1, 1, -1])


def _planted(seeds=SIX, **columns):
    """Seeds in which every method reached its target, with planted values, by column and method."""
    runs, costs, trajectories, controls = make_frames(seeds)
    runs.loc[runs["target_reached"].notna(), "target_reached"] = True
    for column, methods in columns.items():
        for method, values in methods.items():
            rows = runs["method"] == method
            runs.loc[rows, column] = runs.loc[rows, "seed"].map(dict(zip(seeds, values, strict=True)))
    return ReportData.of_frames(runs, costs, trajectories, controls).select(make_experiment())


@pytest.mark.parametrize(
    ("second", "bold"),
    [
        # Above by 0.1 points in every seed, whatever the seeds have in common.
        (0.02 + 0.005 * WAVE + 0.001, True),
        # Above by 0.1 points on average, but ± 1.0 points from seed to seed: 0.10 ± 1.15.
        (0.021 - 0.005 * WAVE, False),
        (0.02 + 0.005 * WAVE, False),  # a tie
    ],
)
def test_the_smallest_gap_is_bold_only_if_it_is_smaller_than_every_other(second, bold):
    first = 0.02 + 0.005 * WAVE
    data = _planted(
        gap={"orthograd": first, "ft": second, "neggrad": first + 0.1, "neggrad_plus": first + 0.1}
    )
    assert next(s.method for s in standings(data, "small_resnet") if s.rank == 1) == "orthograd"
    cells = [row[accuracy_table(data).header.index("Gap")] for row in accuracy_table(data).rows]
    assert [cell.bold for cell in cells] == [False, False, bold, False, False, False]


def test_a_method_ranked_alone_is_not_bold():
    data = _planted()
    runs = data.runs
    missed = runs["method"].isin(["ft", "neggrad", "neggrad_plus"])
    data = replace(data, runs=runs.assign(target_reached=runs["target_reached"].mask(missed, False)))
    table = accuracy_table(data)
    assert _row(table, method="orthograd")["rank"] == 1
    assert not any(cell.bold for row in table.rows for cell in row)


# Whether more, or less, of it is an improvement.
SIDES = {"Forget": 0, "Retain": 1, "Test": 1, "Test at target": 1, "UIS": -1, "Gap": -1}
SIDES |= {f"|Δ| {name}": -1 for name in ("forget", "retain", "test")}


def test_differences_are_bold_only_where_orthograd_is_better():
    low, high = np.full(6, 0.4) + 0.001 * WAVE, np.full(6, 0.5)
    for name, side in SIDES.items():
        column = {"gap_forget": "diff_forget", "gap_retain": "diff_retain", "gap_test": "diff_test"}.get(
            KEYS[name], KEYS[name]
        )
        table = paired_table(_planted(**{column: {"orthograd": low, "ft": high, "neggrad": low - 0.1}}))
        place = table.header.index(name)
        # OrthoGrad is below FT and above NegGrad.
        assert [row[place].bold for row in table.rows[:2]] == [side < 0, side > 0], name


def test_one_seed_shows_no_interval():
    data = ReportData.of_frames(*make_frames((4,))).select(make_experiment())
    for make in TABLES:
        table = make(data)
        assert not any("±" in cell.text for row in table.rows for cell in row)
        assert "One seed (n = 1): no interval" in table.caption.text
        assert table.frame.filter(like="half_width").isna().all().all()
        assert (table.frame["n"] == 1).all()


def test_attacks_on_a_single_model_have_its_interval_over_samples():
    frames = make_frames((4,))
    frames[0].loc[frames[0]["method"] == "ft", ["mia_tpr_at_1_fpr_low", "mia_tpr_at_1_fpr_high"]] = (
        0.0025,
        0.031,
    )
    alone = membership_table(ReportData.of_frames(*frames).select(make_experiment()))
    rows = {row[0].text: row for row in alone.rows}
    tpr, gap = alone.header.index("Low loss, TPR"), alone.header.index("Average gap")
    assert rows["FT"][tpr].text.endswith(" [0.2, 3.1]")
    # The mean over the two retrained models has none, nor has a mean of distances.
    assert "[" not in rows["Retrained"][tpr].text + rows["FT"][gap].text
    assert "Brackets, where a row is a single model: its 95% interval over samples" in alone.caption.text
    several = membership_table(ReportData.of_frames(*make_frames()).select(make_experiment()))
    assert not any("[" in cell.text for row in several.rows for cell in row)
    assert "stands in runs.csv" in several.caption.text


def test_one_retrained_reference_has_no_noise_floor():
    data = ReportData.of_frames(*make_frames(replicates=1)).select(make_experiment())
    table = accuracy_table(data)
    assert math.isnan(_row(table, method="retrained")["gap_mean"])
    assert "a noise floor needs two references" in table.caption.text
    assert "noise floor" not in verdict(data, "small_resnet")


def _with_gap(frames, gaps, reached=None):
    runs, costs, trajectories, controls = frames
    for method, gap in gaps.items():
        runs.loc[runs["method"] == method, "gap"] = gap
    for method, seeds in (reached or {}).items():
        rows = runs["method"] == method
        runs.loc[rows, "target_reached"] = runs.loc[rows, "seed"].isin(seeds)
    return ReportData.of_frames(runs, costs, trajectories, controls).select(make_experiment())


def test_verdict_says_what_doing_nothing_would_give(frames):
    runs, costs, trajectories, controls = frames
    data = ReportData.of_frames(runs, costs, trajectories, controls).select(make_experiment("random"))
    original = data.runs[data.runs["method"] == "original"]["gap"].mean()
    closer = [s for s in standings(data, "small_resnet") if s.rank is not None and s.gap.mean < original]
    text = verdict(data, "small_resnet")
    assert f"left as it is, has a gap of {100 * original:.2f}" in text
    assert ("no ranked method is closer" in text) == (not closer)
    # An original model that is as good as a retrained one cannot be improved on.
    perfect = runs.assign(gap=runs["gap"].where(runs["method"] != "original", 0.0))
    data = ReportData.of_frames(perfect, costs, trajectories, controls).select(make_experiment("random"))
    assert "no ranked method is closer" in verdict(data, "small_resnet")


def test_verdict_names_a_baseline_that_wins(frames):
    data = _with_gap(frames, {"neggrad": 0.001, "orthograd": 0.02, "neggrad_plus": 0.03})
    text = verdict(data, "small_resnet")
    assert "NegGrad comes closest to the retrained models, with a gap of 0.10 ± 0.00 percentage" in text
    assert "OrthoGrad has rank 2 of 3 with a gap of 2.00 ± 0.00 percentage points." in text
    assert "Not ranked, target not reached in every seed: FT (0 of 3 seeds)." in text
    assert text.endswith("n = 3 seeds: no significance claim.")


def test_verdict_ties_share_the_rank(frames):
    data = _with_gap(frames, {"neggrad": 0.01, "orthograd": 0.01, "neggrad_plus": 0.03})
    assert [s.rank for s in standings(data, "small_resnet")] == [1, None, 1, 3]
    assert "OrthoGrad and NegGrad come (tied) closest" in verdict(data, "small_resnet")


def test_verdict_when_orthograd_missed_the_target_once(frames):
    data = _with_gap(frames, {"orthograd": 0.0}, {"orthograd": [0, 1]})
    text = verdict(data, "small_resnet")
    assert "OrthoGrad comes closest" not in text
    assert "OrthoGrad (2 of 3 seeds) and FT (0 of 3 seeds)" in text


def test_verdict_when_none_reached(frames):
    data = _with_gap(frames, {}, {method: [] for method in METHODS})
    assert "No method reached the target in every seed" in verdict(data, "small_resnet")


def _kept(frames, values):
    """The study with other test accuracies at the target: NaN for the methods that are not named."""
    runs, costs, trajectories, controls = frames
    runs = runs.assign(test_at_target=runs["method"].map(values).astype(float))
    return ReportData.of_frames(runs, costs, trajectories, controls).select(make_experiment())


def test_the_headline_is_the_test_accuracy_at_equal_forgetting(frames):
    text = verdict(_kept(frames, {"neggrad": 0.85, "orthograd": 0.84, "neggrad_plus": 0.8}), "small_resnet")
    assert text.startswith(
        "At equal forgetting (forget accuracy interpolated to the target) NegGrad 85.00 ± 0.00% is the highest test "
        "accuracy of 3 methods that can be compared so; OrthoGrad 84.00 ± 0.00% is number 2."
    )
    text = verdict(_kept(frames, {"neggrad": 0.85}), "small_resnet")
    assert "of 1 method that can be compared so; OrthoGrad is not among them." in text
    assert verdict(_kept(frames, {}), "small_resnet").startswith("No method passes the target step by step")


def test_accuracies_class_by_class(frames, report_data):
    table = per_class_table(report_data.select(make_experiment()))
    assert table.header == ("Method", "Lowest", "Median", "Highest", "shirt", "bag", "sandal")
    row = table.frame[table.frame["method"] == "ft"].iloc[0]
    runs = frames[0]
    test = runs[(runs["method"] == "ft") & (runs["scenario"] == "random_10")]["accuracy_test"].mean()
    for column, part in (("lowest", 0.5), ("median", 0.8), ("highest", 1.0), (f"{PER_CLASS}sandal", 0.8)):
        assert row[f"{column}_mean"] == pytest.approx(part * test, rel=1e-12)
    many = frames[0].assign(**{f"{PER_CLASS}{number}": 0.5 for number in range(18)})
    data = ReportData.of_frames(many, *frames[1:])
    assert per_class_table(data.select(make_experiment())).header == ("Method", "Lowest", "Median", "Highest")
    old = frames[0].drop(columns=[column for column in frames[0] if column.startswith(PER_CLASS)])
    with pytest.raises(ReportError, match="no accuracies by class"):
        per_class_table(ReportData.of_frames(old, *frames[1:]).select(make_experiment()))


def test_an_attack_that_failed_a_control_is_marked_with_the_reason(frames):
    runs, costs, trajectories, controls = frames
    failed = (controls["attack"] == "svc") & (controls["seed"] == 1) & (controls["scenario"] == "random_10")
    controls = controls.assign(
        passed=~failed, reason=controls["reason"].where(~failed, "misses the planted fake: 0.4")
    )
    data = ReportData.of_frames(runs, costs, trajectories, controls)
    table = membership_table(data.select(make_experiment()))
    assert [name for name in table.header if name.endswith("†")] == [
        "SVC, AUC †",
        "SVC, non-members †",
        "Average gap †",
    ]
    for row in table.rows:
        assert [cell.doubtful for cell in row[1:]] == [name.endswith("†") for name in table.header[1:]]
    assert "svc (with 1 of 3 original models; seed 1: misses the planted fake: 0.4)" in table.caption.notes
    assert r"SVC, AUC \textdagger{}" in table.to_latex()
    believed = membership_table(data.select(make_experiment("class")))
    assert "All attacks passed in every seed." in believed.caption.notes
    assert not any(cell.doubtful for row in believed.rows for cell in row)


def test_runs_in_which_no_weight_moved_are_named(frames):
    runs, *others = frames
    still = (runs["method"] == "ft") & (runs["seed"] > 0) | (runs["method"] == "original")
    unmoved = runs.assign(weight_distance_original=runs["weight_distance_original"].where(~still, 0.0))
    assert (
        "left every weight"
        not in accuracy_table(ReportData.of_frames(*frames).select(make_experiment())).caption.text
    )
    caption = accuracy_table(ReportData.of_frames(unmoved, *others).select(make_experiment())).caption.text
    assert "Runs that left every weight as it was: FT (2)." in caption


def test_runs_that_diverged_are_named(frames):
    runs, costs, trajectories, controls = frames
    broken = (runs["method"] == "neggrad") & (runs["seed"] == 1) & (runs["scenario"] == "random_10")
    data = ReportData.of_frames(
        runs.assign(diverged=runs["diverged"].where(~broken, True)), costs, trajectories, controls
    )
    assert (
        "predictions that are not finite as wrong: NegGrad (1). "
        in accuracy_table(data.select(make_experiment())).caption.notes
    )
    assert "not finite" not in accuracy_table(data.select(make_experiment("class"))).caption.notes


def test_what_the_seeds_resolve_stands_beside_the_differences(report_data):
    data = report_data.select(make_experiment())
    table = paired_table(data)
    gaps = data.runs.set_index(["method", "seed"])["gap"]
    d = np.array([gaps["orthograd", seed] - gaps["neggrad", seed] for seed in (0, 1, 2)])
    row = _row(table, minus="neggrad")
    # By simulation: a true difference of that size is found four times in five.
    rng = np.random.default_rng(0)
    draws = rng.normal(row["gap_resolvable"], d.std(ddof=1), size=(40_000, 3))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(3))
    assert np.mean(np.abs(t) > 4.302652729911) == pytest.approx(0.8, abs=0.01)
    assert table.rows[1][table.header.index("Resolvable gap")].text == f"{100 * row['gap_resolvable']:.2f}"


def test_differences_below_what_the_seeds_resolve_are_marked():
    base = np.full(6, 0.5)
    # s = 0.01 · √(6/5); six pairs find an effect of 1.435 s with power 0.8.
    smallest = 1.435 * 0.01095
    below, above = base - 0.95 * smallest + 0.01 * WAVE, base - 1.05 * smallest + 0.01 * WAVE
    table = paired_table(
        _planted(accuracy_test={"orthograd": base, "ft": below, "neggrad": above, "neggrad_plus": base})
    )
    place = table.header.index("Test")
    assert _row(table, minus="ft")["accuracy_test_resolvable"] == pytest.approx(smallest, rel=2e-3)
    assert [row[place].text for row in table.rows] == ["≈ 1.5 ± 1.1", "1.6 ± 1.1", "≡ 0.0 ± 0.0"]
    # The file has the number, and the level of every column.
    assert _row(table, minus="ft")["accuracy_test_mean"] == pytest.approx(0.95 * smallest, rel=1e-12)
    assert {f"{KEYS[name]}_resolvable" for name in SIDES} <= set(table.frame)
    assert "≈: the difference is below the smallest true one" in table.caption.notes
    # 1.435 s over the half-width of six pairs, t(0.975, 5) · s / √6.
    assert f"it is {1.435 * 6**0.5 / 2.5706:.2f} times the half-width shown" in table.caption.notes
    assert r"$\approx$ 1.5 $\pm$ 1.1" in table.to_latex()


FIVE = range(5)
WIGGLE = np.array([0.002, -0.002, 0, 0.001, -0.001])
MARGIN = 0.01
# By how much OrthoGrad is above, seed by seed: within the margin, around its end, beyond it.
ABOVE = {"ft": 0.003 + WIGGLE, "neggrad": MARGIN + WIGGLE, "neggrad_plus": 0.03 + WIGGLE}
VERDICTS = {"ft": "equivalent", "neggrad": "undecided", "neggrad_plus": "different"}


def _by_scipy(differences):
    """One-sided t-tests at 5% at both ends of the margin."""

    def p(end, side):
        return stats.ttest_1samp(differences, end, alternative=side).pvalue

    if max(p(-MARGIN, "greater"), p(MARGIN, "less")) < 0.05:
        return "equivalent"
    return "different" if min(p(MARGIN, "greater"), p(-MARGIN, "less")) < 0.05 else "undecided"


def test_methods_as_good_as_orthograd_within_the_noise_floor_are_marked():
    base = np.full(5, 0.5)
    values = {"orthograd": base} | {method: base - above for method, above in ABOVE.items()}
    # The retrained models are a margin away from each other.
    data = _planted(FIVE, accuracy_test=values, diff_test={"retrained": MARGIN * np.array([1, -1, 1, -1, 1])})
    table = paired_table(data)
    stored = pd.read_csv(io.StringIO(table.to_csv())).set_index("minus")
    for method, above in ABOVE.items():
        assert stored.loc[method, "accuracy_test_equivalence"] == VERDICTS[method] == _by_scipy(above)
        assert stored.loc[method, "accuracy_test_margin"] == pytest.approx(MARGIN, rel=1e-12)
    place = table.header.index("Test")
    assert [row[place].text for row in table.rows] == ["≡ 0.3 ± 0.2", "1.0 ± 0.2", "3.0 ± 0.2"]
    assert r"$\equiv$ 0.3 $\pm$ 0.2" in table.to_latex()
    # Better, too: the interval excludes 0.
    assert "| **≡ 0.3 ± 0.2** |" in table.to_markdown()
    assert "≡ (in place of ≈): the two methods are equivalent" in table.caption.notes
    assert "retain 0.0" in table.caption.notes
    assert ", test 1.00 and gap " in table.caption.notes
    assert "uis_equivalence" not in table.frame


def test_methods_as_good_as_retraining_within_the_noise_floor_are_marked():
    data = _planted(FIVE, diff_test=ABOVE | {"retrained": np.full(5, MARGIN)})
    table = accuracy_table(data)
    verdicts = table.frame.set_index("method")["diff_test_equivalence"]
    for method, above in ABOVE.items():
        assert verdicts[method] == VERDICTS[method] == _by_scipy(above)
    assert pd.isna(verdicts["retrained"])
    place = table.header.index("|Δ| test")
    marked = {row[0].text for row in table.rows if row[place].text.startswith("≡ ")}
    assert marked - {"Original", "OrthoGrad"} == {"FT"}
    assert "within the |Δ| of the row Retrained" in table.caption.notes


@pytest.mark.parametrize("make", [accuracy_table, paired_table])
def test_equivalence_is_not_tested_with_few_seeds_or_without_a_margin(make):
    few = make(ReportData.of_frames(*make_frames(range(4))).select(make_experiment()))
    assert not any(column.endswith(("_equivalence", "_margin")) for column in few.frame)
    alone = make(ReportData.of_frames(*make_frames(FIVE, replicates=1)).select(make_experiment()))
    assert alone.frame.filter(like="_equivalence").isna().all().all()
    assert not any("≡" in table.to_markdown() for table in (few, alone))


def test_what_is_not_defined_or_not_repeated_has_no_mark(report_data):
    frames = make_frames((4,))
    alone = paired_table(ReportData.of_frames(*frames).select(make_experiment()))
    assert not any("≈" in cell.text for row in alone.rows for cell in row)
    table = paired_table(report_data.select(make_experiment()))
    # FT never reached the target.
    assert table.rows[0][table.header.index("Test at target")].text == "–"
    assert math.isnan(_row(table, minus="ft")["test_at_target_resolvable"])


def test_a_method_that_passed_the_target_in_some_seeds_only_has_no_mean_there(frames):
    runs, costs, trajectories, controls = frames
    once = runs.assign(
        test_at_target=runs["test_at_target"].mask((runs["method"] == "neggrad") & (runs["seed"] == 1))
    )
    data = ReportData.of_frames(once, costs, trajectories, controls).select(make_experiment())
    table = accuracy_table(data)
    shown = {row[0].text: row[table.header.index("Test at target")].text for row in table.rows}
    assert shown["NegGrad"] == shown["FT"] == shown["Original"] == "–"
    assert shown["OrthoGrad"] != "–"
    assert "NegGrad" not in verdict(data, "small_resnet").split(".")[0]


def test_verdict_with_enough_seeds_compares_with_the_second():
    frames = make_frames(range(6))
    data = _with_gap(frames, {"neggrad": 0.05, "orthograd": 0.01, "neggrad_plus": 0.03})
    text = verdict(data, "small_resnet")
    assert (
        "minus that of NegGrad+, paired by seed: −2.00 ± 0.00 percentage points; the 95% interval excludes 0."
        in text
    )
    assert "no significance claim" not in text


def test_several_models_have_their_own_ranks(frames):
    both = [pd.concat([f, f.assign(model="resnet18")], ignore_index=True) for f in frames]
    both[0].loc[(both[0]["model"] == "resnet18") & (both[0]["method"] == "neggrad"), "gap"] = 0.0
    experiment = make_experiment(models=["small_resnet", "resnet18"])
    table = accuracy_table(ReportData.of_frames(*both).select(experiment))
    assert table.header[:2] == ("Model", "Method")
    assert table.text_columns == 2
    assert _row(table, model="small_resnet", method="orthograd")["rank"] == 1
    assert _row(table, model="resnet18", method="neggrad")["rank"] == 1
    assert _row(table, model="resnet18", method="orthograd")["rank"] == 2


def test_latex_escapes():
    assert escape_latex("g⊥") == r"g$\perp$"
    assert escape_latex("a_b & 5% ± −1 |Δ| {x}") == (
        r"a\_b \& 5\% $\pm$ $-$1 \textbar{}$\Delta$\textbar{} \{x\}"
    )


def test_latex_has_no_bare_special_character(report_data):
    experiment = make_experiment(title="50% & more_of #1", substitutions=["a ~ b^2 $x$"])
    text = accuracy_table(report_data.select(experiment)).to_latex()
    assert r"50\% \& more\_of \#1" in text
    assert r"a \textasciitilde{} b\textasciicircum{}2 \$x\$" in text
    assert text.isascii()


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (1234.5, 1, "1,234.5"),
        (-0.04, 1, "0.0"),
        (-0.06, 1, "−0.1"),
        (math.nan, 2, "–"),
        (2.0, 0, "2"),
        (1_577_049_233.0, 3, "1.58e9"),
        (-2e6, 1, "−2.00e6"),
        (29_551_872, 0, "29,551,872"),
        (math.inf, 1, "inf"),
    ],
)
def test_numbers(value, decimals, text):
    assert number(value, decimals) == text


def test_estimates_and_listings():
    assert estimate(Interval(0.1234, 0.0056, 3), 100, 1) == "12.3 ± 0.6"
    assert estimate(Interval(0.1234, math.nan, 1), 100, 1) == "12.3"
    assert estimate(Interval(math.nan, math.nan, 3), 100, 1) == "–"
    assert [listing(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert method_label("a_new_method") == "a_new_method"
    assert len(set(METHOD_LABELS.values())) == len(METHOD_LABELS)
