"""Attack shadow models by U-LiRA, each with the others as its shadows, and write the table of an experiment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from orthograd.measures import fake_shadows, shadow_attack
from orthograd.reporting.experiment import ORIGINAL, Experiment
from orthograd.reporting.shadows import FAKE, ShadowData, table
from orthograd.reporting.write import write_table
from orthograd.scores import read_shadow_scores
from orthograd.specs import ShadowStudy


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--experiment", type=Experiment.model_validate_json, required=True, help="JSON")
    parser.add_argument("--study", type=ShadowStudy.model_validate_json, required=True, help="JSON")
    parser.add_argument(
        "--name", nargs="+", required=True, help="original, retrained, and the methods' names"
    )
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="of the shadow models of each")
    parser.add_argument("--results", type=Path, required=True, help="CSV to write: one row a judged model")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def run(arguments: Namespace) -> None:
    scores = dict(zip(arguments.name, map(read_shadow_scores, arguments.scores), strict=True))
    kinds = {FAKE: fake_shadows(scores[ORIGINAL]), **scores}
    results = pd.DataFrame(
        {"method": kind, "shadow": seed} | row
        for kind, found in kinds.items()
        for seed, row in zip(arguments.study.seeds, shadow_attack(found), strict=True)
    )
    results.to_csv(arguments.results, index=False, lineterminator="\n")
    data = ShadowData(arguments.experiment, arguments.study, results)
    write_table(table(data), arguments.out)
