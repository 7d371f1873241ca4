"""The audit page: checks, claims, the paper's numbers beside ours, substitutes, and what all of it was made with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from orthograd.audit import Check, Status, failed
from orthograd.reporting.captions import Caption
from orthograd.reporting.claims import Claim
from orthograd.reporting.data import ReportData
from orthograd.reporting.experiment import Experiment
from orthograd.reporting.findings import Finding, Outcome
from orthograd.reporting.ledger import Entry, Ledger
from orthograd.reporting.names import AUDIT, DEVIATIONS
from orthograd.reporting.page import DataFile, ExperimentNotes, stop_rule_text, table_view
from orthograd.reporting.speech.experiment import SpeechExperiment
from orthograd.reporting.statistics import interval
from orthograd.reporting.tables import Cell, ProseTable, Table, accuracy_table
from orthograd.reporting.text import ABSENT, estimate, listing, method_label

TITLE = "Audit"
_NO_REASON = "not stated"
_DECIMALS = {"percent": 1, "fraction": 3, "ratio": 3}
_UNITS = {"percent": "%", "fraction": " (fraction)", "ratio": ""}
_STATUSES: tuple[Status, ...] = ("passed", "failed", "not checked")
_OUTCOMES: tuple[Outcome, ...] = ("supported", "not supported", "not testable here")


@dataclass(frozen=True)
class Substitute:
    """What stands in for what the paper used."""

    experiments: tuple[str, ...]
    ours: str
    paper: str
    why: str


@dataclass(frozen=True, eq=False)
class AuditContext:
    """All that the audit page shows."""

    data: ReportData
    notes: Sequence[ExperimentNotes]
    checks: Sequence[Check]
    claims: Sequence[tuple[Claim, Finding]]
    entries: Sequence[Entry]
    ledger: Ledger
    seeds: Sequence[int]
    tuning_seeds: Sequence[int]
    machines: Mapping[str, Sequence[str]]
    """Machine and versions, each with every value that occurs."""
    commits: Sequence[str]
    data_files: Sequence[DataFile]
    first_steps: pd.DataFrame
    """A row a deviation of the public code copy and seed, as the step `deviations` writes it."""
    speech: Sequence[SpeechExperiment] = ()


@dataclass(frozen=True)
class Headline:
    """What the first lines of the report say of the audit."""

    text: str
    failed: tuple[str, ...]
    """Names of the checks that failed."""

    @property
    def alarm(self) -> str:
        """The sentence that nobody may miss; empty if no check failed."""
        if not self.failed:
            return ""
        checks = "check" if len(self.failed) == 1 else "checks"
        return f"The audit failed: {len(self.failed)} {checks} ({', '.join(self.failed)}). Do not trust the numbers."


def headline(checks: Sequence[Check], claims: Sequence[tuple[Claim, Finding]]) -> Headline:
    """Counts of checks and claims by how they came out."""
    statuses = Counter(check.status for check in checks)
    outcomes = Counter(finding.outcome for _, finding in claims)
    return Headline(
        f"Of {len(checks)} checks {_counts(statuses, _STATUSES)}; "
        f"of the paper's {len(claims)} claims {_counts(outcomes, _OUTCOMES)}.",
        tuple(check.id for check in failed(checks)),
    )


def _counts(found: Mapping[Any, int], order: Sequence[str]) -> str:
    return listing([f"{found.get(name, 0)} {name}" for name in order])


def checks_table(checks: Sequence[Check]) -> Table:
    """Every check with its result, the reason, and the files that it was read from."""
    frame = pd.DataFrame(
        [
            {
                "check": check.id,
                "status": check.status,
                "claim": check.claim,
                "reason": check.reason,
                "files": " ".join(check.files),
            }
            for check in checks
        ]
    )
    rows = [
        (
            Cell(check.id),
            Cell(check.status, bold=check.status == "failed"),
            Cell(check.claim),
            Cell(check.reason),
            Cell(_files(check.files)),
        )
        for check in checks
    ]
    notes = (
        "Made from what the steps noted and from the files as they lie there now. Not checked: the "
        "results do not hold "
        "what the check needs. The CSV lists every file."
    )
    header = ("Check", "Result", "What it says", "Reason", "Read from")
    return _table("checks", "Checks", notes, frame, header, rows, (0.1, 0.08, 0.3, 0.32, 0.15))


def _files(files: Sequence[str]) -> str:
    if not files:
        return ABSENT
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def claims_table(claims: Sequence[tuple[Claim, Finding]]) -> Table:
    """Every claim of the paper with the test that decides it and how it came out."""
    frame = pd.DataFrame(
        [
            {
                "claim": claim.number,
                "text": claim.text,
                "test": claim.test,
                "outcome": finding.outcome,
                "numbers": finding.text,
            }
            for claim, finding in claims
        ]
    )
    rows = [
        (
            Cell(f"{claim.number}. {claim.text}"),
            Cell(finding.outcome),
            Cell(finding.text),
            Cell(claim.test),
        )
        for claim, finding in claims
    ]
    notes = (
        "The tests are fixed in the code, whatever the data say; results of earlier versions were published "
        "before they were written. ± is the half-width of the 95% t-interval over seeds, in "
        "speech over forgotten speakers (where ± in its tables is the standard deviation). What holds here is said "
        "of these data and models, see the substitutes."
    )
    header = ("Claim of the paper", "Here", "Numbers", "Test")
    return _table("claims", "Claims of the paper", notes, frame, header, rows, (0.2, 0.1, 0.35, 0.3))


def ledger_table(entries: Sequence[Entry]) -> Table:
    """Every cell of the paper beside ours."""
    raw = []
    rows = []
    for entry in entries:
        cell, ours = entry.cell, entry.ours
        raw.append(
            cell.model_dump()
            | {
                "our_model": entry.model,
                "our_mean": None if ours is None else ours.mean,
                "our_half_width": None if ours is None else ours.half_width,
                "n": None if ours is None else ours.n,
                "verdict": entry.verdict,
                "why": entry.why,
            }
        )
        unit = cell.unit or "ratio"
        method = None if cell.method is None else method_label(cell.method)
        where = ", ".join(part for part in (cell.model, cell.condition) if part is not None)
        rows.append(
            (
                Cell(cell.experiment),
                Cell(", ".join(part for part in (cell.quantity, method) if part is not None)),
                Cell(where),
                Cell(_paper(entry)),
                Cell(cell.source or ABSENT),
                Cell(
                    ABSENT
                    if ours is None
                    else f"{estimate(ours, 1, _DECIMALS[unit])}{_UNITS[unit]}, n = {ours.n} ({entry.model})"
                ),
                Cell(entry.verdict, bold=entry.verdict == "differs"),
                Cell("; ".join(part for part in (entry.why, cell.note) if part is not None)),
            )
        )
    notes = (
        "The paper's text and tables are not available to this project: its number is shown where a "
        "public source gives it. "
        "Which cells the tables have is our reading of public reviews. Ours: mean ± half-width of "
        "the 95% t-interval over "
        "seeds; fractions where the cell has no unit. Agrees: the paper's number lies in our "
        "interval; of speech, over speakers in the setting pretrained. Whoever has the "
        "paper fills a file in config/published/ and runs the report again."
    )
    header = ("Experiment", "Quantity", "Where", "Paper", "Source", "Ours", "Verdict", "Why")
    frame = pd.DataFrame(raw).astype({"n": "Int64"})
    widths = (0.09, 0.15, 0.16, 0.1, 0.09, 0.13, 0.09, 0.17)
    return _table("ledger", "The paper's numbers beside ours", notes, frame, header, rows, widths)


def _paper(entry: Entry) -> str:
    cell = entry.cell
    if cell.value is None or cell.unit is None:
        return "not available"
    spread = "" if cell.spread is None else f" ± {cell.spread:g}"
    return f"{cell.value:g}{spread}{_UNITS[cell.unit]}"


def substitutes(experiments: Sequence[Experiment | SpeechExperiment], ledger: Ledger) -> list[Substitute]:
    """What stands in for what, from `substitutions`; the reason is that of the ledger for each thing it names."""
    where: dict[str, list[str]] = {}
    for experiment in experiments:
        for text in experiment.substitutions:
            if experiment.id not in where.setdefault(text, []):
                where[text].append(experiment.id)
    found = []
    for text, ids in where.items():
        ours, _, paper = text.partition(" in place of ")
        reasons = [f"{name}: {reason}" for name, reason in ledger.reasons.items() if name in paper]
        found.append(Substitute(tuple(ids), ours, paper or ABSENT, "; ".join(reasons) or _NO_REASON))
    return found


def substitutes_table(found: Sequence[Substitute]) -> Table:
    """What stands in for what, and why."""
    columns = ["experiments", "here", "paper", "why"]
    values = [(", ".join(entry.experiments), entry.ours, entry.paper, entry.why) for entry in found]
    notes = (
        "From the experiments' `substitutions` in the config."
        if found
        else "The config names no substitutes."
    )
    rows = [tuple(Cell(text) for text in row) for row in values]
    header = ("Experiments", "Here", "In the paper", "Why")
    frame = pd.DataFrame(values, columns=columns)
    return _table("substitutes", "Substitutes", notes, frame, header, rows, (0.15, 0.2, 0.2, 0.4))


_DEVIATIONS = {
    "none": "None: the formula, on stored gradients",
    "per_tensor": "A projection for each parameter tensor",
    "unit_columns": "The same by QR without a rank tolerance",
    "adam": "Adam directions in the place of gradients",
    "broadcast_mean": "Mean ablation, retain term averaged over a parameter's first axis",
    "kl": "KL to the original as retain loss",
    "train_batch_norm": "Batch normalisation in training mode",
}
_BESIDE = {
    "orthograd": "OrthoGrad (engine)",
    "orthograd_mean": "OrthoGrad (mean)",
    "none": "no deviation",
    "per_tensor": "for each tensor",
}
_FIRST_STEP = (
    ("rank", "Directions removed", 1, 1),
    ("removed_fraction", "Part of g_u removed", 1, 3),
    ("max_cosine", "Largest |cos(g_u⊥, g_r)|", 1, 3),
    ("update_cosine", "Cosine of the updates", 1, 3),
    ("update_ratio", "Ratio of their lengths", 1, 2),
)


def first_step_table(frame: pd.DataFrame) -> Table:
    """What each deviation of the public code copy makes of the first step, beside the run that lacks it."""
    raw: list[dict[str, object]] = []
    rows = []
    for (deviation, beside), group in frame.groupby(["deviation", "beside"], sort=False):
        found = {column: interval(group.set_index("seed")[column]) for column, *_ in _FIRST_STEP}
        raw.append(
            {"deviation": deviation, "beside": beside, "n": len(group)}
            | {
                f"{column}_{part}": getattr(value, part)
                for column, value in found.items()
                for part in ("mean", "half_width")
            }
        )
        rows.append(
            (
                Cell(_DEVIATIONS[str(deviation)]),
                Cell(_BESIDE[str(beside)]),
                *(
                    Cell(estimate(found[column], scale, decimals))
                    for column, _, scale, decimals in _FIRST_STEP
                ),
            )
        )
    notes = (
        "The first step from the original model, on the same batches and at OrthoGrad's parameters, without and with "
        "each deviation; the last two columns compare its update with that of the run in the second. ± is the "
        f"half-width of the 95% t-interval over {frame['seed'].nunique()} seeds. The cosine is "
        "the largest with a retain gradient of the batch, of the retain loss that the deviation has: 0 up to rounding "
        "where the projection keeps its promise. Directions removed are summed over tensors. What whole runs make of "
        "it is measured by T-DEV."
    )
    header = ("Deviation", "Beside", *(label for _, label, *_ in _FIRST_STEP))
    widths = (0.25, 0.15, 0.11, 0.11, 0.11, 0.11, 0.11)
    title = "Deviations of the public code copy, first step"
    return _table("first_step", title, notes, pd.DataFrame(raw), header, rows, widths)


def _table(
    name: str,
    title: str,
    notes: str,
    frame: pd.DataFrame,
    header: tuple[str, ...],
    rows: Iterable[tuple[Cell, ...]],
    widths: tuple[float, ...],
) -> Table:
    return ProseTable(AUDIT, name, Caption(title, "", notes), frame, header, tuple(rows), len(header), widths)


def audit_tables(context: AuditContext) -> tuple[Table, ...]:
    """All tables of the page, in the order of `AUDIT_TABLE_NAMES`."""
    experiments: list[Experiment | SpeechExperiment] = [
        *(notes.experiment for notes in context.notes),
        *context.speech,
    ]
    return (
        checks_table(context.checks),
        claims_table(context.claims),
        ledger_table(context.entries),
        substitutes_table(substitutes(experiments, context.ledger)),
        first_step_table(context.first_steps),
    )


def render_audit(context: AuditContext, out: Path) -> Path:
    """Write the page to ``out``; the files of its tables must lie beside it already.

    Raises:
        ReportError: a file of a table is missing, or the results do not support the report.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("orthograd.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    deviations = [notes for notes in context.notes if notes.experiment.id == DEVIATIONS]
    html = environment.get_template("audit.html.j2").render(
        title=TITLE,
        headline=headline(context.checks, context.claims),
        failures=failed(context.checks),
        tables=[table_view(table.caption.title, table, out.parent) for table in audit_tables(context)],
        stop_rules=[
            (notes.experiment.id, stop_rule_text(notes.stop_rule, context.data.select(notes.experiment)))
            for notes in context.notes
        ],
        seeds=", ".join(map(str, context.seeds)),
        tuning_seeds=", ".join(map(str, context.tuning_seeds)) or ABSENT,
        machines={key: ", ".join(values) for key, values in context.machines.items()},
        commits=", ".join(context.commits),
        data_files=context.data_files,
        deviations=[
            table_view(
                notes.experiment.title, accuracy_table(context.data.select(notes.experiment)), out.parent
            )
            for notes in deviations
        ],
        deviations_id=DEVIATIONS,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(html.encode())
    return out
