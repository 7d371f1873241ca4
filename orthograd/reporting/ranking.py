"""Who came closest to the retrained models, said as it came out."""

import math
from dataclasses import dataclass

from orthograd.reporting.data import ExperimentData, rows_of
from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, RETRAINED
from orthograd.reporting.statistics import MIN_SEEDS_FOR_CLAIMS, Interval, paired, per_seed, summarise
from orthograd.reporting.text import estimate, listing, method_label, seeds_text


@dataclass(frozen=True)
class Standing:
    """Where one method stands: gap to the retrained models (fraction), and seeds that reached the target.

    ``rank`` is 1 for the smallest mean gap, equal gaps share the better rank; None (not ranked) unless the
    target was reached in every seed, and for runs at published defaults, which do not stop at the target.
    """

    method: str
    gap: Interval
    reached: int
    rank: int | None


def standings(data: ExperimentData, model: str) -> tuple[Standing, ...]:
    """The runs of one model in the order of the experiment; those at published defaults have no rank."""
    rows = {method: rows_of(data.runs, model, method) for method in data.experiment.rows}
    gaps = {method: summarise(frame, "gap") for method, frame in rows.items()}
    reached = {method: int(frame["target_reached"].sum()) for method, frame in rows.items()}
    ranked = {method: gaps[method].mean for method in data.experiment.methods if reached[method] == data.n}
    return tuple(
        Standing(
            method,
            gaps[method],
            reached[method],
            1 + sum(gap < ranked[method] for gap in ranked.values()) if method in ranked else None,
        )
        for method in rows
    )


def closest(data: ExperimentData, model: str) -> str | None:
    """The ranked method whose gap is below that of every other one, by the 95% interval paired by seed; else None.

    None, too, with fewer than `MIN_SEEDS_FOR_CLAIMS` seeds, or where no second method is ranked.
    """
    ranked = sorted((s for s in standings(data, model) if s.rank is not None), key=lambda s: s.rank or 0)
    if data.n < MIN_SEEDS_FOR_CLAIMS or len(ranked) < 2:
        return None
    best, *others = (per_seed(rows_of(data.runs, model, s.method), "gap") for s in ranked)
    return ranked[0].method if all(paired(other, best).excludes_zero for other in others) else None


def significance_text(n: int) -> str:
    """What n allows to be said about differences."""
    if n < MIN_SEEDS_FOR_CLAIMS:
        return f"{seeds_text(n)}: no significance claim"
    return f"{seeds_text(n)}; intervals are not corrected for multiple comparisons"


def verdict(data: ExperimentData, model: str) -> str:
    """A few sentences: the winner by gap to retrained, where OrthoGrad stands, and what n allows to claim."""
    table = standings(data, model)
    sentences = [_headline(data, model)]
    ranked = sorted((s for s in table if s.rank is not None), key=lambda s: s.rank or 0)
    unranked = [s for s in table if s.rank is None and s.method in data.experiment.methods]
    if not ranked:
        sentences.append("No method reached the target in every seed, so none is ranked.")
    else:
        winners = [s for s in ranked if s.rank == 1]
        names = listing([method_label(s.method) for s in winners])
        comes = "comes" if len(winners) == 1 else "come (tied)"
        sentences.append(
            f"{names} {comes} closest to the retrained models, with a gap of {_points(winners[0].gap)}, "
            f"among {len(ranked)} ranked method{'' if len(ranked) == 1 else 's'}."
        )
        ours = next((s for s in ranked if s.method == ORTHOGRAD), None)
        if ours is not None and ours.rank != 1:
            sentences.append(
                f"OrthoGrad has rank {ours.rank} of {len(ranked)} with a gap of {_points(ours.gap)}."
            )
        if data.n >= MIN_SEEDS_FOR_CLAIMS and len(winners) == 1 and len(ranked) > 1:
            sentences.append(_against_runner_up(data, model, winners[0].method, ranked[1].method))
    doing_nothing = summarise(rows_of(data.runs, model, ORIGINAL), "gap")
    closer = [method_label(s.method) for s in ranked if s.gap.mean < doing_nothing.mean]
    sentences.append(
        f"The original model, left as it is, has a gap of {_points(doing_nothing)}: "
        + (
            f"{listing(closer)} {'is' if len(closer) == 1 else 'are'} closer."
            if closer
            else "no ranked method is closer."
        )
    )
    floor = summarise(rows_of(data.runs, model, RETRAINED), "gap")
    if not math.isnan(floor.mean):
        sentences.append(f"Retrained models differ from each other by {_points(floor)}, the noise floor.")
    if unranked:
        counts = [f"{method_label(s.method)} ({s.reached} of {data.n} seeds)" for s in unranked]
        sentences.append(f"Not ranked, target not reached in every seed: {listing(counts)}.")
    sentences.append(significance_text(data.n) + ".")
    return " ".join(sentences)


def _headline(data: ExperimentData, model: str) -> str:
    """Who keeps most test accuracy at equal forgetting, and where OrthoGrad stands."""
    kept = {
        method: summarise(rows_of(data.runs, model, method), "test_at_target")
        for method in data.experiment.methods
    }
    order = sorted(
        (method for method, value in kept.items() if not math.isnan(value.mean)),
        key=lambda method: -kept[method].mean,
    )
    if not order:
        return "No method passes the target step by step in every seed: none has a test accuracy at equal forgetting."

    def of(method: str) -> str:
        return f"{method_label(method)} {estimate(kept[method], 100, 2)}%"

    sentence = (
        f"At equal forgetting (forget accuracy interpolated to the target) {of(order[0])} is the highest test accuracy "
        f"of {len(order)} method{'' if len(order) == 1 else 's'} that can be compared so"
    )
    if ORTHOGRAD in order[1:]:
        sentence += f"; {of(ORTHOGRAD)} is number {order.index(ORTHOGRAD) + 1}"
    if ORTHOGRAD not in order:
        sentence += "; OrthoGrad is not among them"
    return sentence + "."


def _points(gap: Interval) -> str:
    return f"{estimate(gap, 100, 2)} percentage points"


def _against_runner_up(data: ExperimentData, model: str, winner: str, second: str) -> str:
    difference = paired(
        per_seed(rows_of(data.runs, model, winner), "gap"), per_seed(rows_of(data.runs, model, second), "gap")
    )
    verb = "excludes" if difference.excludes_zero else "contains"
    return (
        f"Its gap minus that of {method_label(second)}, paired by seed: {_points(difference)}; "
        f"the 95% interval {verb} 0."
    )
