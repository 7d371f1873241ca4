"""The tests of the paper's claims on planted data: each outcome, and what n allows to say."""

import numpy as np
import pandas as pd
import pytest
from report_study import make_experiment, make_frames

from orthograd.reporting.claims import CLAIMS, Study, decide
from orthograd.reporting.data import ReportData
from orthograd.reporting.findings import Difference

POOL = 4500
POOLS = {("fashion_mnist", "random_10"): POOL, ("fashion_mnist", "class_3"): POOL}
BASELINES = ("ft", "neggrad", "neggrad_plus")
ALL = ("orthograd", "orthograd_mean", *BASELINES)


def _frames(seeds=(0, 1, 2), sizes=(500,)):
    """The study with every method at its target, `orthograd_mean` beside it, at several sizes of the retain subset."""
    runs, costs, paths, controls = make_frames(seeds)
    runs.loc[runs["target_reached"].notna(), "target_reached"] = True

    def grown(frame):
        mean = frame[frame["method"] == "ft"].assign(method="orthograd_mean")
        frame = pd.concat([frame, mean], ignore_index=True)
        unlearned = frame["retain_size"].notna()
        copies = [frame[unlearned].assign(retain_size=float(size)) for size in sizes]
        return pd.concat([frame[~unlearned], *copies], ignore_index=True)

    return grown(runs), grown(costs), grown(paths), controls


def _plant(frame, column, values, size=None):
    """Set a column of each method, in every seed and scenario: a number, or one a seed."""
    for method, value in values.items():
        rows = frame["method"] == method
        if size is not None:
            rows &= frame["retain_size"] == size
        per_seed = value if isinstance(value, dict) else dict.fromkeys(frame["seed"], value)
        frame.loc[rows, column] = frame.loc[rows, "seed"].map(per_seed)


def _good(frames):
    """OrthoGrad keeps most, is closest, and takes most memory."""
    runs, costs, _, _ = frames
    wobble = {"orthograd": 0.001, "orthograd_mean": 0.02}
    for method, level in zip(ALL, (0.9, 0.85, 0.84, 0.7, 0.8), strict=True):
        spread = wobble.get(method, 0.002)
        values = {seed: level + spread * (-1) ** seed for seed in set(runs["seed"])}
        _plant(runs, "test_at_target", {method: values})
        _plant(runs, "gap", {method: {seed: 0.95 - value for seed, value in values.items()}})
        _plant(costs, "peak_bytes", {method: ((300 if method == "orthograd" else 100) * 2**20)})
    _plant(runs, "gap", {"original": 0.5})
    return frames


def _study(frames, experiments=None, **changes):
    if experiments is None:
        experiments = [make_experiment(kind, methods=list(ALL)) for kind in ("random", "class")]
    return Study(ReportData.of_frames(*frames), experiments, POOLS | changes)


def _sweep(sizes, methods=ALL):
    return [make_experiment("random", id="F-SIZE", retain_size=size, methods=list(methods)) for size in sizes]


def _decide(number, study):
    return CLAIMS[number - 1].decide(study)


def test_every_claim_states_its_test_and_is_decided(report_data):
    study = Study(report_data, [make_experiment("random"), make_experiment("class")], POOLS)
    found = decide(study)
    assert [claim.number for claim, _ in found] == [1, 2, 3, 4, 5, 6]
    assert all(len(claim.test) > 50 and finding.text for claim, finding in found)
    for _, finding in found:
        assert "significan" not in finding.text.replace("no significance claim", "").replace(
            "no significance is claimed", ""
        )


