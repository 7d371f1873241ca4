"""The tables of one experiment: accuracy, paired differences, cost; as CSV, Markdown and LaTeX.

The CSV holds raw numbers (fractions, seconds, bytes): per metric one column `<metric>_mean` and one
`<metric>_half_width`, and the column `n`; with five seeds or more, where equivalence is tested, `<metric>_margin` and
`<metric>_equivalence` (equivalent, different, undecided; empty where nothing is tested). Markdown, LaTeX and the page
show the same numbers rounded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from orthograd.measures import PER_CLASS, TPR
from orthograd.metrics.resolution import MIN_SEEDS_FOR_EQUIVALENCE
from orthograd.metrics.retraining import GAP_SETS
from orthograd.reporting import captions
from orthograd.reporting.data import REFERENCES, ExperimentData, ReportError, rows_of
from orthograd.reporting.experiment import ORTHOGRAD, RETRAINED
from orthograd.reporting.ranking import closest, standings
from orthograd.reporting.statistics import (
    MIN_SEEDS_FOR_CLAIMS,
    Interval,
    Verdict,
    noise_floor,
    paired,
    per_seed,
    resolution,
    summarise,
    within,
)
from orthograd.reporting.text import ABSENT, estimate, method_label, number


@dataclass(frozen=True)
class Metric:
    """A column of an input table and how it is shown: value × scale, with so many decimals."""

    key: str
    label: str
    scale: float
    decimals: int
    better: Literal[-1, 0, 1] = 0
    """The sign of a difference that is an improvement; 0 where neither is."""
    floor: str | None = None
    """The column whose mean over the retrained models is the margin within which two models are equivalent."""


@dataclass(frozen=True)
class Cell:
    """One cell as shown."""

    text: str
    bold: bool = False
    doubtful: bool = False
    """Its column has a number that is not to be believed; the caption says why."""


@dataclass(frozen=True, eq=False)
class Table:
    """One table: ``frame`` holds the raw numbers, ``header`` and ``rows`` what is shown."""

    experiment_id: str
    name: str
    caption: captions.Caption
    frame: pd.DataFrame
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: int
    """Number of leading columns that are text (aligned left); the others are numbers."""

    @property
    def latex_columns(self) -> str:
        """How LaTeX aligns the columns."""
        return "l" * self.text_columns + "r" * (len(self.header) - self.text_columns)

    def to_csv(self) -> str:
        """Raw numbers, full precision."""
        return self.frame.to_csv(index=False, lineterminator="\n")

    def to_markdown(self) -> str:
        """A pipe table and its caption."""
        rules = ["---" if i < self.text_columns else "---:" for i in range(len(self.header))]
        body = [[_markdown_cell(cell) for cell in row] for row in self.rows]
        lines = [[_escape_markdown(text) for text in self.header], rules, *body]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{table}\n\n{_escape_markdown(self.caption.text)}\n"

    def to_latex(self) -> str:
        """A floating table for booktabs and graphicx, shrunk to the width of the text."""
        body = [[_latex_cell(cell) for cell in row] for row in self.rows]
        header = " & ".join(escape_latex(text) for text in self.header)
        lines = [
            "% needs \\usepackage{booktabs,graphicx}",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{escape_latex(self.caption.text)}}}",
            f"\\label{{tab:{self.experiment_id}-{self.name}}}",
            "\\resizebox{\\textwidth}{!}{%",
            f"\\begin{{tabular}}{{{self.latex_columns}}}",
            "\\toprule",
            f"{header} \\\\",
            "\\midrule",
            *(f"{' & '.join(row)} \\\\" for row in body),
            "\\bottomrule",
            "\\end{tabular}}",
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, eq=False)
class ProseTable(Table):
    """A table of sentences: in LaTeX its columns have widths, as parts of the text's."""

    widths: tuple[float, ...]

    @property
    def latex_columns(self) -> str:
        """Paragraphs of the given widths."""
        return "".join(f"p{{{width:g}\\textwidth}}" for width in self.widths)


EQUIVALENT = "≡ "
"""Before a difference that is shown to lie within the margin of its column."""

UNRESOLVED = "≈ "
"""Before a difference below the smallest one that the seeds resolve."""


