"""The page of a report: one HTML file that loads nothing from elsewhere and says how its numbers came about.

The files of tables and figures lie in `tables/` and `figures/` beside the page, where `write` puts them; the
page embeds the figures as SVG and links to every file.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

from orthograd.data.scenarios import Proxy
from orthograd.reporting import projections, proxy, search, shadows, sweep
from orthograd.reporting.data import REFERENCES, ExperimentData, ReportData, ReportError
from orthograd.reporting.experiment import RETRAINED, Experiment, Sweep
from orthograd.reporting.figures import figure_captions
from orthograd.reporting.names import AUDIT_PAGE, FIGURE_NAMES, NOTEBOOKS
from orthograd.reporting.ranking import verdict
from orthograd.reporting.speech import section as spoken
from orthograd.reporting.speech.experiment import file_name
from orthograd.reporting.speech.figures import figure_caption as speech_caption
from orthograd.reporting.speech.tables import all_tables, setting_text, transcribers
from orthograd.reporting.tables import TABLES, Table
from orthograd.reporting.text import listing, method_label, number
from orthograd.reporting.write import FIGURE_FORMATS, TABLE_FORMATS, figure_path, table_path
from orthograd.speech.specs import Setting


@dataclass(frozen=True)
class DataFile:
    """One input file: its name, where it came from, its SHA-256 in hexadecimal."""

    name: str
    source: str
    sha256: str


@dataclass(frozen=True)
class Conditions:
    """What the numbers depend on beside the data."""

    profile: str
    commit: str
    dirty: bool
    """Whether the working tree differed from the commit."""
    config: str
    """The validated configuration as YAML text."""
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    data_files: Sequence[DataFile]
    threads: int
    """Threads of torch within one job."""
    seconds: float
    """Computing time of training and unlearning, without evaluation, all jobs together."""


@dataclass(frozen=True)
class StopRule:
    """When an unlearning run stops: the first step that a check finds at or below the target, see `StoppingRule`."""

    target: str
    """What the target is, in words, for example 'the original model's accuracy on the validation set'."""
    check_every: int
    """Steps between two checks."""
    max_steps: int


@dataclass(frozen=True)
class ExperimentNotes:
    """One experiment of the page and how it was made."""

    experiment: Experiment
    commands: Sequence[str]
    split_sizes: Mapping[str, int]
    """Samples in each part of the data."""
    stop_rule: StopRule
    proxy: Proxy | None = None
    """What stands in for the retain set."""


@dataclass(frozen=True)
class ExperimentState:
    """Where an experiment of the paper stands in this project."""

    id: str
    experiment: str
    state: str


@dataclass(frozen=True, eq=False)
class PageContext:
    """All that the page shows."""

    title: str
    data: ReportData
    experiments: Sequence[ExperimentNotes]
    conditions: Conditions
    states: Sequence[ExperimentState]
    audit: Mapping[str, str]
    """`text` and `alarm` of the audit's headline; its page lies beside this one."""
    trials: search.SearchData | None = None
    """The trials behind the parameters, where the profile names them."""
    sweeps: Sequence[Sweep] = ()
    shadowed: shadows.ShadowData | None = None
    """U-LiRA on the shadow models of one of the experiments, where the profile has them."""
    projected: projections.ProjectionData | None = None
    """Full diagnostics along the runs of one of the experiments, if there are any."""
    notebooks: Sequence[str] = ()
    """Names of the executed notebooks in `notebooks/` beside the page."""
    speech: Sequence[spoken.SpeechNotes] = ()


@dataclass(frozen=True)
class Term:
    """An entry of the glossary."""

    term: str
    formula: str
    meaning: str