@pytest.mark.parametrize(
    ("values", "holds"),
    [
        ([0.1, 0.1, 0.2], True),
        ([0.1, 0.1, -0.01], False),  # n = 3: all seeds or nothing
        ([0.0, 0.1, 0.1], False),
        ([1.0, 1.1, 1.2, 0.9, -0.01], True),  # n = 5: the interval, 0.84 ± 0.61
        ([1.0, 0.1, 0.1, 0.1, 0.1], False),  # all above 0, but 0.28 ± 0.50
        ([-1.0, -1.1, -1.2, -0.9, -1.0], False),
    ],
)
def test_a_difference_counts_by_sign_with_few_seeds_and_by_interval_with_five(values, holds):
    assert Difference("x", pd.Series(values)).holds is holds


def test_claim_1_supported_when_every_baseline_is_beaten():
    finding = _decide(1, _study(_good(_frames())))
    assert finding.outcome == "supported"
    assert "T-IMG-R, 500 retain images" in finding.text
    assert "higher test accuracy at equal forgetting than: 3 of 3 baselines" in finding.text
    # By hand: 90 ± 0.1 points less 84 ± 0.2 are 5.9, 6.1 and 5.9; 4.303 · 0.1155 / √3 = 0.29.
    assert "the hardest is FT 5.97 ± 0.29 points (above 0 in 3 of 3 seeds)" in finding.text
    assert "n = 3 seeds: signs and means only, no significance claim." in finding.text


@pytest.mark.parametrize("column", ["test_at_target", "gap"])
def test_claim_1_not_supported_when_one_baseline_is_better_in_one_seed(column):
    frames = _good(_frames())
    best = 0.99 if column == "test_at_target" else 0.0
    rows = (frames[0]["method"] == "ft") & (frames[0]["seed"] == 1) & (frames[0]["scenario_kind"] == "class")
    frames[0].loc[rows, column] = best
    finding = _decide(1, _study(frames))
    assert finding.outcome == "not supported"
    assert "2 of 3 baselines" in finding.text


def test_claim_1_leaves_out_who_has_no_test_accuracy_at_the_target():
    frames = _good(_frames())
    _plant(frames[0], "test_at_target", {"neggrad": np.nan})
    finding = _decide(1, _study(frames))
    assert finding.outcome == "supported"
    assert "2 of 2 baselines" in finding.text
    assert "Without a test accuracy at the target: NegGrad." in finding.text


def test_claim_1_when_orthograd_has_no_value():
    frames = _good(_frames())
    _plant(frames[0], "test_at_target", {"orthograd": np.nan})
    finding = _decide(1, _study(frames))
    assert finding.outcome == "not testable here"
    assert "passed the target with the first step" in finding.text
    frames[0].loc[frames[0]["method"] == "orthograd", "target_reached"] = False
    finding = _decide(1, _study(frames))
    assert finding.outcome == "not supported"
    assert "did not reach the target in every seed" in finding.text


def test_claim_1_needs_a_small_retain_subset():
    frames = _good(_frames())
    pools = {("fashion_mnist", "random_10"): 900, ("fashion_mnist", "class_3"): 900}
    finding = _decide(1, Study(_study(frames).data, _study(frames).experiments, pools))
    assert finding.outcome == "not testable here"
    assert "run T-IMG-R and T-IMG-C" in finding.text


def test_claim_1_with_five_seeds_speaks_of_intervals():
    finding = _decide(1, _study(_good(_frames(seeds=range(5)))))
    assert finding.outcome == "supported"
    assert "n = 5 seeds; 95% t-intervals" in finding.text
    assert "no significance claim" not in finding.text


def test_claim_2_by_the_mean_and_the_spread():
    frames = _good(_frames())
    finding = _decide(2, _study(frames))
    assert finding.outcome == "supported"
    # By hand: values ±0.1 and ±2 points, twice up and once down: s = step · √(4/3).
    assert "standard deviation over seeds 0.12 against 2.31 points" in finding.text
    assert "Of the spreads no significance is claimed." in finding.text
    frames = _good(_frames())
    _plant(frames[0], "test_at_target", {"orthograd_mean": 0.85})
    assert _decide(2, _study(frames)).outcome == "not supported"  # varies less
    frames = _good(_frames())
    _plant(frames[0], "test_at_target", {"orthograd_mean": {0: 0.99, 1: 0.85, 2: 0.87}})
    assert _decide(2, _study(frames)).outcome == "not supported"  # better in one seed


