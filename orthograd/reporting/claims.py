"""The claims of the paper, each with the test that decides it, the same whatever the data say.

Every test compares values seed by seed, in speech speaker by speaker. With n >= 5 seeds (or speakers) a difference
counts if its 95% t-interval lies on the claim's side of 0, with fewer if it has the claim's sign in all n, which is no
claim of significance and never called one.
The comparison is test accuracy at equal forgetting (`test_at_target`) and the gap to the retrained models (`gap`).
Baselines are all methods of an experiment that are no form of OrthoGrad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orthograd import methods
from orthograd.reporting.data import ExperimentData, ReportData, rows_of
from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, Experiment
from orthograd.reporting.findings import Difference, Finding, Outcome, joined, sample_text
from orthograd.reporting.speech.claims import KEPT, per_sample_over_mean, unlearns_a_speaker
from orthograd.reporting.speech.data import SpeechData
from orthograd.reporting.statistics import MIN_SEEDS_FOR_CLAIMS, interval, per_seed
from orthograd.reporting.text import estimate, listing, method_label, number

MEAN = "orthograd_mean"
MEANS = {
    MEAN: "the mean with parameters of its own",
    f"{MEAN}-same": "the mean at OrthoGrad's parameters",
}
"""The runs that project off the mean, and what each shows beside per-sample OrthoGrad."""
ASCENT = "neggrad"
SMALL = 0.5
"""A retain subset is small if it is at most this share of the retain pool."""


@dataclass(frozen=True)
class Study:
    """What the tests look at.

    Attributes:
        data: all runs of the report.
        experiments: of the report; those of a sweep share its id, one a size of the retain subset.
        pools: images in the retain pool, by dataset and scenario.
        speech: the speech experiments of the report.
    """

    data: ReportData
    experiments: Sequence[Experiment]
    pools: Mapping[tuple[str, str], int]
    speech: Sequence[SpeechData] = ()

    def named(self, identifier: str) -> list[Experiment]:
        """The experiments with an id, by size of the retain subset."""
        found = [experiment for experiment in self.experiments if experiment.id == identifier]
        return sorted(found, key=lambda experiment: experiment.retain_size)

    def pool(self, experiment: Experiment) -> int:
        """Images in the retain pool that an experiment draws from."""
        return self.pools[experiment.dataset, experiment.scenario]

    @property
    def images(self) -> list[Experiment]:
        """The experiments with a retain subset of the training data, without sweeps and illustrations."""
        return [
            experiment
            for experiment in self.experiments
            if experiment.id not in ("T-PROXY", "F-SIZE", "T-ASR", "T-DEV")
            and experiment.illustration is None
        ]

    @property
    def against_baselines(self) -> list[Experiment]:
        """Those without the ablation, whose baselines are runs of T-IMG-R and would count twice."""
        return [experiment for experiment in self.images if experiment.id != "T-ABL"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        number: as the project counts them.
        text: the claim.
        test: what decides it, in words.
        decide: the same as code.
    """

    number: int
    text: str
    test: str
    decide: Callable[[Study], Finding]


PROXY_COST = 2.0
"""Percentage points of gap that a proxy in place of the retain set may cost where it is said to work."""


def _baselines(experiment: Experiment) -> list[str]:
    return [method for method in experiment.methods if not method.startswith(ORTHOGRAD)]


def _values(data: ExperimentData, model: str, method: str, metric: str) -> pd.Series:
    return per_seed(rows_of(data.runs, model, method), metric)


def _reached(data: ExperimentData, model: str, method: str) -> bool:
    return bool(rows_of(data.runs, model, method)["target_reached"].all())


