"""Draw examples of what stands in for the retain set of an experiment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orthograd.data.images import load
from orthograd.data.proxy import proxy_images, proxy_split
from orthograd.data.scenarios import Proxy
from orthograd.data.splits import read_split, retain_subset
from orthograd.reporting.experiment import Experiment
from orthograd.reporting.proxy import figure
from orthograd.reporting.write import write_figure


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    proxy: Proxy


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help='JSON: {"proxy": …}')
    parser.add_argument("--experiment", type=Experiment.model_validate_json, required=True, help="JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset")
    parser.add_argument(
        "--proxy-data", type=Path, nargs="?", help="prepared dataset of a proxy from another one"
    )
    parser.add_argument("--split", type=Path, required=True, help="scenario's split of that seed")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")


def run(arguments: Namespace) -> None:
    dataset = load(arguments.data)
    other = None if arguments.proxy_data is None else load(arguments.proxy_data)
    split = read_split(arguments.split)
    experiment, proxy = arguments.experiment, arguments.spec.proxy
    extended = proxy_split(split, dataset, proxy, arguments.seed, other)
    pool = extended[extended["set"] == "proxy"].sort_values("retain_order").head(experiment.retain_size)
    retained = retain_subset(split, experiment.retain_size)
    # The first image of each class that both have.
    labels = sorted(set(pool["label"]) & set(retained["label"]))
    stand_in, retain = (
        rows.drop_duplicates("label").set_index("label", drop=False).loc[labels] for rows in (pool, retained)
    )
    write_figure(
        figure(
            experiment.id,
            experiment.title,
            proxy,
            [dataset.classes[label] for label in labels],
            dataset.images(retain["source"].iloc[0], retain["row"].tolist()).numpy(),
            proxy_images(stand_in, dataset, proxy, arguments.seed, other).numpy(),
        ),
        arguments.out,
    )