def _with_mean_at_the_same_parameters(frames):
    """The study with `orthograd_mean-same`, which is what `orthograd_mean` is."""
    *tables, controls = frames
    grown = (
        pd.concat([t, t[t["method"] == "orthograd_mean"].assign(method="orthograd_mean-same")])
        for t in tables
    )
    return (*(table.reset_index(drop=True) for table in grown), controls)


def test_claim_2_takes_the_mean_at_the_same_parameters_too():
    frames = _with_mean_at_the_same_parameters(_good(_frames()))
    both = [make_experiment(methods=["orthograd", "orthograd_mean", "orthograd_mean-same"])]
    finding = _decide(2, _study(frames, both))
    assert finding.outcome == "supported"
    assert "T-IMG-R, against the mean with parameters of its own: per-sample" in finding.text
    assert "T-IMG-R, against the mean at OrthoGrad's parameters: per-sample" in finding.text
    _plant(frames[0], "test_at_target", {"orthograd_mean-same": {0: 0.99, 1: 0.85, 2: 0.87}})
    assert _decide(2, _study(frames, both)).outcome == "not supported"
    # As in T-ABL, which has no other.
    ablation = [make_experiment(id="T-ABL", methods=["orthograd", "orthograd_mean-same"])]
    finding = _decide(2, _study(frames, ablation))
    assert finding.outcome == "not supported"
    assert "parameters of its own" not in finding.text
    # By hand: 90.1 − 99, 89.9 − 85 and 90.1 − 87 points, −0.3 on average.
    assert "minus mean at equal forgetting −0.30 ±" in finding.text
    assert "(above 0 in 2 of 3 seeds)" in finding.text


def test_claim_2_not_testable_without_the_mean_or_its_values(report_data):
    finding = _decide(2, Study(report_data, [make_experiment("random")], POOLS))
    assert finding.outcome == "not testable here"
    assert "run T-ABL" in finding.text
    frames = _good(_frames())
    _plant(frames[0], "test_at_target", {"orthograd_mean": np.nan})
    assert _decide(2, _study(frames)).outcome == "not testable here"


SIZES = (125, 500, 2000)


def _dependence(slopes, gap_slopes=None):
    """Test accuracy and gap that change by so many points a doubling."""
    frames = _good(_frames(sizes=SIZES))
    for method in ALL:
        for size in SIZES:
            doublings = np.log2(size / SIZES[0])
            slope = slopes.get(method, 1.0) / 100
            gap = (gap_slopes or slopes).get(method, 1.0) / 100
            _plant(frames[0], "test_at_target", {method: 0.7 + slope * doublings}, size)
            _plant(frames[0], "gap", {method: 0.2 - gap * doublings}, size)
    return _study(frames, _sweep(SIZES))


def test_claim_3_by_the_slopes():
    finding = _decide(3, _dependence({"orthograd": 0.5, "ft": 2.0, "neggrad_plus": 1.0}))
    assert finding.outcome == "supported"
    assert "125, 500 and 2,000 retain images" in finding.text
    assert "0.50 ± 0.00 points (at equal forgetting) and −0.50 ± 0.00 points (by gap)" in finding.text
    assert "FT, at equal forgetting: 1.50 ± 0.00 points (above 0 in 3 of 3 seeds)" in finding.text
    assert "NegGrad+, by gap: 0.50" in finding.text
    # NegGrad reads no retain data, so that its slope says nothing.
    assert "NegGrad," not in finding.text
    # A fall is a dependence, too.
    assert _decide(3, _dependence({"orthograd": -1.5})).outcome == "not supported"
    only_gap = _dependence({"orthograd": 0.5}, {"orthograd": 3.0})
    assert _decide(3, only_gap).outcome == "not supported"