def _sides(
    data: ExperimentData, model: str, others: Sequence[str]
) -> tuple[list[Difference], list[Difference], list[str]]:
    """OrthoGrad against others: at equal forgetting, by gap, and who cannot be compared.

    By gap only those are compared that reached the target in every seed.
    """
    at_target, by_gap, without = [], [], []
    ours = _values(data, model, ORTHOGRAD, "test_at_target")
    for method in others:
        theirs = _values(data, model, method, "test_at_target")
        label = method_label(method)
        if theirs.isna().any():
            without.append(label)
        elif not ours.isna().any():
            at_target.append(Difference(label, 100 * (ours - theirs)))
        if _reached(data, model, method):
            gaps = _values(data, model, method, "gap") - _values(data, model, ORTHOGRAD, "gap")
            by_gap.append(Difference(label, 100 * gaps))
    return at_target, by_gap, without


def _beats(found: Sequence[Difference], what: str) -> str:
    """How many comparisons hold, and the closest of them all."""
    held = [difference for difference in found if difference.holds]
    worst = min(found, key=lambda difference: float(difference.values.mean()))
    return f"{what}: {len(held)} of {len(found)} baselines; the hardest is {worst.text}"


def _place(experiment: Experiment, model: str) -> str:
    several = len(experiment.models) > 1
    return f"{experiment.id}{f' ({model})' if several else ''}"


_NO_TARGET = "OrthoGrad did not reach the target in every seed"
_AT_ONCE = "OrthoGrad passed the target with the first step, so that it has no accuracy at equal forgetting"


def _against_baselines(study: Study, experiments: Sequence[Experiment]) -> Finding:
    """Whether OrthoGrad is above every baseline on both measures in every experiment and model."""
    texts, holds, testable = [], [], []
    seeds = 0
    for experiment in experiments:
        data = study.data.select(experiment)
        seeds = data.n
        for model in experiment.models:
            place = _place(experiment, model)
            at_target, by_gap, without = _sides(data, model, _baselines(experiment))
            if not _reached(data, model, ORTHOGRAD):
                texts.append(f"{place}: {_NO_TARGET}.")
                holds.append(False)
                testable.append(True)
                continue
            if not at_target or not by_gap:
                own = _values(data, model, ORTHOGRAD, "test_at_target").isna().any()
                reason = _AT_ONCE if own else "no baseline can be compared at equal forgetting"
                gaps = f"; {_beats(by_gap, 'smaller gap to retraining than')}" if by_gap else ""
                texts.append(f"{place}: {reason}{gaps}.")
                holds.append(all(difference.holds for difference in by_gap))
                testable.append(False)
                continue
            testable.append(True)
            holds.append(all(difference.holds for difference in (*at_target, *by_gap)))
            left_out = f" Without a test accuracy at the target: {listing(without)}." if without else ""
            texts.append(
                f"{place}, {experiment.retain_size:,} retain images: "
                f"{_beats(at_target, 'higher test accuracy at equal forgetting than')}; "
                f"{_beats(by_gap, 'smaller gap to retraining than')}.{left_out}"
            )
    text = " ".join([*texts, sample_text(seeds)])
    if not all(holds):
        return Finding("not supported", text)
    return Finding("supported" if all(testable) else "not testable here", text)


def _small_retain_set(study: Study) -> Finding:
    chosen = [e for e in study.against_baselines if e.retain_size <= SMALL * study.pool(e) and _baselines(e)]
    if not chosen:
        return Finding(
            "not testable here",
            "No experiment of this report has a small retain subset and a baseline; run T-IMG-R and T-IMG-C.",
        )
    return _against_baselines(study, chosen)


