"""The paper's numbers beside ours: what `config/published/*.yaml` holds, checked, and the verdict on each cell.

A cell is compared with the experiment of the same id in the report, of a sweep with that of its size, and only if that
one stands in for nothing: where the data, the model or the scale differ from the paper's, both numbers are shown and
the verdict is "not comparable".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orthograd.reporting.data import RUN_NUMBERS, ReportData, ReportError, rows_of
from orthograd.reporting.experiment import Experiment
from orthograd.reporting.speech.data import RATE_COLUMNS, SpeechData
from orthograd.reporting.speech.experiment import PRETRAINED, SpeechExperiment
from orthograd.reporting.statistics import Interval, interval, summarise
from orthograd.reporting.text import listing

PAPER = "paper.yaml"
MEMBERSHIP = "A-MIA"
"""An experiment without a section of its own: its numbers are columns of those of images, one for each scenario."""

SourceName = Literal["abstract", "public review", "public code copy", "aggregator page", "the paper"]
Verdict = Literal["agrees", "differs", "not comparable", "not available"]
Text = Annotated[str, Field(min_length=1)]
Column = Annotated[
    str | None,
    Field(
        description="column of runs.csv, or word error rate of speech, to compare with; null: there is none"
    ),
]

# Ours are fractions or ratios; what the paper's unit makes of them.
_SCALE = {"percent": 100.0, "fraction": 1.0, "ratio": 1.0}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _known(column: str | None) -> None:
    known = [*RUN_NUMBERS, *RATE_COLUMNS]
    if column is not None and column not in known:
        raise ValueError(
            f"column {column!r} is not one of runs.csv. Mend: use one of {', '.join(known)}, or null"
        )


class Cell(_Strict):
    """One number of the paper, or the place of one that is not known here (`value` null)."""

    experiment: Text = Field(description="id of the experiment here, for example T-IMG-R")
    quantity: Text = Field(description="what the number is, in words")
    column: Column
    model: Text | None = Field(description="model as the paper names it; null: not stated")
    method: Text | None = Field(description="name of the method here; null: no method's")
    condition: Text = Field(description="what else distinguishes the cell, in words")
    value: float | None = Field(description="the paper's number; null: not known")
    spread: Annotated[float, Field(ge=0)] | None = Field(description="its ±; null: none is given")
    unit: Literal["percent", "fraction", "ratio"] | None = Field(description="percent, fraction or ratio")
    source: SourceName | None = Field(description="where the number stands")
    note: Text | None = Field(description="what a reader has to know to compare")
    retain_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="samples in the retain subset; needed where the experiment here has several sizes"
    )
    scenario: Text | None = Field(
        None, description=f"name of the scenario here, for example random; needed in {MEMBERSHIP}"
    )

    @property
    def where(self) -> str:
        """The condition, and what picks ours."""
        size = None if self.retain_size is None else f"retain subset of {self.retain_size:,}"
        scenario = None if self.scenario is None else f"scenario {self.scenario}"
        return ", ".join(part for part in (self.condition, size, scenario) if part is not None)

    @property
    def key(self) -> tuple[str | None, ...]:
        """What makes it the same cell in another file; an unknown one stands for all sizes and scenarios."""
        return (self.experiment, self.quantity, self.model, self.method, self.condition)

    @model_validator(mode="after")
    def _a_number_has_a_source(self) -> Self:
        _known(self.column)
        given = [self.value is not None, self.unit is not None, self.source is not None]
        if any(given) and not all(given):
            raise ValueError(
                "a number needs value, unit and source together. Mend: give all three, or null for all three"
            )
        if self.spread is not None and self.value is None:
            raise ValueError("spread without a value. Mend: give the value, or null for both")
        return self


class Unknown(_Strict):
    """Cells of an experiment whose numbers are not known: every combination of quantity, model and method."""

    experiment: Text
    quantities: dict[Text, Column] = Field(min_length=1, description="words, each with our column or null")
    models: list[Text | None] = Field(min_length=1, description="models as the paper names them")
    methods: list[Text] = Field(min_length=1, description="names of the methods here")
    condition: Text

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        for column in self.quantities.values():
            _known(column)
        return self

    @property
    def cells(self) -> list[Cell]:
        """One cell a combination."""
        return [
            Cell(
                experiment=self.experiment,
                quantity=quantity,
                column=column,
                model=model,
                method=method,
                condition=self.condition,
                value=None,
                spread=None,
                unit=None,
                source=None,
                note=None,
            )
            for (quantity, column), model, method in product(
                self.quantities.items(), self.models, self.methods
            )
        ]


class Published(_Strict):
    """A file of the ledger."""

    cells: list[Cell] = Field(description="numbers, each with its source")
    unknown: list[Unknown] = Field(default_factory=list, description="cells whose numbers are not known")
    reasons: dict[Text, Text] = Field(
        default_factory=dict, description="why what the paper used is not used here, by its name"
    )


@dataclass(frozen=True)
class Ledger:
    """All cells of all files, in their order, and the reasons for substitutes."""

    cells: tuple[Cell, ...]
    reasons: dict[str, str]


def read_ledger(paths: Sequence[Path]) -> Ledger:
    """Read and join the files; a cell with a number takes the place of an unknown one of the same key.

    Raises:
        ReportError: a file is not of the form that `config/published/paper.yaml` documents, or two files (or two
            entries of one) give a number for one cell from one source.
    """
    files = [(path, _read(path)) for path in sorted(paths, key=lambda path: (path.name != PAPER, path.name))]
    places: dict[tuple[object, ...], Cell] = {}
    origin: dict[tuple[object, ...], Path] = {}
    for path, file in files:
        for cell in file.cells:
            key = (*cell.key, cell.retain_size, cell.scenario, cell.source)
            if key in places:
                raise ReportError(
                    f"{path}: {_name(cell)} has a number from {cell.source} already, in {origin[key]}; keep one"
                )
            places[key], origin[key] = cell, path
    numbers = list(places.values())
    known = {cell.key for cell in numbers if cell.value is not None}
    unknown = {cell.key: cell for _, file in files for entry in file.unknown for cell in entry.cells}
    cells = [cell for cell in numbers if cell.value is not None or cell.key not in known]
    cells += [cell for key, cell in unknown.items() if key not in {listed.key for listed in numbers}]
    order = list(dict.fromkeys(cell.experiment for cell in cells))
    cells.sort(key=lambda cell: order.index(cell.experiment))
    return Ledger(tuple(cells), {name: reason for _, file in files for name, reason in file.reasons.items()})


def _read(path: Path) -> Published:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Published.model_validate(content)
    except yaml.YAMLError as error:
        raise ReportError(f"{path}: not YAML ({error}); start from config/published/{PAPER}") from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'the file'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        ]
        raise ReportError(
            f"{path} cannot be used; config/published/{PAPER} documents its form:\n  " + "\n  ".join(problems)
        ) from None


def _name(cell: Cell) -> str:
    parts = [cell.experiment, cell.quantity, cell.model, cell.method, cell.where]
    return ", ".join(part for part in parts if part is not None)


@dataclass(frozen=True)
class Entry:
    """A cell beside ours.

    Attributes:
        cell: of the paper.
        model: ours that is shown, None if the report has none.
        ours: mean over seeds, in speech over speakers, in the cell's unit (fractions where the cell has none).
        verdict: how they compare.
        why: the reason for the verdict.
    """

    cell: Cell
    model: str | None
    ours: Interval | None
    verdict: Verdict
    why: str


def compare(
    ledger: Ledger, data: ReportData, experiments: Sequence[Experiment], speech: Sequence[SpeechData] = ()
) -> list[Entry]:
    """The verdict on each cell: whether the paper's number lies in our 95% interval.

    Args:
        ledger: the paper's cells.
        data: all runs of the report.
        experiments: of the report, those of sweeps size by size; a cell belongs to the first with its id and, where
            the cell names them, its size and scenario; of A-MIA, to the first of its scenario without a proxy.
        speech: of the report; a word error rate belongs to the one with its id, or else to the first.
    """
    entries = []
    for listed in ledger.cells:
        # The table has one column for all that distinguishes a cell.
        cell = listed.model_copy(update={"condition": listed.where})
        if cell.column in RATE_COLUMNS or any(cell.experiment == own.experiment.id for own in speech):
            entries.append(_entry(cell, *_spoken(cell, speech)))
        else:
            place, obstacle = _place(cell, experiments)
            found = (None, None, obstacle) if place is None else _ours(cell, data, place)
            entries.append(_entry(cell, place, *found))
    return entries


def _place(cell: Cell, experiments: Sequence[Experiment]) -> tuple[Experiment | None, str]:
    """Our experiment of a cell, or why there is none."""
    name = cell.experiment
    if name == MEMBERSHIP:
        if cell.scenario is None:
            return None, f"{name} is shown with the experiments of images: the cell has to name its scenario"
        found = [experiment for experiment in experiments if experiment.proxy is None]
        obstacle = f"no experiment of this report has scenario {cell.scenario}"
    else:
        found = [experiment for experiment in experiments if experiment.id == name]
        obstacle = f"{name} of this report has no scenario {cell.scenario}"
        if not found:
            return None, f"{name} is not in this report"
    if cell.scenario is not None:
        found = [experiment for experiment in found if experiment.scenario == cell.scenario]
        if not found:
            return None, obstacle
    sizes = sorted({experiment.retain_size for experiment in found})
    if cell.retain_size is not None:
        found = [experiment for experiment in found if experiment.retain_size == cell.retain_size]
        if not found:
            reason = (
                f"{name} of this report has retain subsets of {_sizes(sizes)}, not of {cell.retain_size:,}"
            )
            return None, reason
    elif len(sizes) > 1 and name != MEMBERSHIP:
        return None, f"{name} has retain subsets of {_sizes(sizes)}: the cell has to name its retain_size"
    return found[0], ""


def _sizes(sizes: Sequence[int]) -> str:
    return listing([f"{size:,}" for size in sizes])


def _entry(
    cell: Cell,
    experiment: Experiment | SpeechExperiment | None,
    model: str | None,
    ours: Interval | None,
    obstacle: str,
) -> Entry:
    if cell.value is None:
        return Entry(cell, model, ours, "not available", "the paper's number is not known to this project")
    if ours is None:
        return Entry(cell, model, None, "not comparable", obstacle)
    verdict: Verdict = "not comparable"
    where = f"ours has no interval (n = {ours.n})"
    if not math.isnan(ours.half_width):
        inside = abs(cell.value - ours.mean) <= ours.half_width
        verdict = "agrees" if inside else "differs"
        where = f"the paper's number is {'in' if inside else 'outside'} our 95% interval (n = {ours.n})"
    if experiment is not None and experiment.substitutions:
        return Entry(cell, model, ours, "not comparable", f"{'; '.join(experiment.substitutions)}; {where}")
    if obstacle:
        return Entry(cell, model, ours, "not comparable", f"{obstacle}; {where}")
    return Entry(cell, model, ours, verdict, where)


def _ours(cell: Cell, data: ReportData, experiment: Experiment) -> tuple[str | None, Interval | None, str]:
    """Our model, our number, and what stands against comparing them ('' if nothing does)."""
    if cell.column is None:
        return None, None, "this report measures no such quantity"
    if cell.method is None:
        return None, None, "the number is of no method"
    if cell.method not in experiment.methods:
        return None, None, f"{cell.method} is not in {experiment.id} of this report"
    model, obstacle = _model(cell.model, experiment.models)
    if model is None:
        return None, None, obstacle
    ours = summarise(rows_of(data.select(experiment).runs, model, cell.method), cell.column)
    scale = _SCALE[cell.unit] if cell.unit else 1.0
    ours = Interval(ours.mean * scale, ours.half_width * scale, ours.n)
    if math.isnan(ours.mean):
        return model, None, f"{cell.column} is not defined in every seed of ours"
    return model, ours, obstacle


def _spoken(
    cell: Cell, speech: Sequence[SpeechData]
) -> tuple[SpeechExperiment | None, str | None, Interval | None, str]:
    """Our experiment, and then as `_ours` of a word error rate: in the paper's setting, over speakers."""
    found = sorted(speech, key=lambda data: data.experiment.id != cell.experiment)
    if not found:
        return None, None, None, f"{cell.experiment} on speech is not in this report"
    experiment = found[0].experiment
    if cell.column not in RATE_COLUMNS:
        return experiment, None, None, "this report measures no such quantity"
    if PRETRAINED not in experiment.settings:
        return experiment, None, None, f"{experiment.id} of this report lacks the setting {PRETRAINED}"
    if cell.method not in experiment.methods[PRETRAINED]:
        return experiment, None, None, f"{cell.method} is not in {experiment.id} of this report"
    model, obstacle = _model(cell.model, [experiment.model])
    if model is None:
        return experiment, None, None, obstacle
    scale = _SCALE[cell.unit] if cell.unit else 1.0
    values = found[0].rate(PRETRAINED, cell.method, RATE_COLUMNS[cell.column])
    return experiment, model, interval(scale * values), obstacle


def _model(name: str | None, models: Sequence[str]) -> tuple[str | None, str]:
    """Ours for a model of the paper: the same, or one of the same family, and then the difference."""
    if name is None:
        return models[0], f"the paper's model is not stated, ours is {models[0]}"
    plain = name.lower().replace("-", "")
    for model in models:
        if model.lower().replace("-", "") == plain:
            return model, ""
    family = next((kind for kind in ("resnet", "vit") if kind in plain), plain)
    for model in models:
        if family in model.lower().replace("-", ""):
            return model, f"{model} in place of {name}"
    return None, f"this report has no model like {name}, but {listing(list(models))}"