def test_claim_3_compares_the_gap_only_where_the_target_was_reached_everywhere():
    def missed(method, slopes, seed=1):
        study = _dependence(slopes)
        runs = study.data.runs
        rows = (runs["method"] == method) & (runs["seed"] == seed) & (runs["retain_size"] == SIZES[0])
        runs.loc[rows, "target_reached"] = False
        return _decide(3, study)

    good = {"orthograd": 0.5, "ft": 2.0, "neggrad_plus": 1.0}
    finding = missed("ft", good)
    # All that are compared hold, but not all are compared.
    assert finding.outcome == "not testable here"
    assert "Not compared: by gap (target missed in some seed and size) FT." in finding.text
    assert "FT, at equal forgetting: 1.50" in finding.text
    assert "FT, by gap" not in finding.text
    assert "NegGrad+, by gap: 0.50" in finding.text
    # One that is compared contradicts.
    assert missed("ft", good | {"neggrad_plus": 0.2}).outcome == "not supported"
    # OrthoGrad itself has no gap to compare then.
    finding = missed("orthograd", good)
    assert finding.outcome == "not testable here"
    assert "(target missed in some seed and size) OrthoGrad." in finding.text
    assert "points (by gap)" not in finding.text
    assert "by gap:" not in finding.text
    # NegGrad reads no retain images, and is not missed.
    assert missed("neggrad", good).outcome == "supported"


def test_claim_3_is_not_supported_without_a_baseline_at_equal_forgetting():
    study = _dependence({"orthograd": 0.5, "ft": 2.0, "neggrad_plus": 1.0})
    _plant(study.data.runs, "test_at_target", {"ft": np.nan}, SIZES[1])
    finding = _decide(3, study)
    assert finding.outcome == "not testable here"
    assert "Not compared: at equal forgetting (without a value in some seed and size) FT." in finding.text
    assert "FT, by gap: 1.50" in finding.text


def test_claim_3_not_testable_without_three_sizes_or_values():
    finding = _decide(3, _study(_good(_frames())))
    assert finding.outcome == "not testable here"
    assert "0 sizes" in finding.text
    assert "run the sweep F-SIZE over at least 3" in finding.text
    frames = _good(_frames(sizes=SIZES))
    _plant(frames[0], "test_at_target", {"orthograd": np.nan})
    study = _study(frames, _sweep(SIZES, ("orthograd", "neggrad")))
    assert _decide(3, study).outcome == "not testable here"


def _with_proxy(frames):
    return _study(frames, [make_experiment("random", id="T-PROXY", methods=list(ALL))])


def test_claim_4_works_where_it_reaches_comes_closer_and_beats_ascent():
    finding = _decide(4, _with_proxy(_good(_frames())))
    assert finding.outcome == "supported"
    assert "target reached in 3 of 3 seeds" in finding.text
    assert "minus that of NegGrad 19.97" in finding.text
    frames = _good(_frames())
    frames[0].loc[(frames[0]["method"] == "orthograd") & (frames[0]["seed"] == 2), "target_reached"] = False
    assert _decide(4, _with_proxy(frames)).outcome == "not supported"
    frames = _good(_frames())
    _plant(frames[0], "gap", {"original": 0.0})
    assert _decide(4, _with_proxy(frames)).outcome == "not supported"
    frames = _good(_frames())
    _plant(frames[0], "test_at_target", {"neggrad": 0.95})
    assert _decide(4, _with_proxy(frames)).outcome == "not supported"
    assert _decide(4, _study(_good(_frames()))).outcome == "not testable here"


