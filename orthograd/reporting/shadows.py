"""U-LiRA on shadow models: a table with a row a kind of model, and what may be believed of it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from orthograd.measures import FPR
from orthograd.metrics.attacks.estimates import LEVEL, Estimate
from orthograd.metrics.controls import ControlResult, control
from orthograd.reporting.captions import Caption
from orthograd.reporting.experiment import ORIGINAL, RETRAINED, Experiment
from orthograd.reporting.statistics import Interval, interval
from orthograd.reporting.tables import DOUBTFUL, Cell, Table
from orthograd.reporting.text import estimate, listing, method_label
from orthograd.specs import ShadowStudy

NAME = "ulira"
"""Behind the experiment's id in the names of its files."""

FAKE = "planted_fake"
COLUMNS = ("auc", "tpr")


@dataclass(frozen=True, eq=False)
class ShadowData:
    """What U-LiRA found: columns method, shadow, members, non_members, auc, tpr; one row a judged model."""

    experiment: Experiment
    study: ShadowStudy
    results: pd.DataFrame

    @property
    def kinds(self) -> list[str]:
        """The rows of the table."""
        return [ORIGINAL, FAKE, RETRAINED, *self.study.methods]

    def interval(self, kind: str, column: str) -> Interval:
        """Mean and t-interval over the judged models; NaN where one has no value."""
        return interval(self.results.loc[self.results["method"] == kind, column].astype(float))

    @property
    def control(self) -> ControlResult | None:
        """Whether the attack may be believed; None where a model that it is controlled on has no result."""
        found = {kind: self.interval(kind, "auc") for kind in (ORIGINAL, FAKE, RETRAINED)}
        if any(value.mean != value.mean for value in found.values()):
            return None
        original, fake, retrained = (
            Estimate(value.mean, value.mean - value.half_width, value.mean + value.half_width, LEVEL)
            for value in found.values()
        )
        return control("U-LiRA", original, fake, {"(mean of the shadow models)": retrained}, others=0)


def table(data: ShadowData) -> Table:
    """AUC and true-positive rate of the attack on each kind of model; the file has the same rows."""
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    checked = data.control
    doubtful = checked is None or not checked.passed
    for kind in data.kinds:
        own = data.results[data.results["method"] == kind]
        auc, tpr = (data.interval(kind, column) for column in COLUMNS)
        raw.append(
            {"method": kind, "n": len(own)}
            | {column: own[column].iloc[0] for column in ("members", "non_members")}
            | {"auc_mean": auc.mean, "auc_half_width": auc.half_width}
            | {"tpr_mean": tpr.mean, "tpr_half_width": tpr.half_width}
        )
        label = "Planted fake" if kind == FAKE else method_label(kind)
        cells = (Cell(estimate(auc, 1, 3), doubtful=doubtful), Cell(estimate(tpr, 100, 1), doubtful=doubtful))
        rows.append((Cell(label), *cells))
    mark = DOUBTFUL if doubtful else ""
    header = ("Method", f"AUC{mark}", f"TPR at {100 * FPR:g}% FPR{mark}")
    return Table(data.experiment.id, NAME, _caption(data), pd.DataFrame(raw), header, tuple(rows), 1)


def _caption(data: ShadowData) -> Caption:
    experiment, study = data.experiment, data.study
    setting = (
        f"Dataset {experiment.dataset}, model {study.model}, scenario {experiment.scenario}; retain subset of "
        f"{experiment.retain_size:,} samples; {study.number} shadow models with splits of their own."
    )
    if experiment.substitutions:
        setting += f" Substitutions: {'; '.join(experiment.substitutions)}."
    first = data.results.iloc[0]
    checked = data.control
    if checked is None:
        said = "†: not to be believed here, as not all shadow models without unlearning have finite outputs."
    elif checked.passed:
        said = "The attack passed."
    else:
        said = f"†: not to be believed here, as the attack failed a control: U-LiRA {checked.reason}."
    lost = [
        method_label(kind)
        for kind in study.methods
        if data.interval(kind, "auc").mean != data.interval(kind, "auc").mean
    ]
    judges = 2 * (study.number // 2 - 1)
    notes = (
        "U-LiRA (arXiv:2403.01218): from the forget set of one split each shadow model trains on one half and "
        "unlearns it, and never sees the other; the next model has the halves exchanged. Each model in turn is judged "
        f"by all other pairs: {judges} models, half of which unlearned an image and half never saw it. Can the "
        f"{first['members']:,} images that it unlearned be told from the {first['non_members']:,} that it never saw? "
        "Chance, and ideal: AUC 0.5; true-positive rate (TPR), in percent, equal to the false-positive rate (FPR), – "
        f"with fewer than {10 / FPR:,.0f} unseen images. The attacker knows everything but which half it was. "
        f"±: half-width of the 95% t-interval over the n = {study.number} judged models, which are each other's "
        "shadows and share their retain set, so that it may be somewhat too narrow. Controls: the attack has to catch "
        "the models before unlearning (Original) and a fake that only changes their arg-max on the forgotten half, "
        f"and to be at chance on models retrained without it. {said}"
    )
    if lost:
        notes += f" Without a result, as a model's outputs were not finite: {listing(lost)}."
    return Caption(f"{experiment.title}: U-LiRA with shadow models", setting, notes)