def accuracy_table(data: ExperimentData) -> Table:
    """Original, retrained and every method: accuracies, UIS, gap to retrained, steps, target, rank."""
    forgotten = [Metric("accuracy_test_forgotten", "Test, forgotten class", 100, 1)]
    shown = [
        Metric("accuracy_forget", "Forget", 100, 1),
        Metric("accuracy_retain", "Retain", 100, 1),
        Metric("accuracy_test", "Test", 100, 1),
        Metric("test_at_target", "Test at target", 100, 1),
        *(forgotten if data.kind == "class" else []),
        Metric("uis", "UIS", 1, 3),
        Metric("gap", "Gap", 100, 2),
        *(Metric(f"gap_{name}", f"|Δ| {name}", 100, 1) for name in GAP_SETS),
        Metric("steps", "Steps", 1, 1),
    ]
    # The sign of the distance is in the accuracies already; the file carries it with its own interval.
    signed = [Metric(f"diff_{name}", "", 100, 2, floor=f"gap_{name}") for name in GAP_SETS]
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for model in data.experiment.models:
        places = {standing.method: standing for standing in standings(data, model)}
        best = closest(data, model)
        for method in [*REFERENCES, *data.experiment.rows]:
            runs = rows_of(data.runs, model, method)
            values = {metric.key: summarise(runs, metric.key) for metric in [*shown, *signed]}
            # The retrained models give the margin.
            tested = [] if method == RETRAINED else signed
            judged = _judged(data, model, {m: per_seed(runs, m.key) for m in tested})
            place = places.get(method)
            raw.append(
                {"model": model, "method": method, "n": data.n}
                | _raw_columns(values)
                | judged
                | {
                    "target_reached": place.reached if place else None,
                    "rank": place.rank if place else None,
                }
            )
            rows.append(
                (
                    *_names(data, model, method),
                    *(
                        _cell(
                            values[m.key],
                            m,
                            bold=method == best and m.key == "gap",
                            mark=_mark(judged, m.key.replace("gap_", "diff_")),
                        )
                        for m in shown
                    ),
                    Cell(f"{place.reached}/{data.n}" if place else ABSENT),
                    Cell(str(place.rank) if place and place.rank else ABSENT),
                )
            )
    frame = pd.DataFrame(raw).astype({"target_reached": "Int64", "rank": "Int64"})
    header = [*(metric.label for metric in shown), "Target", "Rank"]
    return _table(data, "accuracy", captions.accuracy(data), frame, "Method", header, rows)


DOUBTFUL = " †"
"""Behind the header of a column that is not to be believed."""


def membership_table(data: ExperimentData) -> Table:
    """Every membership inference attack on every model; attacks that failed a control are marked."""
    shown = [
        (Metric("mia_population_auc", "Population, AUC", 1, 3), "population"),
        (Metric("mia_low_loss_auc", "Low loss, AUC", 1, 3), "low_loss"),
        *([(Metric(TPR, "Low loss, TPR", 100, 1), "low_loss")] if data.runs[TPR].notna().any() else []),
        (Metric("mia_confidence_accuracy", "Confidence, acc.", 100, 1), "confidence"),
        (Metric("mia_entropy_accuracy", "Entropy, acc.", 100, 1), "entropy"),
        (Metric("mia_modified_entropy_accuracy", "Modified entropy, acc.", 100, 1), "modified_entropy"),
        (Metric("mia_svc_auc", "SVC, AUC", 1, 3), "svc"),
        (Metric("mia_svc_non_member_share", "SVC, non-members", 100, 1), "svc"),
        (Metric("average_gap", "Average gap", 100, 2), "svc"),
    ]
    failed = set(data.controls.loc[~data.controls["passed"], "attack"])
    rows: list[tuple[Cell, ...]] = []
    raw: list[dict[str, object]] = []
    for model in data.experiment.models:
        for method in [*REFERENCES, *data.experiment.rows]:
            runs = rows_of(data.runs, model, method)
            values = {metric.key: summarise(runs, metric.key) for metric, _ in shown}
            raw.append({"model": model, "method": method, "n": data.n} | _raw_columns(values))
            cells = (
                Cell(
                    estimate(values[metric.key], metric.scale, metric.decimals) + _over_samples(runs, metric),
                    doubtful=attack in failed,
                )
                for metric, attack in shown
            )
            rows.append((*_names(data, model, method), *cells))
    header = [metric.label + (DOUBTFUL if attack in failed else "") for metric, attack in shown]
    return _table(data, "membership", captions.membership(data), pd.DataFrame(raw), "Method", header, rows)


def _over_samples(runs: pd.DataFrame, metric: Metric) -> str:
    """The interval over samples of a single run: what there is where no seeds differ. The average gap has none."""
    low, high = f"{metric.key}_low", f"{metric.key}_high"
    if len(runs) > 1 or low not in runs or runs[low].isna().any():
        return ""
    bounds = (number(metric.scale * float(runs[bound].iloc[0]), metric.decimals) for bound in (low, high))
    return f" [{', '.join(bounds)}]"