def _beside_retain_images(gap=0.01, original_gap=0.5, proxy_at_target=0.0, scenario="random"):
    """The runs of T-IMG-R, and the same with a proxy, whose gap is so much larger."""
    runs, costs, trajectories, controls = _good(_frames())
    _plant(runs, "gap", {"original": original_gap})
    replaced = [
        frame.assign(proxy=frame["proxy"].where(frame["method"].isin(("original", "retrained")), "shifted"))
        for frame in (runs, costs, trajectories)
    ]
    ours = replaced[0]["method"] == "orthograd"
    replaced[0].loc[ours, ["test_at_target", "gap"]] += np.array([proxy_at_target, gap])
    replaced = [frame[frame["proxy"].notna()] for frame in replaced]
    frames = [
        pd.concat(pair, ignore_index=True) for pair in zip((runs, costs, trajectories), replaced, strict=True)
    ]
    with_proxy = make_experiment("random", id="T-PROXY", methods=list(ALL), proxy="shifted")
    return _study((*frames, controls), [make_experiment(scenario, methods=list(ALL)), with_proxy])


def test_claim_4_compares_the_proxy_with_as_many_retain_images():
    finding = _decide(4, _beside_retain_images())
    assert finding.outcome == "supported"
    words = "gap with the proxy minus that with as many retain images (T-IMG-R)"
    assert f"{words} 1.00 ± 0.00 points" in finding.text
    # More than two points are too many.
    assert _decide(4, _beside_retain_images(gap=0.03)).outcome == "not supported"
    # Of another scenario they say nothing.
    others = _decide(4, _beside_retain_images(gap=0.03, scenario="class"))
    assert (others.outcome, words in others.text) == ("supported", False)


def test_claim_4_blames_no_proxy_for_what_retain_images_do_not_bring_either():
    finding = _decide(4, _beside_retain_images(original_gap=0.0))
    assert finding.outcome == "not testable here"
    assert "this says nothing of the proxy" in finding.text
    # Where the proxy does bring it, that counts.
    better = _decide(4, _beside_retain_images(gap=-0.02, original_gap=0.04))
    assert (better.outcome, "says nothing of the proxy" in better.text) == ("supported", False)
    # A proxy that costs too much is found out all the same.
    assert _decide(4, _beside_retain_images(gap=0.03, original_gap=0.0)).outcome == "not supported"


def test_claim_4_compares_no_gap_with_runs_that_missed_the_target():
    study = _beside_retain_images(gap=0.03)
    runs = study.data.runs
    missed = (runs["method"] == "orthograd") & (runs["proxy"] != "shifted") & (runs["seed"] == 1)
    runs.loc[missed, "target_reached"] = False
    finding = _decide(4, study)
    assert finding.outcome == "not testable here"
    assert "(T-IMG-R): not compared, as the latter misses the target in some seed" in finding.text


def test_claim_4_does_not_pass_over_the_comparison_that_orthograd_has_no_value_for():
    finding = _decide(4, _beside_retain_images(proxy_at_target=np.nan))
    assert finding.outcome == "not testable here"
    assert "not compared with NegGrad: OrthoGrad passed the target with the first step" in finding.text


def test_claim_3_is_not_fooled_by_slopes_that_are_noise():
    study = _dependence({"orthograd": 0.5, "ft": 2.0, "neggrad_plus": 1.0})
    runs = study.data.runs
    # FT's slopes are 3, −3 and 0.3 points a doubling, seed by seed: large each, but no dependence.
    for seed, slope in ((0, 0.03), (1, -0.03), (2, 0.003)):
        for size in SIZES:
            rows = (runs["method"] == "ft") & (runs["seed"] == seed) & (runs["retain_size"] == size)
            runs.loc[rows, "test_at_target"] = 0.7 + slope * np.log2(size / SIZES[0])
    finding = _decide(3, study)
    assert finding.outcome == "not supported"
    assert "FT, at equal forgetting: −0.40 ± " in finding.text


def test_claim_5_needs_speech(report_data):
    finding = _decide(5, Study(report_data, [make_experiment("random")], POOLS))
    assert finding.outcome == "not testable here"
    assert "T-ASR" in finding.text


