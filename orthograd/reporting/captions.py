"""What stands under each table and figure: n, what ± is, units, scenario, substitutions."""

from dataclasses import dataclass

import pandas as pd

from orthograd.metrics.resolution import MIN_SEEDS_FOR_EQUIVALENCE
from orthograd.metrics.retraining import GAP_SETS
from orthograd.reporting.choices import TARGETS, compared, leads, obstacle, target_leads, turned
from orthograd.reporting.data import ExperimentData
from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, RETRAINED
from orthograd.reporting.ranking import significance_text
from orthograd.reporting.statistics import MIN_SEEDS_FOR_CLAIMS, noise_floor, resolved_half_widths
from orthograd.reporting.text import listing, method_label, number, seeds_text

_KINDS = {
    "random": "random forgetting (the forget set is a random part of the training data)",
    "class": "class forgetting (the forget set is one class of the training data)",
}


_AT_TARGET = (
    "Test at target: test accuracy at equal forgetting, interpolated between the last check above the "
    "target and the first one at or below it; – where a seed has none (target not reached, or passed with the "
    "first step or round)."
)


@dataclass(frozen=True)
class Caption:
    """Title and setting are shared by all tables and figures of an experiment, ``notes`` belongs to one."""

    title: str
    setting: str
    notes: str

    @property
    def text(self) -> str:
        """The whole caption, for a file that stands alone."""
        return f"{self.title}. {self.setting} {self.notes}"


def accuracy(data: ExperimentData) -> Caption:
    """Caption of the accuracy table."""
    return Caption(
        data.experiment.title,
        _setting(data),
        f"Accuracy in percent. {_AT_TARGET} UIS is a ratio (lower is better). |Δ|: distance of an accuracy "
        "to that of the retrained models, in percentage points (lower is better); gap: mean of |Δ| over "
        f"forget, retain and test; {floor_text(data)}. {_spread(data)} Target: runs that reached the forget target / "
        "all runs. Rank: by mean gap, among the methods that reached the target in every seed; others are "
        f"not ranked (–). {_equivalent_to_retrained(data)}{_published(data)}{_unmoved(data)}{_diverged(data)}"
        "Elsewhere – means not defined. "
        + _claims(
            data,
            "smallest mean gap, where that of each other ranked method is larger by an interval, paired by seed, "
            "that excludes 0",
        ),
    )


_TOST = "by two one-sided t-tests at 5%"
_MARGIN = (
    "This margin is itself an estimate from the retrained models, and no correction is made for the number of cells: "
    "a few cells may be marked by chance."
)


def _equivalent_to_retrained(data: ExperimentData) -> str:
    if not _tests_equivalence(data):
        return ""
    return (
        f"≡: equivalent to the retrained models, {_TOST} on the signed differences, within the |Δ| of the row "
        f"Retrained (not tested where that is 0). {_MARGIN} "
    )


def _equivalent_to_each_other(data: ExperimentData) -> str:
    if not _tests_equivalence(data):
        return ""
    columns = {name: f"gap_{name}" for name in GAP_SETS} | {"gap": "gap"}
    margins = []
    for model in data.experiment.models:
        values = [f"{name} {number(100 * noise_floor(data, model, key), 2)}" for name, key in columns.items()]
        margins.append((f"{model}: " if len(data.experiment.models) > 1 else "") + listing(values))
    return (
        f"≡ (in place of ≈): the two methods are equivalent, {_TOST}, within the noise floor, which is how far "
        f"retrained models of a seed are from each other ({'; '.join(margins)} percentage points; at the target that "
        f"of test; not tested: the other columns, and any whose noise floor is 0). {_MARGIN} "
    )


def _tests_equivalence(data: ExperimentData) -> bool:
    """Whether there are enough seeds, and retrained models for a margin."""
    return data.n >= MIN_SEEDS_FOR_EQUIVALENCE and data.replicates[0] > 1


def floor_text(data: ExperimentData) -> str:
    """What the gap in the row Retrained is."""
    if data.replicates[1] > 1:
        return "in the row Retrained it is measured between the references of one seed (noise floor)"
    return "the row Retrained has none, since a noise floor needs two references a seed"


def _counted(words: str, runs: pd.DataFrame) -> str:
    """The words, and how many of the runs each method has; empty where there are none."""
    counts = runs.groupby("method", sort=False).size()
    if counts.empty:
        return ""
    named = listing([f"{method_label(str(method))} ({count})" for method, count in counts.items()])
    return f"{words}: {named}. "


def _diverged(data: ExperimentData) -> str:
    return _counted(
        "Runs whose weights or outputs were not finite in the end count as 'target not reached', and all "
        "their predictions that are not finite as wrong",
        data.runs[data.runs["diverged"]],
    )


