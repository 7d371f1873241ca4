"""What stands under each table and figure: n, what ± is, units, scenario, substitutions."""

from dataclasses import dataclass

from orthograd.reporting.data import ExperimentData
from orthograd.reporting.ranking import significance_text
from orthograd.reporting.statistics import MIN_SEEDS_FOR_CLAIMS
from orthograd.reporting.text import listing, method_label, seeds_text

_KINDS = {
    "random": "random forgetting (the forget set is a random part of the training data)",
    "class": "class forgetting (the forget set is one class of the training data)",
}


_AT_TARGET = (
    "Test at target: test accuracy at equal forgetting, interpolated between the last check above the target and the "
    "first one at or below it; – where a seed has none (target not reached, or at once by the first update)."
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
    floor = (
        "in the row Retrained it is measured between the references of one seed (noise floor)"
        if data.replicates[1] > 1
        else "the row Retrained has none, since a noise floor needs two references a seed"
    )
    return Caption(
        data.experiment.title,
        _setting(data),
        f"Accuracy in percent. {_AT_TARGET} UIS is a ratio (lower is better). "
        "|Δ|: distance of an accuracy to that of the retrained models, in percentage "
        "points (lower is better); gap: mean of |Δ| over forget, retain and "
        f"test; {floor}. {_spread(data)} Target: runs that reached the forget target / all runs. Rank: by "
        "mean gap, among the methods that reached the target in every seed; others are not ranked (–). "
        f"{_published(data)}"
        f"Elsewhere – means not defined. {_claims(data, 'smallest mean gap among the ranked methods')}",
    )


def _published(data: ExperimentData) -> str:
    if not data.experiment.published:
        return ""
    return (
        "Published: the published default parameters, run by the method's own rule to its own end whether or not "
        "the target was reached; not ranked. "
    )


def paired(data: ExperimentData) -> Caption:
    """Caption of the table of paired differences."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "OrthoGrad minus each other method, paired by seed: accuracies, gap and |Δ| in percentage points, "
        "UIS as a ratio. Negative is better for UIS, gap and |Δ|, positive for retain and test accuracy. "
        f"{_AT_TARGET} {_spread(data)} "
        "Both reached: seeds in which both methods reached the target; in the others they "
        f"are compared at unequal forgetting. {_claims(data, 'the interval excludes 0')}",
    )


def cost(data: ExperimentData) -> Caption:
    """Caption of the cost table."""
    return Caption(
        data.experiment.title,
        _setting(data),
        "Wall-clock seconds of unlearning (of training in the rows Original and Retrained), peak memory "
        "above the start in MiB, samples passed forward and backward, RTE = time to retrain / time of the "
        f"method (higher is cheaper). {_spread(data)} Times depend on the machine. {_claims(data, None)}",
    )


def equal_forgetting(data: ExperimentData, without: list[str]) -> Caption:
    """Caption of the figure of test accuracies at equal forgetting; ``without`` names the methods that have none."""
    notes = (
        "Test accuracy in percent at the moment at which the forget accuracy is the target, interpolated between the "
        f"checks on both sides. One marker a seed ({seeds_text(data.n)}), bar: their mean. Shaded: range of the test "
        f"accuracy of all retrained models ({_references(data)}); dotted: mean of the original models. The axis spans "
        "what is shown, it does not start at 0."
    )
    if without:
        notes += (
            " Not shown, as a seed did not reach the target or passed it with the first update: "
            f"{listing([method_label(method) for method in without])}."
        )
    return Caption(data.experiment.title, _setting(data), notes)


def tradeoff(data: ExperimentData) -> Caption:
    """Caption of the trade-off figure."""
    return Caption(
        data.experiment.title,
        _setting(data),
        f"Test accuracy against forget accuracy, in percent. One marker a seed ({seeds_text(data.n)}); "
        "hollow: the run did not reach its target. Faint lines: the way from the original model to the final "
        f"one. Shaded: range over all retrained models (crosses; {_references(data)}), the zone to end in, "
        "drawn at least 4% of the axis wide and high. The axes span all final models; "
        "ways that leave them are cut.",
    )


def trajectories(data: ExperimentData, without_steps: list[str]) -> Caption:
    """Caption of the trajectories figure; ``without_steps`` names the methods that have no panel."""
    notes = (
        f"Accuracy in percent against the unlearning step, one thin line a seed ({seeds_text(data.n)}). "
        "Dotted: the forget accuracy at which the run of a seed stops; circle: where it stopped, behind it the method "
        "went on for the curve alone. Shaded: range of the test accuracy "
        f"of all retrained models ({_references(data)})."
    )
    if without_steps:
        methods = listing([method_label(method) for method in without_steps])
        notes += f" No panel, as there are no steps to show: {methods}."
    return Caption(data.experiment.title, _setting(data), notes)


def _references(data: ExperimentData) -> str:
    fewest, most = data.replicates
    count = str(fewest) if fewest == most else f"{fewest} to {most}"
    return f"{count} retrained reference{'' if most == 1 else 's'} a seed"


def _spread(data: ExperimentData) -> str:
    if data.n == 1:
        return f"One seed (n = 1): no interval is shown; {_references(data)}, averaged."
    return (
        f"Mean ± half-width of the 95% t-interval over {seeds_text(data.n)} (seed: split, original model and "
        f"unlearning run); {_references(data)}, averaged within the seed first."
    )


def _claims(data: ExperimentData, bold: str | None) -> str:
    if data.n < MIN_SEEDS_FOR_CLAIMS or bold is None:
        return f"{significance_text(data.n)}; nothing is set in bold."
    return f"{significance_text(data.n)}. Bold: {bold}."


def _setting(data: ExperimentData) -> str:
    experiment = data.experiment
    text = (
        f"Dataset {experiment.dataset}, model {listing(experiment.models)}, scenario {experiment.scenario}: "
        f"{_KINDS[data.kind]}; retain subset of {experiment.retain_size:,} samples."
    )
    if experiment.substitutions:
        text += f" Substitutions: {'; '.join(experiment.substitutions)}."
    return text
