"""Check the results against each other and write the audit page with its tables."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from orthograd import methods
from orthograd.audit import (
    Evidence,
    Raw,
    Record,
    Scored,
    Search,
    Shadows,
    Speech,
    SplitFile,
    audit,
    commits,
    machines,
    makings,
    read_speech,
    shadow_runs,
)
from orthograd.audit.images import REFERENCES
from orthograd.config import Profile
from orthograd.data.download import PROVENANCE
from orthograd.data.registry import registry
from orthograd.records import read_json, read_json_list, write_json
from orthograd.reporting.audit import AuditContext, audit_tables, headline, render_audit
from orthograd.reporting.claims import Study, decide
from orthograd.reporting.ledger import compare, read_ledger
from orthograd.reporting.write import write_table
from orthograd.scores import read_shadow_scores
from orthograd.search import Choices, Range, Tuning
from orthograd.steps import results
from orthograd.steps.page import data_files, notes


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--profile", type=Profile.model_validate_json, required=True, help="JSON: the config")
    results.add_table_arguments(parser)
    results.add_speech_arguments(parser)
    parser.add_argument(
        "--evidence", type=Path, nargs="+", required=True, help="evidence.json, one an experiment"
    )
    parser.add_argument(
        "--split", type=Path, nargs="+", required=True, help="every split: scenario by scenario, seed by seed"
    )
    for name, what in (
        ("split", "split"),
        ("scores", "outputs, one a kind"),
        ("record", "JSON beside these"),
    ):
        parser.add_argument(
            f"--shadow-{name}", type=Path, nargs="*", default=[], help=f"of shadow models: {what}"
        )
    parser.add_argument("--raw", type=Path, nargs="+", required=True, help="folder of each dataset's files")
    parser.add_argument("--search", type=Path, nargs="?", help="JSON: what the search for parameters read")
    parser.add_argument(
        "--tuning-split",
        type=Path,
        nargs="*",
        default=[],
        help="every split of the search: scenario by scenario, seed by seed",
    )
    parser.add_argument(
        "--published", type=Path, nargs="+", required=True, help="YAML files of the paper's numbers"
    )
    parser.add_argument("--deviations", type=Path, required=True, help="CSV: first steps with each deviation")
    parser.add_argument("--summary", type=Path, required=True, help="JSON file to write: the headline")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write")


def run(arguments: Namespace) -> None:
    profile: Profile = arguments.profile
    data = results.read(arguments)
    speech = results.read_speech(arguments)
    evidence = _evidence(profile, arguments)
    splits = {(split.dataset, split.scenario, split.seed): split for split in evidence.splits}
    study = Study(
        data,
        profile.comparisons,
        {
            (dataset, scenario): int((split.rows["set"] == "retain").sum())
            for (dataset, scenario, seed), split in splits.items()
            if seed == profile.seeds[0]
        },
        speech,
    )
    shadowed = _shadows(profile, arguments, evidence)
    spoken = _speech(profile, arguments)
    ran = makings(evidence, shadowed, spoken)
    ledger = read_ledger(arguments.published)
    context = AuditContext(
        data=data,
        notes=[
            notes(
                profile,
                experiment,
                Path(splits[experiment.dataset, experiment.scenario, profile.seeds[0]].file),
            )
            for experiment in profile.experiments
        ],
        checks=audit(evidence, shadowed, spoken),
        claims=decide(study),
        entries=compare(ledger, data, profile.comparisons, speech),
        ledger=ledger,
        seeds=profile.seeds,
        tuning_seeds=profile.tuning.seeds if profile.tuning else [],
        machines=machines(ran),
        commits=commits(ran),
        data_files=data_files(arguments.raw),
        first_steps=pd.read_csv(arguments.deviations),
        speech=arguments.speech,
    )
    for table in audit_tables(context):
        write_table(table, arguments.page.parent)
    render_audit(context, arguments.page)
    found = headline(context.checks, context.claims)
    write_json(arguments.summary, {"text": found.text, "alarm": found.alarm, "failed": list(found.failed)})


def _evidence(profile: Profile, arguments: Namespace) -> Evidence:
    runs: dict[str, Record] = {}
    for path in arguments.evidence:
        # A run that several experiments show is one run.
        runs |= {entry["file"]: entry for entry in read_json(path)["runs"]}
    places = [
        (dataset, scenario, seed)
        for dataset, scenario in dict.fromkeys((e.dataset, e.scenario) for e in profile.comparisons)
        for seed in profile.seeds
    ]
    return Evidence(
        runs=list(runs.values()),
        splits=[
            SplitFile(str(path), *place, _split(path))
            for path, place in zip(arguments.split, places, strict=True)
        ],
        seeds=profile.seeds,
        raw=[
            Raw(registry().dataset(name), folder, read_json_list(folder / PROVENANCE))
            for name, folder in zip(profile.datasets, arguments.raw, strict=True)
        ],
        search=_search(profile, arguments.search, arguments.tuning_split),
        single_seed_models=profile.single_seed_models,
    )


def _split(path: Path) -> pd.DataFrame:
    # Not by `read_split`, which refuses what the audit has to find.
    return pd.read_csv(path, dtype={"source": "str", "sha256": "str", "set": "str"}, keep_default_na=False)


def _search(profile: Profile, path: Path | None, splits: Sequence[Path]) -> Search | None:
    if profile.tuning is None:
        return None
    tuning = profile.tuning
    trials = profile.trials or f"config/tuned/{profile.profile}.csv"
    # `snakemake tune` writes the trials beside it.
    table = None if path is None else path.with_suffix(".csv")
    return Search(
        tuning.seeds,
        # As the repository names it, wherever that lies.
        str(Path(trials).with_suffix(".json")),
        None if path is None else read_json(path),
        {
            (scenario, method): _planned_trials(tuning, method)
            for scenario, setting in profile.scenarios.items()
            for method in tuning.methods
            # A search of a method without parameters in this profile has no number of this report to answer for.
            if setting.kind in methods.load(method).scenarios and method in profile.methods.get(scenario, {})
        },
        pd.read_csv(table) if table is not None and table.is_file() else None,
        tuning.images,
        [
            SplitFile(str(file), tuning.dataset, *place, _split(file))
            for file, place in zip(splits, product(profile.scenarios, tuning.seeds), strict=True)
        ]
        if splits
        else [],
    )


def _planned_trials(tuning: Tuning, method: str) -> int:
    searched = any(isinstance(value, Range | Choices) for value in tuning.spaces[method].values())
    return tuning.trials if searched else 1


def _shadows(profile: Profile, arguments: Namespace, evidence: Evidence) -> Shadows | None:
    """The shadow models as runs like those of the reported seeds; None where the profile has none."""
    study = profile.shadows
    if study is None:
        return None
    (experiment,) = (own for own in profile.experiments if own.id == study.experiment)
    kinds = [*REFERENCES, *study.methods]
    scored = {
        kind: Scored(str(record), read_json(record), scores.labels, scores.unlearned)
        for kind, record, scores in zip(
            kinds, arguments.shadow_record, map(read_shadow_scores, arguments.shadow_scores), strict=True
        )
    }
    place = (experiment.dataset, experiment.scenario)
    runs = shadow_runs(
        {
            "dataset": experiment.dataset,
            "model": study.model,
            "scenario": experiment.scenario,
            "retain_size": experiment.retain_size,
        },
        scored,
    )
    splits = [
        SplitFile(str(path), *place, seed, _split(path))
        for seed, path in zip(study.seeds, arguments.shadow_split, strict=True)
    ]
    whole = (split for split in evidence.splits if split.key == (*place, profile.seeds[0]))
    return Shadows(Evidence(runs, splits, study.seeds, [], None), next(whole, None), scored, evidence.runs)


def _speech(profile: Profile, arguments: Namespace) -> Speech | None:
    """What was collected of the speech experiment, nothing where it is not there; None where the profile has none."""
    if profile.speech is None:
        return None
    return read_speech(
        arguments.collected[0] if arguments.collected else None,
        profile.speech.runs,
        profile.speech.speakers.forgettable,
        profile.speech.seeds,
    )
