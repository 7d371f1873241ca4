"""Write the report's page, and beside it the config that it was made with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from orthograd.config import Profile
from orthograd.data.download import PROVENANCE
from orthograd.data.splits import read_split
from orthograd.records import read_json, read_json_list, write_json
from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, Experiment
from orthograd.reporting.page import (
    Conditions,
    DataFile,
    ExperimentNotes,
    PageContext,
    StopRule,
    read_states,
    render,
)
from orthograd.reporting.projections import ProjectionData
from orthograd.reporting.search import SearchData
from orthograd.reporting.shadows import ShadowData
from orthograd.reporting.speech.section import SpeechNotes, audio_of
from orthograd.steps import results

HARDWARE = ("processor", "cores", "system", "device", "threads")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--profile", type=Profile.model_validate_json, required=True, help="JSON: the config")
    results.add_table_arguments(parser)
    results.add_speech_arguments(parser)
    parser.add_argument(
        "--conditions", type=Path, nargs="+", required=True, help="conditions.json, one an experiment"
    )
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="a split of each experiment")
    parser.add_argument("--raw", type=Path, nargs="+", required=True, help="folder of each dataset's files")
    parser.add_argument(
        "--notebooks",
        type=Path,
        nargs="*",
        default=[],
        help="pages of the notebooks, in the folder beside the page",
    )
    parser.add_argument(
        "--states", type=Path, required=True, help="YAML: the paper's experiments and their state"
    )
    parser.add_argument("--audit", type=Path, required=True, help="JSON: the audit's headline")
    parser.add_argument("--projections", type=Path, required=True, help="CSV: full diagnostics along runs")
    parser.add_argument("--projected", required=True, help="id of the experiment whose runs these are")
    parser.add_argument("--shadows", type=Path, nargs="?", help="CSV: what U-LiRA found")
    parser.add_argument("--trials", type=Path, nargs="?", help="CSV: all trials of `snakemake tune`")
    parser.add_argument("--config", type=Path, required=True, help="YAML file to write")
    parser.add_argument(
        "--made-with", type=Path, required=True, help="JSON file to write: commit, machine, versions"
    )
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write")


def run(arguments: Namespace) -> None:
    profile: Profile = arguments.profile
    config = yaml.safe_dump(
        profile.model_dump(mode="json", exclude={"mirror", "from_scores"}),
        sort_keys=False,
        allow_unicode=True,
    )
    arguments.config.write_text(config, encoding="utf-8")
    data = results.read(arguments)
    speech = results.read_speech(arguments)
    conditions = _conditions(
        profile,
        config,
        [
            read_json(path)
            for path in (
                *arguments.conditions,
                *(folder / "conditions.json" for folder in arguments.collected),
            )
        ],
        data_files(arguments.raw),
        _computing_time(data.costs) + sum(float(spoken.runs["seconds"].sum()) for spoken in speech),
    )
    write_json(arguments.made_with, asdict(conditions))
    render(
        PageContext(
            title="OrthoGrad, reproduced",
            data=data,
            experiments=[
                notes(profile, experiment, split)
                for experiment, split in zip(profile.experiments, arguments.split, strict=True)
            ],
            conditions=conditions,
            states=read_states(arguments.states),
            sweeps=profile.sweeps,
            audit=read_json(arguments.audit),
            projected=_projections(profile, arguments.projected, arguments.projections),
            shadowed=_shadows(profile, arguments.shadows),
            trials=_trials(profile, arguments.trials),
            notebooks=[path.stem for path in arguments.notebooks],
            speech=[
                SpeechNotes(
                    spoken,
                    # config.yaml lies beside the page.
                    [f"snakemake --cores 2 --configfile config.yaml -- {folder}"],
                    audio_of(arguments.page.parent, spoken.experiment),
                )
                for spoken, folder in zip(speech, arguments.collected, strict=True)
            ],
        ),
        arguments.page,
    )


def data_files(folders: Sequence[Path]) -> list[DataFile]:
    """The files of datasets, as noted when they arrived in these folders."""
    return [
        DataFile(file["file"], f"{file['source']}: {_place(file['location'])}", _checksum(file))
        for folder in folders
        for file in read_json_list(folder / PROVENANCE)
    ]


def _place(location: str) -> str:
    """Where a file came from, without the folders of this machine: a page is there to be shown to others."""
    return Path(location).name if Path(location).is_absolute() else location


def _projections(profile: Profile, identifier: str, path: Path) -> ProjectionData:
    (experiment,) = (own for own in profile.experiments if own.id == identifier)
    params = profile.methods[experiment.scenario][ORTHOGRAD]
    return ProjectionData(experiment, params, pd.read_csv(path))


def _shadows(profile: Profile, path: Path | None) -> ShadowData | None:
    if profile.shadows is None or path is None:
        return None
    (experiment,) = (own for own in profile.experiments if own.id == profile.shadows.experiment)
    return ShadowData(experiment, profile.shadows, pd.read_csv(path))


def _trials(profile: Profile, path: Path | None) -> SearchData | None:
    if profile.tuning is None or path is None:
        return None
    return SearchData.read(path, profile.tuning)


def _computing_time(costs: pd.DataFrame) -> float:
    """Seconds of all trainings and unlearning runs; an original model serves several scenarios, trained once."""
    originals = costs["method"] == ORIGINAL
    once = costs[originals].drop_duplicates(["dataset", "model", "seed"])
    return float(costs.loc[~originals, "seconds"].sum() + once["seconds"].sum())


def _conditions(
    profile: Profile,
    config: str,
    made_with: Sequence[dict[str, Any]],
    files: Sequence[DataFile],
    seconds: float,
) -> Conditions:
    """What the runs say of themselves; where they were made under several conditions, each is named."""
    commits = sorted({commit for conditions in made_with for commit in conditions["commits"]})
    machines = [machine for conditions in made_with for machine in conditions["machines"]]
    values = {key: ", ".join(dict.fromkeys(str(machine[key]) for machine in machines)) for key in machines[0]}
    return Conditions(
        profile=profile.profile,
        commit=", ".join(dict.fromkeys(commit.removesuffix("+changes") for commit in commits)),
        dirty=any(commit.endswith("+changes") for commit in commits),
        config=config,
        machine={key: values[key] for key in HARDWARE},
        versions={key: value for key, value in values.items() if key not in HARDWARE},
        data_files=files,
        threads=profile.threads,
        seconds=seconds,
    )


def _checksum(file: dict[str, str | None]) -> str:
    """What a file was verified by; a folder that the user brought is verified by nothing."""
    md5 = file.get("md5")
    return file["sha256"] or (f"not known (MD5 {md5})" if md5 else "not verified")


def notes(profile: Profile, experiment: Experiment, split: Path) -> ExperimentNotes:
    """How an experiment was made."""
    kind = profile.scenarios[experiment.scenario].kind
    sizes = read_split(split)["set"].value_counts(sort=False).to_dict()
    return ExperimentNotes(
        experiment=experiment,
        # config.yaml lies beside the page.
        commands=[
            f"snakemake --cores 2 --configfile config.yaml -- "
            f"results/{profile.profile}/experiments/{experiment.id}/runs.csv"
        ],
        split_sizes={
            **{str(name).replace("_", ", "): size for name, size in sizes.items()},
            "retain subset": experiment.retain_size,
        },
        stop_rule=StopRule(
            target="the original model's accuracy on the validation images"
            if kind == "random"
            else "class_target in the config",
            check_every=profile.stopping.every,
            max_steps=profile.stopping.max_steps,
        ),
        proxy=None if experiment.proxy is None else profile.proxies[experiment.proxy],
    )