def _published(data: ExperimentData) -> str:
    if not data.experiment.published:
        return ""
    return (
        "Published: the published default parameters, run by the method's own rule to its own end whether "
        "or not the target was reached; not ranked. Batch normalisation keeps the original model's statistics, as in "
        "every run here; the published training may have updated them. "
    )


def _unmoved(data: ExperimentData) -> str:
    unlearned = ~data.runs["method"].isin((ORIGINAL, RETRAINED))
    still = data.runs["weight_distance_original"] == 0
    return _counted("Runs that left every weight as it was", data.runs[unlearned & still])


def paired(data: ExperimentData) -> Caption:
    """Caption of the table of paired differences."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "OrthoGrad minus each other method, paired by seed: accuracies, gap and |Δ| in percentage points, "
        "UIS as a ratio. Negative is better for UIS, gap and |Δ|, positive for retain accuracy and "
        "test accuracy, also at the target; the others have no better side. "
        f"{_AT_TARGET} {_spread(data)} ≈: the difference is below the smallest true one "
        "that this many seeds would find (power 80%, two-sided 5%), given how it varies between them, and so not "
        f"resolved, even if its interval excludes 0{_smallest(data)}. Resolvable gap: that smallest difference, of the "
        f"gaps. {_equivalent_to_each_other(data)}Both reached: seeds in which both methods reached the target; in the "
        "others they are compared at unequal forgetting. "
        + _claims(
            data,
            "OrthoGrad is better, the interval excludes 0, the difference is resolved, and both methods reached the "
            "target in every seed",
        ),
    )


def _smallest(data: ExperimentData) -> str:
    if data.n < 2:
        return "; one seed resolves none, and none is marked"
    return f"; in each column it is {number(resolved_half_widths(data.n), 2)} times the half-width shown"


_ATTACKED = {
    "random": "Members: the forget set; unseen: test images. Attacks that need fitting are fitted on "
    "retain against validation images.",
    "class": "Members: the forget set; unseen: test images of the forgotten class. Thresholds are fitted "
    "on one half of both and judged on the other; the SVC is fitted on retain against validation images "
    "of the other classes.",
}


_INTERVALS = "95% interval over samples (of an AUC DeLong's, of a share Clopper and Pearson's)"
_OVER_SAMPLES = {
    True: f"Brackets, where a row is a single model: its {_INTERVALS}.",
    False: f"Each single model's {_INTERVALS} stands in runs.csv.",
}


def membership(data: ExperimentData) -> Caption:
    """Caption of the table of membership inference attacks, with the reasons for doubt."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "Membership inference: can the forget set be told from images that were never seen? "
        f"{_ATTACKED[data.kind]} Population: logistic regression on the loss, cross-validated, on equally "
        "many of both. Low loss: share of pairs in which the forgotten image has the lower loss; below "
        "0.5 the model over-unlearned; TPR, at a false-positive rate of 1% (where there are 1,000 unseen images "
        "or more): percent of the forget set below the loss that 1% of the unseen images are below; chance, and "
        "ideal: 1%. "
        "Confidence, entropy, modified entropy (Song & Mittal 2021): a threshold for each class, accuracy in "
        "percent. SVC: on the confidence in the true class. Chance, and ideal: 0.5 and 50%; for SVC, "
        "non-members (percent of the forget set that it calls so) the ideal is the row Retrained. Average gap: "
        "mean |Δ| over forget, retain, test accuracy and that share, in percentage points. "
        f"{_spread(data)} {_OVER_SAMPLES[data.n == 1]} "
        "Controls: each attack has to catch the original model, to catch a fake that only "
        "changes the arg-max on the forget set, and to be at chance on the retrained models (95% intervals over "
        "samples, for the retrained models of all seeds together). "
        f"{_doubts(data)} {_claims(data, None)}",
    )


def _doubts(data: ExperimentData) -> str:
    failed = data.controls[~data.controls["passed"]]
    if failed.empty:
        return "All attacks passed in every seed."
    reasons = []
    for attack, rows in failed.groupby("attack", sort=False):
        originals = f"{len(rows)} of {len(data.controls[data.controls['attack'] == attack])}"
        reasons.append(
            f"{str(attack).replace('_', ' ')} (with {originals} original models; seed {rows['seed'].iloc[0]}: "
            f"{rows['reason'].iloc[0]})"
        )
    return f"†: not to be believed here, as the attack failed a control: {'; '.join(reasons)}."