GLOSSARY = (
    Term("Original, O", "", "The model trained on all training data, the forget set included."),
    Term(
        "Retrained",
        "",
        "A model trained from scratch without the forget set: the reference to come close to. Images are standardised "
        "with the mean and deviation of the whole published training part: two numbers to which forget images add.",
    ),
    Term("Unlearned, U", "", "The original model after an unlearning method ran on it."),
    Term("Seed", "", "One split of the data, one original model and one unlearning run for each method."),
    Term(
        "Forget, retain, test",
        "",
        "Accuracy on the samples to forget, on the rest of the training data, on test data. In class forgetting, test "
        "(also in UIS and gap) is the test data of the classes that remain.",
    ),
    Term(
        "Test, forgotten class",
        "",
        "Class forgetting only: accuracy on the test samples of the forgotten class.",
    ),
    Term(
        "Test at target",
        "A_i + (A_{i+1} − A_i) (F_i − target) / (F_i − F_{i+1})",
        "Test accuracy A at equal forgetting: interpolated between the two checks i and i + 1 between which the "
        "forget accuracy F falls to the target for the first time. The headline comparison, since runs end below "
        "the target by as much as their steps are long.",
    ),
    Term(
        "UIS, random forgetting",
        "½ (|O_t − U_t| + |O_t − U_u|) / O_t",
        "Unlearning impact score, lower is better; t: test accuracy, u: accuracy on the forget set. It "
        "rewards test accuracy that stays and forget accuracy that falls to it, not likeness to a retrained "
        "model: read it beside the gap.",
    ),
    Term(
        "UIS, class forgetting",
        "½ (|O_t − U_t| + U_u) / O_t",
        "The same, with no accuracy left on the forget set.",
    ),
    Term(
        "|Δ|",
        "|A − mean of A over the retrained references of the seed|",
        "Distance of an accuracy A to retraining, in percentage points. For a retrained model: to the "
        "mean of the other references of its seed.",
    ),
    Term(
        "Gap",
        "⅓ (|Δ| forget + |Δ| retain + |Δ| test)",
        "Distance to retraining over the three sets, lower is better.",
    ),
    Term(
        "Noise floor",
        "",
        "The gap of retrained models among themselves. A method at or below it cannot be told from retraining by this "
        "gap. Each is compared with one reference fewer than a method is, which makes the floor a little too high.",
    ),
    Term(
        "± (95% t-interval)",
        "t(0.975, n − 1) · s / √n",
        "Half-width of the interval for the mean over n seeds, s: standard deviation over the seeds. Bounded "
        "scores and few seeds make it approximate.",
    ),
    Term("Steps", "", "Unlearning steps until the run stopped."),
    Term(
        "WER, CER",
        "(substituted + deleted + inserted) / said",
        "Word and character error rate, after Whisper's English normalisation of both sides, over all utterances of a "
        "set; above 100% where more is written than was said.",
    ),
    Term(
        "± and brackets in speech",
        "",
        "± is the standard deviation over forgotten speakers. Brackets: the 95% interval of the mean, or of the rate "
        "of all speakers together, from resamples of whole speakers.",
    ),
    Term("RTE", "t_retrain / t_method", "Run-time efficiency: how many times faster than retraining."),
)


def read_states(path: Path) -> tuple[ExperimentState, ...]:
    """The states of the paper's experiments from a YAML list of mappings with keys id, experiment, state.

    Raises:
        ReportError: the file is not such a list.
    """
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    keys = {"id", "experiment", "state"}
    if not isinstance(entries, list) or any(not isinstance(e, dict) or set(e) != keys for e in entries):
        raise ReportError(
            f"{path}: expected a list of mappings with exactly the keys {sorted(keys)}; mend the file"
        )
    return tuple(ExperimentState(**{key: str(value) for key, value in entry.items()}) for entry in entries)


def stop_rule_text(rule: StopRule, data: ExperimentData) -> str:
    """The stop rule in words, with its numbers; the targets are those of the runs."""
    targets = data.runs["target"].dropna()
    low, high = number(100 * targets.min(), 1), number(100 * targets.max(), 1)
    values = f"{low}%" if low == high else f"{low}% to {high}%, depending on the seed"
    often = "After every step" if rule.check_every == 1 else f"After every {rule.check_every} steps"
    back = (
        ""
        if rule.check_every == 1
        else ", and where it is at or below the target also after each step since the last time (a fall to the target "
        "that is undone before it is measured again is not seen)"
    )
    return (
        f"{often} the accuracy on the forget set is measured{back}; the run stops with the first step after which "
        f"it is at or below the target, {rule.target} ({values}). A run that has not got there after "
        f"{rule.max_steps:,} steps counts as 'target not reached', and its method is not ranked."
    )