def closeness_table(data: ExperimentData) -> Table:
    """How alike each model is to the retrained ones, beyond accuracies."""
    shown = [
        Metric("tow", "ToW", 1, 3),
        Metric("aus", "AUS", 1, 3),
        *(
            Metric(f"{key}_{name}", f"{label}, {name}", scale, decimals)
            for key, label, scale, decimals in (
                ("kl", "KL", 1, 3),
                ("js", "JS", 1, 3),
                ("agreement", "Agreement", 100, 1),
                ("activation_distance", "Distance of outputs", 1, 3),
            )
            for name in ("forget", "test")
        ),
        Metric("weight_distance_retrained", "Weights, to retrained", 1, 2),
        Metric("weight_distance_original", "Weights, to original", 1, 2),
        Metric("relearning_steps", "Relearning steps", 1, 1),
    ]
    rows: list[tuple[Cell, ...]] = []
    raw: list[dict[str, object]] = []
    for model in data.experiment.models:
        for method in [*REFERENCES, *data.experiment.rows]:
            runs = rows_of(data.runs, model, method)
            values = {metric.key: summarise(runs, metric.key) for metric in shown}
            raw.append({"model": model, "method": method, "n": data.n} | _raw_columns(values))
            rows.append((*_names(data, model, method), *(_cell(values[m.key], m) for m in shown)))
    header = [metric.label for metric in shown]
    return _table(data, "closeness", captions.closeness(data), pd.DataFrame(raw), "Method", header, rows)


# More classes than this are not shown one by one.
MOST_CLASSES = 20


def per_class_table(data: ExperimentData) -> Table:
    """Test accuracy of the lowest, the median and the highest class of each run, and of each class if they are few.

    Raises:
        ReportError: the runs have no accuracies by class.
    """
    columns = [
        column
        for column in map(str, data.runs)
        if column.startswith(PER_CLASS) and data.runs[column].notna().any()
    ]
    if not columns:
        raise ReportError("runs: no accuracies by class; collect the results again with this version")
    by_class = data.runs[columns]
    runs = data.runs.assign(
        lowest=by_class.min(axis=1), median=by_class.median(axis=1), highest=by_class.max(axis=1)
    )
    shown = [Metric(name, name.capitalize(), 100, 1) for name in ("lowest", "median", "highest")]
    if len(columns) <= MOST_CLASSES:
        shown += [Metric(column, column.removeprefix(PER_CLASS), 100, 1) for column in columns]
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for model in data.experiment.models:
        for method in [*REFERENCES, *data.experiment.rows]:
            values = {metric.key: summarise(rows_of(runs, model, method), metric.key) for metric in shown}
            raw.append({"model": model, "method": method, "n": data.n} | _raw_columns(values))
            rows.append((*_names(data, model, method), *(_cell(values[m.key], m) for m in shown)))
    header = [metric.label for metric in shown]
    return _table(data, "per_class", captions.per_class(data), pd.DataFrame(raw), "Method", header, rows)


def paired_table(data: ExperimentData) -> Table:
    """OrthoGrad minus every other method, paired by seed."""
    forgotten = [Metric("accuracy_test_forgotten", "Test, forgotten class", 100, 1)]
    shown = [
        Metric("accuracy_forget", "Forget", 100, 1, floor="gap_forget"),
        Metric("accuracy_retain", "Retain", 100, 1, better=1, floor="gap_retain"),
        Metric("accuracy_test", "Test", 100, 1, better=1, floor="gap_test"),
        Metric("test_at_target", "Test at target", 100, 1, better=1, floor="gap_test"),
        *(forgotten if data.kind == "class" else []),
        Metric("uis", "UIS", 1, 3, better=-1),
        Metric("gap", "Gap", 100, 2, better=-1, floor="gap"),
        *(Metric(f"gap_{name}", f"|Δ| {name}", 100, 1, better=-1, floor=f"gap_{name}") for name in GAP_SETS),
    ]
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for model in data.experiment.models:
        ours = rows_of(data.runs, model, ORTHOGRAD)
        for method in [method for method in data.experiment.methods if method != ORTHOGRAD]:
            theirs = rows_of(data.runs, model, method)
            values = {m.key: paired(per_seed(ours, m.key), per_seed(theirs, m.key)) for m in shown}
            differences = {m: per_seed(ours, m.key) - per_seed(theirs, m.key) for m in shown}
            finds = {m.key: resolution(difference) for m, difference in differences.items()}
            judged = _judged(data, model, differences)
            both = int((_reached(ours) & _reached(theirs)).sum())
            raw.append(
                {"model": model, "method": ORTHOGRAD, "minus": method, "n": data.n}
                | _raw_columns(values)
                | {f"{key}_resolvable": smallest for key, smallest in finds.items()}
                | judged
                | {"both_reached": both}
            )
            claims = data.n >= MIN_SEEDS_FOR_CLAIMS
            unresolved = {m.key: abs(values[m.key].mean) < finds[m.key] for m in shown}
            rows.append(
                (
                    *_names(data, model, method),
                    *(
                        _cell(
                            values[m.key],
                            m,
                            bold=claims
                            and both == data.n
                            and not unresolved[m.key]
                            and values[m.key].excludes_zero
                            and m.better * values[m.key].mean > 0,
                            mark=_mark(judged, m.key, unresolved[m.key]),
                        )
                        for m in shown
                    ),
                    Cell(number(100 * finds["gap"], 2)),
                    Cell(f"{both}/{data.n}"),
                )
            )
    header = [*(metric.label for metric in shown), "Resolvable gap", "Both reached"]
    return _table(data, "paired", captions.paired(data), pd.DataFrame(raw), "OrthoGrad minus", header, rows)