def closeness(data: ExperimentData) -> Caption:
    """Caption of the table of closeness to the retrained models."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "ToW: product of 1 − |Δ| over forget, retain and test (1 is retraining). AUS: accuracy kept over "
        "what is left to forget (DUCK; higher is better). KL (retrained model first) and JS: divergence "
        "of the outputs from those of a retrained model, in nats; agreement: equal predictions, in "
        "percent; distance of outputs: mean L2 distance of the softmax outputs. Each is the mean over the "
        "retrained references of the seed; the row Retrained is what they are to each other, the level "
        "beyond which no method can be told from them. Weights: L2 distance, relative to the other's norm; models "
        "that were initialised apart are far apart, whatever they compute. Relearning: steps of plain SGD until the "
        "forget set is learnt again, settings in the config; – where a seed's model has not learnt it at their end. "
        f"{_spread(data)} {_claims(data, None)}",
    )


def per_class(data: ExperimentData) -> Caption:
    """Caption of the table of accuracies class by class."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "Test accuracy class by class, in percent; lowest, median and highest: over the classes of each run, then "
        f"averaged. Empty for runs whose outputs were not finite. {_spread(data)} {_claims(data, None)}",
    )


def cost(data: ExperimentData) -> Caption:
    """Caption of the cost table."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "Wall-clock seconds of unlearning (of training in the rows Original and Retrained), peak memory "
        "above the start in MiB, of unlearning up to the first check (what a method first does later, as SCRUB's "
        "repair may be, is not in it; of all of training in the rows Original and Retrained), samples passed forward "
        "and backward, RTE = time to retrain / time of the "
        f"method (higher is cheaper). {_spread(data)} Times depend on the machine. {_claims(data, None)}",
    )


def equal_forgetting(data: ExperimentData, without: list[str], incomplete: list[str]) -> Caption:
    """Caption of the figure of test accuracies at equal forgetting.

    Args:
        data: the experiment.
        without: methods that have none.
        incomplete: methods that have none in some seeds.
    """
    notes = (
        "Test accuracy in percent at the moment at which the forget accuracy is the target, interpolated "
        f"between the checks on both sides. One marker a seed ({seeds_text(data.n)}), bar: their mean. "
        f"Shaded: range of the test accuracy of all retrained models ({_references(data)}); dotted: mean "
        "of the original models. The axis spans what is shown, it does not start at 0."
    )
    if without:
        notes += (
            " Not shown, as no seed has such a moment (the target was not reached, or passed with the first step or "
            f"round): {listing([method_label(method) for method in without])}."
        )
    if incomplete:
        notes += (
            " Without a mean, since some seeds have no such moment (at the right: in how many there is one; the others "
            f"may be the harder ones): {listing([method_label(method) for method in incomplete])}."
        )
    return Caption(data.experiment.title, _setting(data), notes)


def choices(data: ExperimentData) -> Caption:
    """Caption of the figure of the forms of OrthoGrad, with those that turn the comparison."""
    sentences: list[str] = []
    for model in data.experiment.models:
        of_model = f" ({model})" if len(data.experiment.models) > 1 else ""
        for column, words in (("test_at_target", "At equal forgetting"), ("gap", "By gap")):
            found = leads(data, model, column)
            if found:
                baselines = listing([method_label(run) for run in compared(data, model, column)])
                sentences.append(f"{words}{of_model} the best one is among {baselines}.")
            if column == "test_at_target" and found:
                others = target_leads(data, model)
                found += others
                sentences += [
                    f"{lead.label}{of_model}, is beside the best of "
                    f"{listing([method_label(run) for run in lead.baselines])}."
                    for lead in others
                ]
            if not found:
                sentences.append(f"{words}{of_model} {obstacle(data, model, column)}.")
            elif found[0].method != ORTHOGRAD:
                sentences.append(f"{words}{of_model} OrthoGrad itself cannot be compared.")
            elif turned(found):
                sentences.append(
                    f"{words}{of_model} the sign of the mean is another one for {listing(turned(found))}."
                )
            elif len(found) > 1:
                sentences.append(f"{words}{of_model} no other form changes the sign of the mean.")
    return Caption(
        data.experiment.title,
        _setting(data),
        "How far each form of OrthoGrad is ahead of the best baseline of the same seed, in percentage points: right "
        f"of 0 it is better. One marker a seed ({seeds_text(data.n)}), bar: their mean. Left: test accuracy at equal "
        "forgetting, of runs that have one in every seed; right: gap to the retrained models, of runs that reached "
        "the target in every seed. Target ±: OrthoGrad as it is, at a forget accuracy as many percentage points "
        f"({listing([f'{100 * shift:+g}'.replace('-', '−') for shift in TARGETS])}) from the target, of runs that came "
        "by it and by the target in every seed; interpolated between the checks at which the test accuracy was "
        "recorded, which lie far apart. The best of several baselines is chosen after the fact, seed by seed, in their "
        "favour; an experiment with more of them, or with harder ones, may show another sign. "
        f"{' '.join(sentences)} {_claims(data, None)}",
    )


def tradeoff(data: ExperimentData) -> Caption:
    """Caption of the trade-off figure."""
    return Caption(
        data.experiment.title,
        _setting(data),
        f"Test accuracy against forget accuracy, in percent. One marker a seed ({seeds_text(data.n)}); "
        "hollow: the run did not reach its target. Faint lines: the way from the original model to the "
        f"final one. Shaded: range over all retrained models (crosses; {_references(data)}), the zone to "
        "end in, drawn at least 4% of the axis wide and high. The axes span all final models; ways that "
        "leave them are cut.",
    )


def trajectories(data: ExperimentData, without_steps: list[str]) -> Caption:
    """Caption of the trajectories figure; ``without_steps`` names the methods that have no panel."""
    notes = (
        f"Accuracy in percent against the unlearning step, one thin line a seed ({seeds_text(data.n)}); lines join "
        "what was measured, test accuracy at fewer steps than forget accuracy. "
        "Dotted: the forget accuracy at which the run of a seed stops; circle: where it stopped, behind "
        "it the method went on for the curve alone. Shaded: range of the test accuracy of all retrained "
        f"models ({_references(data)}). A fall of all curves to 0: outputs that are no longer finite."
    )
    if without_steps:
        methods = listing([method_label(method) for method in without_steps])
        notes += f" No panel, as there are no steps to show: {methods}."
    return Caption(data.experiment.title, _setting(data), notes)


def g_effect(data: ExperimentData) -> Caption:
    """Caption of the figure with the G-effect along the runs."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "G-effect ⟨∇R, Δθ⟩ (arXiv:2502.19301, here with the sign of the risk's change): what an update did to "
        "the mean cross-entropy R, in nats, to first order, the mean over the updates since the last check. "
        "Left: on the forget set, where above 0 is "
        "forgetting; right: on images of the retain subset, where 0 is ideal and above 0 is harm. One marker a "
        f"measurement and seed ({seeds_text(data.n)}), lines through those of a seed; measured where test "
        "accuracy is, up to the unlearned model. Of a method of one step it is the whole change; that, and any "
        "other long step, the first order need not describe, not even by its sign. Runs at published defaults are "
        "not shown. The axes are linear around 0 and logarithmic beyond.",
    )