def _per_sample(study: Study) -> Finding:
    images = [
        (experiment, mean) for experiment in study.images for mean in MEANS if mean in experiment.methods
    ]
    speech = [
        (data, setting, mean)
        for data in study.speech
        for setting, names in data.experiment.methods.items()
        for mean in MEANS
        if mean in names
    ]
    if not images and not speech:
        return Finding(
            "not testable here",
            f"No experiment of this report has {method_label(MEAN)}; run T-ABL, or add {MEAN} to an experiment.",
        )
    texts: list[str] = []
    outcomes: list[bool | None] = []
    seeds = 0
    for experiment, mean in images:
        data = study.data.select(experiment)
        seeds = data.n
        for model in experiment.models:
            ours, theirs = (
                100 * _values(data, model, method, "test_at_target") for method in (ORTHOGRAD, mean)
            )
            place = f"{_place(experiment, model)}, against {MEANS[mean]}"
            if data.n < 2 or ours.isna().any() or theirs.isna().any():
                texts.append(f"{place}: no test accuracy at equal forgetting of both in two seeds or more.")
                outcomes.append(None)
                continue
            _, gaps, _ = _sides(data, model, [mean])
            better = Difference("per-sample minus mean at equal forgetting", ours - theirs)
            spread, other = float(ours.std(ddof=1)), float(theirs.std(ddof=1))
            outcomes.append(better.holds and all(gap.holds for gap in gaps) and spread < other)
            by_gap = "".join(f", gap of the mean minus that of per-sample {gap.points}" for gap in gaps)
            texts.append(
                f"{place}: {better.text}{by_gap}; standard deviation over seeds {number(spread, 2)} against "
                f"{number(other, 2)} points."
            )
    if images:
        texts.append(sample_text(seeds))
    for of_speech, setting, mean in speech:
        outcome, text = per_sample_over_mean(of_speech, setting, mean)
        outcomes.append(outcome)
        texts.append(f"Against {MEANS[mean]}, {text}")
    texts.append("Of the spreads no significance is claimed.")
    return Finding(joined(outcomes), " ".join(texts))


def _reads_retain(run: str) -> bool:
    name = run if run in methods.names() else run.rpartition("-")[0]
    return name in methods.names() and "retain" in methods.load(name).reads


def _slopes(sizes: Sequence[int], values: Sequence[pd.Series]) -> pd.Series:
    """Per seed the slope of the least-squares line through the values against log2 of the size."""
    table = pd.concat(list(values), axis=1)
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    x -= x.mean()
    return pd.Series(table.to_numpy() @ x / (x @ x), index=table.index)


def _less_dependent(study: Study) -> Finding:
    sweep = study.named("F-SIZE")
    sizes = sorted({experiment.retain_size for experiment in sweep})
    if len(sizes) < 3:
        return Finding(
            "not testable here",
            f"The report has {len(sizes)} size{'' if len(sizes) == 1 else 's'} of the retain subset "
            "in F-SIZE; run the "
            "sweep F-SIZE over at least 3.",
        )
    model = sweep[0].models[0]
    selections = [study.data.select(experiment) for experiment in sweep]
    readers = [method for method in _baselines(sweep[0]) if _reads_retain(method)]
    found: list[Difference] = []
    own: list[str] = []
    without: list[str] = []
    for metric, words, reason in (
        ("test_at_target", "at equal forgetting", "without a value in some seed and size"),
        ("gap", "by gap", "target missed in some seed and size"),
    ):
        slopes: dict[str, pd.Series] = {}
        for method in (ORTHOGRAD, *readers):
            values = [100 * _values(data, model, method, metric) for data in selections]
            # A run that missed its target has a gap, but at another forgetting.
            reached = metric != "gap" or all(_reached(data, model, method) for data in selections)
            if reached and not any(value.isna().any() for value in values):
                slope = _slopes([experiment.retain_size for experiment in sweep], values)
                # Not |slope| seed by seed, whose mean is above 0 for noise alone.
                slopes[method] = slope * np.sign(slope.mean())
                if method == ORTHOGRAD:
                    own.append(f"{estimate(interval(slope), 1, 2)} points ({words})")
        missing = [method_label(method) for method in (ORTHOGRAD, *readers) if method not in slopes]
        if missing:
            without.append(f"{words} ({reason}) {listing(missing)}")
        ours = slopes.pop(ORTHOGRAD, None)
        if ours is None:
            continue
        found += [
            Difference(f"{method_label(method)}, {words}:", theirs - ours)
            for method, theirs in slopes.items()
        ]
    if not found:
        return Finding(
            "not testable here",
            "No baseline that reads retain images has values in every seed at every size beside "
            "OrthoGrad; let the runs "
            "of F-SIZE reach the target.",
        )
    texts = [
        f"F-SIZE, {listing([f'{size:,}' for size in sizes])} retain images. Change a doubling of the retain subset "
        f"of OrthoGrad: {listing(own)}. That of a baseline minus it, each turned so that its mean over seeds is above "
        "0: "
        f"{'; '.join(difference.text for difference in found)}."
    ]
    if without:
        texts.append(f"Not compared: {'; '.join(without)}.")
    texts.append(sample_text(selections[0].n))
    outcomes: list[bool | None] = [difference.holds for difference in found]
    return Finding(joined([*outcomes, *([None] if without else [])]), " ".join(texts))