def cost_table(data: ExperimentData) -> Table:
    """Wall clock, peak memory, samples passed forward and backward, speed-up over retraining."""
    shown = [
        Metric("seconds", "Seconds", 1, 2),
        Metric("peak_bytes", "Peak MiB", 1 / 2**20, 1),
        Metric("forward", "Samples forward", 1, 0),
        Metric("backward", "Samples backward", 1, 0),
        Metric("rte", "RTE", 1, 1),
    ]
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for model in data.experiment.models:
        for method in [*REFERENCES, *data.experiment.rows]:
            costs = rows_of(data.costs, model, method)
            values = {metric.key: summarise(costs, metric.key) for metric in shown}
            raw.append({"model": model, "method": method, "n": data.n} | _raw_columns(values))
            rows.append((*_names(data, model, method), *(_cell(values[m.key], m) for m in shown)))
    header = [metric.label for metric in shown]
    return _table(data, "cost", captions.cost(data), pd.DataFrame(raw), "Method", header, rows)


TABLES: tuple[Callable[[ExperimentData], Table], ...] = (
    accuracy_table,
    membership_table,
    closeness_table,
    per_class_table,
    paired_table,
    cost_table,
)
"""One function a table, in the order of ``TABLE_NAMES``."""


def _table(
    data: ExperimentData,
    name: str,
    caption: captions.Caption,
    frame: pd.DataFrame,
    method_header: str,
    header: Sequence[str],
    rows: Sequence[tuple[Cell, ...]],
) -> Table:
    names = ("Model", method_header) if len(data.experiment.models) > 1 else (method_header,)
    return Table(data.experiment.id, name, caption, frame, (*names, *header), tuple(rows), len(names))


def _names(data: ExperimentData, model: str, method: str) -> tuple[Cell, ...]:
    label = Cell(method_label(method))
    return (Cell(model), label) if len(data.experiment.models) > 1 else (label,)


def _reached(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index("seed")["target_reached"].astype(bool)


def _judged(
    data: ExperimentData, model: str, differences: Mapping[Metric, pd.Series]
) -> dict[str, float | Verdict | None]:
    """The columns `<metric>_margin` and `<metric>_equivalence` of the metrics with a margin; none with few seeds."""
    if data.n < MIN_SEEDS_FOR_EQUIVALENCE:
        return {}
    columns: dict[str, float | Verdict | None] = {}
    for metric, difference in differences.items():
        if metric.floor is not None:
            margin = noise_floor(data, model, metric.floor)
            columns[f"{metric.key}_margin"] = margin
            columns[f"{metric.key}_equivalence"] = within(difference, margin)
    return columns


def _mark(judged: Mapping[str, float | Verdict | None], key: str, unresolved: bool = False) -> str:
    if judged.get(f"{key}_equivalence") == "equivalent":
        return EQUIVALENT
    return UNRESOLVED if unresolved else ""


def _raw_columns(values: dict[str, Interval]) -> dict[str, object]:
    return {
        f"{key}_{part}": getattr(value, part)
        for key, value in values.items()
        for part in ("mean", "half_width")
    }


def _cell(value: Interval, metric: Metric, bold: bool = False, mark: str = "") -> Cell:
    return Cell(mark + estimate(value, metric.scale, metric.decimals), bold)


_MARKDOWN = {ord(char): f"\\{char}" for char in "\\`*_[]<>|#"}

_LATEX = {
    ord(char): text
    for char, text in {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "−": r"$-$",
        "–": "--",
        "Δ": r"$\Delta$",
        "α": r"$\alpha$",
        "×": r"$\times$",
        "≈": r"$\approx$",
        "≡": r"$\equiv$",
        "ℓ": r"$\ell$",
        "⊥": r"$\perp$",
        "°": r"$^\circ$",
        "†": r"\textdagger{}",
    }.items()
}


def _escape_markdown(text: str) -> str:
    return text.translate(_MARKDOWN)


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands, the symbols of our labels included."""
    return text.translate(_LATEX)


def _markdown_cell(cell: Cell) -> str:
    text = _escape_markdown(cell.text)
    return f"**{text}**" if cell.bold else text


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    return f"\\textbf{{{text}}}" if cell.bold else text