def orthogonality(data: ExperimentData) -> Caption:
    """Caption of the figure of what the projection did."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "What the projection did in the steps after which a run was checked, up to the unlearned model, one "
        f"thin line a seed ({seeds_text(data.n)}; markers to tell methods apart, not at every check), for the methods "
        "that project off per-sample gradients or their mean and say so. Rank: of the span of the batch's retain "
        "gradients, at most their number (per tensor: the sum over tensors). Part removed: of "
        "the length of the forget gradient. Condition number (logarithmic): of the retain gradients at unit "
        "length; the mean is a single one, of condition number 1.",
    )


def _references(data: ExperimentData) -> str:
    fewest, most = data.replicates
    count = str(fewest) if fewest == most else f"{fewest} to {most}"
    return f"{count} retrained reference{'' if most == 1 else 's'} a seed"


def _spread(data: ExperimentData) -> str:
    if data.n == 1:
        return f"One seed (n = 1): no interval over seeds is shown; {_references(data)}, averaged."
    return (
        f"Mean ± half-width of the 95% t-interval over {seeds_text(data.n)} (seed: split, original model "
        f"and unlearning run); {_references(data)}, averaged within the seed first."
    )


def _claims(data: ExperimentData, bold: str | None) -> str:
    if data.n < MIN_SEEDS_FOR_CLAIMS or bold is None:
        return f"{significance_text(data.n)}; nothing is set in bold."
    return f"{significance_text(data.n)}. Bold: {bold}."


def _setting(data: ExperimentData) -> str:
    experiment = data.experiment
    retain = (
        "retain subset"
        if experiment.proxy is None
        else f"a proxy ({experiment.proxy}) in place of the retain set,"
    )
    text = (
        f"Dataset {experiment.dataset}, model {listing(experiment.models)}, scenario "
        f"{experiment.scenario}: {_KINDS[data.kind]}; {retain} of {experiment.retain_size:,} samples."
    )
    if experiment.illustration is not None:
        text += f" Illustration, by which no claim is decided: {experiment.illustration}."
    if experiment.substitutions:
        text += f" Substitutions: {'; '.join(experiment.substitutions)}."
    return text