def duration(seconds: float) -> str:
    """'1 h 2 min 3 s', without leading zero parts; rounded to whole seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((i for i, (value, _) in enumerate(parts) if value), 2)
    return " ".join(f"{value} {unit}" for value, unit in parts[first:])


def render(context: PageContext, out: Path) -> Path:
    """Write the page to ``out``; its tables and figures must lie beside it already.

    Raises:
        ReportError: a file of a table or figure is missing, or the results do not support the report.
    """
    selections = [(notes, context.data.select(notes.experiment)) for notes in context.experiments]
    sweeps = [sweep.SweepData.select(context.data, section) for section in context.sweeps]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("orthograd.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("index.html.j2").render(
        title=context.title,
        summary=summary([data for _, data in selections], sweeps, context.data, context.speech),
        conditions=context.conditions,
        commit=context.conditions.commit + (" (+ uncommitted changes)" if context.conditions.dirty else ""),
        seeds=sorted({seed for _, data in selections for seed in data.seeds}),
        total=duration(context.conditions.seconds),
        sections=[_section(notes, data, context, out.parent) for notes, data in selections],
        sweeps=[_sweep_section(data, out.parent) for data in sweeps],
        speech=[_speech_section(notes, out.parent) for notes in context.speech],
        search=None if context.trials is None else _search_section(context.trials, out.parent),
        notebooks=[
            (
                NOTEBOOKS[name],
                [_existing(out.parent, f"notebooks/{name}.{suffix}") for suffix in ("html", "ipynb")],
            )
            for name in context.notebooks
        ],
        states=context.states,
        audit=context.audit,
        audit_page=_existing(out.parent, AUDIT_PAGE),
        glossary=GLOSSARY,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(html.encode())
    return out


@dataclass(frozen=True)
class Summary:
    """The opening of the page: one sentence on what was run, and one finding a model and experiment."""

    opening: str
    findings: tuple[tuple[str, str, str], ...]
    """(experiment id, title, verdict)"""


def summary(
    selections: Sequence[ExperimentData],
    sweeps: Sequence[sweep.SweepData],
    data: ReportData,
    on_speech: Sequence[spoken.SpeechNotes] = (),
) -> Summary:
    """What was run and what came out, from the data alone; a run that several experiments show counts once."""
    methods = list(dict.fromkeys(method for s in selections for method in s.experiment.methods))
    unlearned = int((~data.runs["method"].isin(REFERENCES)).sum())
    retrained = int((data.runs["method"] == RETRAINED).sum())
    count = len(selections) + len(sweeps)
    opening = (
        f"{count} experiment{'' if count == 1 else 's'} compare{'s' if count == 1 else ''} {len(methods)} methods "
        f"({listing([method_label(method) for method in methods])}) with models retrained from scratch: "
        f"{unlearned} unlearning runs and {retrained} retrained references."
    )
    findings = []
    for selection in selections:
        several = len(selection.experiment.models) > 1
        for model in selection.experiment.models:
            title = selection.experiment.title + (f", {model}" if several else "")
            findings.append((selection.experiment.id, title, verdict(selection, model)))
    findings += [(s.sweep.id, s.sweep.title, sweep.verdict(s)) for s in sweeps]
    findings += [
        (
            notes.data.experiment.id,
            f"{notes.data.experiment.title}, {setting}",
            spoken.verdict(notes.data, setting),
        )
        for notes in on_speech
        for setting in notes.data.experiment.settings
    ]
    opening = f"{opening} {spoken.opening([notes.data for notes in on_speech])}".strip()
    return Summary(opening, tuple(findings))


@dataclass(frozen=True, eq=False)
class TableView:
    """A table as the page shows it."""

    title: str
    table: Table
    links: Sequence[str]


@dataclass(frozen=True)
class _FigureView:
    title: str
    notes: str
    source: str
    links: Sequence[str]


_TABLE_TITLES = {
    "accuracy": "Accuracy and distance to retraining",
    "membership": "Membership inference",
    "closeness": "Likeness to the retrained models",
    "per_class": "Test accuracy class by class",
    "paired": "OrthoGrad against each other method",
    "cost": "Cost",
}
_FIGURE_TITLES = {
    "equal_forgetting": "Test accuracy at equal forgetting",
    "choices": "Forms of OrthoGrad beside the best baseline",
    "tradeoff": "Forgetting against test accuracy",
    "trajectories": "Trajectories",
    "g_effect": "What a step does to the risks",
    "orthogonality": "What the projection removes",
}


def _section(
    notes: ExperimentNotes, data: ExperimentData, context: PageContext, folder: Path
) -> dict[str, object]:
    shadowed, projected = context.shadowed, context.projected
    tables = [make(data) for make in TABLES]
    captions = figure_captions(data)
    identifier = notes.experiment.id
    return {
        "experiment": notes.experiment,
        "setting": tables[0].caption.setting,
        "tables": [table_view(_TABLE_TITLES[table.name], table, folder) for table in tables],
        "figures": [
            _figure_view(_FIGURE_TITLES[name], identifier, name, captions[name].notes, folder)
            for name in FIGURE_NAMES
        ],
        "projections": None
        if projected is None or projected.experiment.id != identifier
        else _figure_view(
            projections.TITLE, identifier, projections.NAME, projections.caption(projected).notes, folder
        ),
        "shadows": None
        if shadowed is None or shadowed.experiment.id != identifier
        else table_view("Membership inference with shadow models", shadows.table(shadowed), folder),
        "proxy": None
        if notes.proxy is None
        else _figure_view(
            "Examples of the proxy", identifier, proxy.NAME, proxy.caption("", notes.proxy).notes, folder
        ),
        "commands": notes.commands,
        "split_sizes": notes.split_sizes,
        "stop_rule": stop_rule_text(notes.stop_rule, data),
    }


def _sweep_section(data: sweep.SweepData, folder: Path) -> dict[str, object]:
    caption = sweep.figure_caption(data)
    return {
        "id": data.sweep.id,
        "title": data.sweep.title,
        "setting": caption.setting,
        "table": table_view("Sizes of the retain subset", sweep.table(data), folder),
        "figure": _figure_view("Against the size", data.sweep.id, sweep.NAME, caption.notes, folder),
    }


_SPEECH_TABLE_TITLES = {
    "wer": "Word error rates",
    "cer": "Character error rates",
    "errors": "Kinds of errors",
    "equal_forgetting": "Test word error rate at equal forgetting",
    "similarity": "Damage to voices like the forgotten one",
    "cost": "Cost",
    "retraining": "Distance to the retrained model",
    "membership": "Membership inference",
    "ablation": "Forms of OrthoGrad",
}
_SPEECH_FIGURE_TITLES = {
    "speakers": "Word error rates speaker by speaker",
    "curves": "Test against forget word error rate",
    "similarity": "Damage against likeness of voices",
    "ablation": "Forms of OrthoGrad speaker by speaker",
}


def _speech_section(notes: spoken.SpeechNotes, folder: Path) -> dict[str, object]:
    experiment = notes.data.experiment
    tables = all_tables(notes.data, list(notes.audio))

    def of_setting(setting: Setting) -> dict[str, object]:
        shown = tables[setting]
        models = transcribers(notes.data, setting)
        return {
            "name": setting,
            "setting": setting_text(notes.data, setting),
            "tables": [
                table_view(title, shown[name], folder)
                for name, title in _SPEECH_TABLE_TITLES.items()
                if name in shown
            ],
            "figures": [
                _figure_view(
                    title,
                    experiment.id,
                    file_name(name, setting),
                    speech_caption(notes.data, setting, name).notes,
                    folder,
                )
                for name, title in _SPEECH_FIGURE_TITLES.items()
                if name in experiment.figure_names(setting)
            ],
            "transcripts": table_view("Transcripts", shown["transcripts"], folder),
            "models": [(model, method_label(model)) for model in models],
            "spoken": spoken.spoken(notes, setting),
        }

    for path in notes.audio.values():
        _existing(folder, path)
    return {
        "experiment": experiment,
        "settings": [of_setting(setting) for setting in experiment.settings],
        "corpus": spoken.corpus_text(notes.data),
        "stop_rule": spoken.stop_text(notes.data),
        "commands": notes.commands,
    }


def _search_section(data: search.SearchData, folder: Path) -> dict[str, object]:
    return {
        "id": search.SECTION,
        "title": search.TITLE,
        "opening": search.opening(data),
        "setting": search.setting(data),
        "tables": [
            table_view(f"Scenario {scenario}", search.table(data, scenario), folder)
            for scenario in data.scenarios
        ],
        "figure": _figure_view(
            "All trials", search.SECTION, search.FIGURE, search.figure_caption(data).notes, folder
        ),
    }


def table_view(title: str, table: Table, folder: Path) -> TableView:
    """A table with the links to its files.

    Raises:
        ReportError: a file is missing.
    """
    paths = [table_path(table.experiment_id, table.name, suffix) for suffix in TABLE_FORMATS]
    return TableView(title, table, [_existing(folder, path) for path in paths])


def _figure_view(title: str, identifier: str, name: str, notes: str, folder: Path) -> _FigureView:
    links = [_existing(folder, figure_path(identifier, name, suffix)) for suffix in FIGURE_FORMATS]
    return _FigureView(title, notes, _embedded(folder / figure_path(identifier, name, "svg")), links)


def _existing(folder: Path, relative: str) -> str:
    if not (folder / relative).is_file():
        raise ReportError(
            f"{folder / relative} is missing, to which the page links; write the tables and figures of every "
            "experiment before the page (run `snakemake`)"
        )
    return relative


def _embedded(svg: Path) -> str:
    # As an image rather than inline, so that the ids inside two figures cannot clash.
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.read_bytes()).decode()}"