def _proxy(study: Study) -> Finding:
    chosen = study.named("T-PROXY")
    if not chosen:
        return Finding("not testable here", "The report has no experiment with a proxy; run T-PROXY.")
    texts: list[str] = []
    outcomes: list[bool | None] = []
    seeds = 0
    for experiment in chosen:
        data = study.data.select(experiment)
        seeds = data.n
        for model in experiment.models:
            place = _place(experiment, model)
            reached = int(rows_of(data.runs, model, ORTHOGRAD)["target_reached"].sum())
            doing_nothing = _values(data, model, ORIGINAL, "gap") - _values(data, model, ORTHOGRAD, "gap")
            closer = Difference("gap of the original model minus OrthoGrad's", 100 * doing_nothing)
            parts = [f"target reached in {reached} of {data.n} seeds", closer.text]
            holds: list[bool | None] = [reached == data.n, closer.holds]
            with_images = _with_retain_images(study, experiment, model)
            if with_images is not None:
                name, other = with_images
                gaps = 100 * _values(other, model, ORTHOGRAD, "gap")
                cost = 100 * _values(data, model, ORTHOGRAD, "gap") - gaps
                words = f"gap with the proxy minus that with as many retain images ({name})"
                if _reached(other, model, ORTHOGRAD):
                    holds.append(Difference("", PROXY_COST - cost).holds)
                    parts.append(f"{words} {estimate(interval(cost), 1, 2)} points")
                else:
                    holds.append(None)
                    parts.append(f"{words}: not compared, as the latter misses the target in some seed")
                if (
                    not closer.holds
                    and not Difference("", 100 * _values(other, model, ORIGINAL, "gap") - gaps).holds
                ):
                    holds[1] = None
                    parts.append(
                        "with retain images too OrthoGrad ends no closer than the original model, so that this says "
                        "nothing of the proxy"
                    )
            if ASCENT in experiment.methods:
                above, _, without = _sides(data, model, [ASCENT])
                holds += [difference.holds for difference in above]
                parts += [
                    f"test accuracy at equal forgetting minus that of {difference.text}"
                    for difference in above
                ]
                if not above and not without:
                    holds.append(None)
                    parts.append(
                        f"not compared with {method_label(ASCENT)}: "
                        f"{_AT_ONCE if reached == data.n else _NO_TARGET}"
                    )
            outcomes += holds
            texts.append(f"{place}: {'; '.join(parts)}.")
    return Finding(joined(outcomes), " ".join([*texts, sample_text(seeds)]))


def _with_retain_images(study: Study, proxy: Experiment, model: str) -> tuple[str, ExperimentData] | None:
    """The id and the data of the first experiment that differs by having retain images; None: there is none."""
    alike = ("dataset", "scenario", "retain_size")
    for experiment in study.images:
        if model in experiment.models and all(
            getattr(experiment, key) == getattr(proxy, key) for key in alike
        ):
            return experiment.id, study.data.select(experiment)
    return None


def _speech(study: Study) -> Finding:
    return unlearns_a_speaker(study.speech)