def _limit(lead_small, lead_full, memory=300):
    sizes = (500, POOL)
    frames = _good(_frames(sizes=sizes))
    for size, lead in zip(sizes, (lead_small, lead_full), strict=True):
        _plant(frames[0], "test_at_target", {"orthograd": 0.84 + lead, "ft": 0.84}, size)
    _plant(frames[1], "peak_bytes", {"orthograd": int(memory * 2**20)})
    return _study(frames, [*_study(frames).experiments, *_sweep(sizes, ("orthograd", *BASELINES))])


def test_claim_6_has_two_halves():
    finding = _decide(6, _limit(0.05, 0.01))
    assert finding.outcome == "supported"
    assert "5.00 points with 500 retain images, 1.00 with all 4,500" in finding.text
    assert "300 MiB, more than 3 of 3 baselines, of which FT takes most, 100 MiB" in finding.text
    assert _decide(6, _limit(0.01, 0.05)).outcome == "not supported"
    assert _decide(6, _limit(0.05, 0.01, memory=50)).outcome == "not supported"


def test_claim_6_takes_the_baselines_that_both_ends_have():
    # Over FT alone the lead shrinks from 5 points to 1; NegGrad is ahead by 7 points, at one end only.
    study = _limit(0.05, 0.01)
    _plant(study.data.runs, "test_at_target", {"neggrad": 0.96}, 500)
    _plant(study.data.runs, "test_at_target", {"neggrad": np.nan}, POOL)
    finding = _decide(6, study)
    assert finding.outcome == "supported"
    assert "among those defined at both ends (FT and NegGrad+): 5.00 points with 500" in finding.text
    # No baseline has a value at both.
    _plant(study.data.runs, "test_at_target", dict.fromkeys(("ft", "neggrad_plus"), np.nan), 500)
    finding = _decide(6, study)
    assert finding.outcome == "not testable here"
    assert "of OrthoGrad and of the same baseline" in finding.text


def test_claim_6_asks_for_a_lead_over_the_baselines_that_read_no_retain_image_as_well():
    frames = _good(_frames(sizes=(500, POOL)))
    for size, ours in ((500, 0.89), (POOL, 0.85)):
        _plant(frames[0], "test_at_target", {"orthograd": ours, "ft": 0.84}, size)
    # NegGrad is in T-IMG-R alone.
    _plant(frames[0], "test_at_target", {"neggrad": 0.88}, 500)
    sweep = _sweep((500, POOL), ("orthograd", "ft", "neggrad_plus"))
    experiments = [make_experiment(kind, methods=list(ALL)) for kind in ("random", "class")]
    finding = _decide(6, _study(frames, [*experiments, *sweep]))
    assert finding.outcome == "supported"
    assert "1.00 points with 500 retain images, −3.00 with all 4,500" in finding.text
    # A lead that is none cannot shrink.
    _plant(frames[0], "test_at_target", {"neggrad": 0.9}, 500)
    finding = _decide(6, _study(frames, [*experiments, *sweep]))
    assert finding.outcome == "not testable here"
    assert "−1.00 points with 500" in finding.text
    assert "there is no lead that could shrink" in finding.text


def test_claim_6_not_testable_without_the_full_retain_set():
    finding = _decide(6, _study(_good(_frames())))
    assert finding.outcome == "not testable here"
    assert "run the sweep F-SIZE up to the whole retain pool" in finding.text
    assert "300 MiB" in finding.text
    frames = _good(_frames())
    _plant(frames[1], "peak_bytes", {"orthograd": 1})
    assert _decide(6, _study(frames)).outcome == "not supported"  # the half that can be tested fails


def test_baselines_beside_an_ablation_do_not_count_twice(report_data):
    main, ablation = make_experiment(), make_experiment(id="T-ABL")
    study = Study(report_data, [main, ablation], {("fashion_mnist", "random_10"): 4500})
    alone = Study(report_data, [main], study.pools)
    for number in (1, 6):
        found, expected = ({c.number: f for c, f in decide(s)}[number] for s in (study, alone))
        assert found == expected