def _retain_free(study: Study, like: Experiment, model: str) -> dict[str, pd.Series]:
    """Baselines that read no retain image, at equal forgetting: one run of theirs stands for every size."""
    return {
        method: _values(study.data.select(experiment), model, method, "test_at_target")
        for experiment in study.images
        if model in experiment.models
        and (experiment.dataset, experiment.scenario) == (like.dataset, like.scenario)
        for method in _baselines(experiment)
        if not _reads_retain(method)
    }


def _advantage(study: Study) -> tuple[Outcome, str]:
    """Whether OrthoGrad's lead over the best baseline is smaller with the full retain set than with the smallest."""
    sweep = study.named("F-SIZE")
    if len(sweep) < 2 or sweep[-1].retain_size < study.pool(sweep[-1]):
        return "not testable here", (
            "Advantage: no runs with the full retain set; run the sweep F-SIZE up to the whole retain pool."
        )
    model = sweep[0].models[0]
    free = _retain_free(study, sweep[0], model)
    ends = [
        free
        | {
            method: _values(data, model, method, "test_at_target")
            for method in (ORTHOGRAD, *_baselines(sweep[0]))
        }
        for data in (study.data.select(experiment) for experiment in (sweep[0], sweep[-1]))
    ]
    # The best of other baselines at each end would be a difference between baselines.
    defined = [method for method in ends[0] if all(end[method].notna().all() for end in ends)]
    baselines = [method for method in defined if method != ORTHOGRAD]
    if not baselines or ORTHOGRAD not in defined:
        return "not testable here", (
            "Advantage: not every seed has a test accuracy at equal forgetting of OrthoGrad and of the same baseline "
            "with the smallest retain subset and with the full one."
        )
    leads = [
        100 * (end[ORTHOGRAD] - pd.concat([end[method] for method in baselines], axis=1).max(axis=1))
        for end in ends
    ]
    shrinks = Difference(
        "lead with the smallest retain subset minus lead with the full one", leads[0] - leads[1]
    )
    text = (
        f"Advantage at equal forgetting over the best baseline of each seed, among those defined at both ends "
        f"({listing([method_label(method) for method in baselines])}): "
        f"{number(float(leads[0].mean()), 2)} points with {sweep[0].retain_size:,} retain images, "
        f"{number(float(leads[1].mean()), 2)} with all {sweep[-1].retain_size:,}; {shrinks.text}."
    )
    if not Difference("", leads[0]).holds:
        return "not testable here", f"{text} With the smallest subset there is no lead that could shrink."
    return ("supported" if shrinks.holds else "not supported"), text


def _memory(study: Study) -> tuple[bool, str] | None:
    """Whether OrthoGrad takes more peak memory than every baseline; None without a baseline."""
    texts, holds = [], []
    for experiment in study.against_baselines:
        data = study.data.select(experiment)
        for model in experiment.models:
            ours = per_seed(rows_of(data.costs, model, ORTHOGRAD), "peak_bytes") / 2**20
            found = [
                Difference(
                    method_label(method),
                    ours - per_seed(rows_of(data.costs, model, method), "peak_bytes") / 2**20,
                )
                for method in _baselines(experiment)
            ]
            if not found:
                continue
            holds.append(all(difference.holds for difference in found))
            largest = min(found, key=lambda difference: float(difference.values.mean()))
            texts.append(
                f"{_place(experiment, model)}: {number(float(ours.mean()), 0)} MiB, more than "
                f"{sum(difference.holds for difference in found)} of {len(found)} baselines, of which "
                f"{largest.label} takes most, {number(float((ours - largest.values).mean()), 0)} MiB"
            )
    return (all(holds), f"Peak memory: {'; '.join(texts)}.") if holds else None


def _limitation(study: Study) -> Finding:
    outcome, text = _advantage(study)
    memory = _memory(study)
    if memory is None:
        return Finding("not testable here", f"{text} Peak memory: no baseline to compare with.")
    more, memory_text = memory
    n = study.data.runs["seed"].nunique()
    prose = f"{text} {memory_text} {sample_text(n)}"
    if outcome == "not supported" or not more:
        return Finding("not supported", prose)
    return Finding(outcome, prose)


_RULE = (
    f"counts with n >= {MIN_SEEDS_FOR_CLAIMS} seeds if the 95% t-interval of the paired differences "
    "excludes 0, with fewer "
    "if the sign is the same in all seeds"
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "With a small retain set OrthoGrad keeps test performance better than the baselines, at equal forgetting.",
        "In every image experiment whose retain subset is at most half of the retain pool, and for "
        "every model, OrthoGrad "
        "has a higher test accuracy at equal forgetting than every baseline that has one, and a "
        "smaller gap to retraining "
        f"than every baseline that reached the target in all seeds. A difference {_RULE}.",
        _small_retain_set,
    ),
    Claim(
        2,
        "Per-sample projection beats projection off the mean retain gradient, and varies less.",
        "In every experiment that has both, against the mean with parameters of its own and against the mean at "
        "OrthoGrad's parameters, whichever it has, per-sample OrthoGrad has the higher test accuracy at "
        "equal forgetting and the "
        f"smaller gap (each {_RULE}), and the smaller standard deviation of that accuracy over seeds. In speech, "
        "in every setting that has both, it has the lower test word error rate at the highest listed forget word error "
        "rate to which both come in every run, or else at the targets, by the same rule over speakers, and the smaller "
        "standard deviation of it over speakers.",
        _per_sample,
    ),
    Claim(
        3,
        "OrthoGrad depends less on the size of the retain set than the baselines.",
        "Over at least 3 sizes in F-SIZE, the change of test accuracy at equal forgetting, and of "
        "the gap, for a doubling "
        "of the retain subset (slope against log2 of the size, turned so that the mean over seeds is above 0) is "
        "smaller for OrthoGrad "
        "than for every baseline "
        "that reads retain images at all; the gap counts where both reached the target in every seed at every size. "
        "While one of them cannot be compared the claim is not testable, if none of the others speaks against it. "
        f"A difference {_RULE}.",
        _less_dependent,
    ),
    Claim(
        4,
        "OrthoGrad works with a proxy in place of the retain set.",
        "In T-PROXY OrthoGrad reaches the target in every seed, ends closer to the retrained models than the original "
        "model is (not testable where it does not with retain images either), with a gap that is larger by less than "
        f"{PROXY_COST:g} percentage points than with as many retain images (where the report has such an experiment; "
        "the limit is ours; not testable where OrthoGrad misses the target there), "
        "and has a higher test accuracy at equal forgetting than NegGrad, which needs no retain "
        f"data (where NegGrad has one; not testable where OrthoGrad has none). A difference {_RULE}.",
        _proxy,
    ),
    Claim(
        5,
        "OrthoGrad unlearns a speaker and keeps the word error rate of the others.",
        "In every setting of every speech experiment OrthoGrad reaches its target in every run, the word error rate on "
        "the speaker's held-out utterances rises above the original model's, and that of the test speakers and of the "
        f"retain speakers rises by less than {KEPT:g} percentage points. A difference {_RULE}, here over speakers.",
        _speech,
    ),
    Claim(
        6,
        "Limitation: the advantage shrinks when the full retain set is there, and OrthoGrad costs more memory.",
        "In F-SIZE OrthoGrad leads in test accuracy at equal forgetting with the smallest subset (without a lead "
        "there this half is not testable), over the best baseline of a seed, of those that have one at both ends; a "
        "baseline that reads no retain image has the same one at every size. The lead is smaller with the whole "
        "retain pool; and in every image experiment OrthoGrad takes "
        "more peak memory, measured up to the first check of a run, than "
        f"every baseline. A difference {_RULE}.",
        _limitation,
    ),
)


def decide(study: Study) -> list[tuple[Claim, Finding]]:
    """Every claim with how its test came out."""
    return [(claim, claim.decide(study)) for claim in CLAIMS]
