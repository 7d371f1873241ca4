"""The checked config, the paths, and what the rules look up. No science here."""

import json
from pathlib import Path

from snakemake.exceptions import WorkflowError

from orthograd import methods
from orthograd.config import ConfigError, validate
from orthograd.data.registry import registry
from orthograd.provenance import code_version
from orthograd.reporting.experiment import PUBLISHED
from orthograd.reporting.names import (
    AUDIT,
    AUDIT_PAGE,
    AUDIT_TABLE_NAMES,
    FIGURE_NAMES,
    TABLE_NAMES,
)

try:
    PROFILE = validate(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# For `--software-deployment-method conda`; without it the rules use the environment that runs Snakemake.
ENVIRONMENT = f"{workflow.basedir}/workflow/envs/orthograd.yaml"

DATA = "results/data/{dataset}"
RESULTS = f"results/{PROFILE.profile}"
REPORT = f"reports/{PROFILE.profile}"
BASE_SPLIT = f"{RESULTS}/{{dataset}}/splits/seed{{seed}}.csv"
SCENARIO = f"{RESULTS}/{{dataset}}/{{scenario}}"
SPLIT = f"{SCENARIO}/splits/seed{{seed}}.csv"
ORIGINAL = f"{RESULTS}/{{dataset}}/{{model}}/original/seed{{seed}}"
ORIGINAL_IN_SCENARIO = (
    f"{RESULTS}/{{dataset}}/{{model}}/{{scenario}}/original/seed{{seed}}"
)
RETRAINED = f"{RESULTS}/{{dataset}}/{{model}}/{{scenario}}/retrained/seed{{seed}}/replicate{{replicate}}"
COLLECTED = f"{RESULTS}/experiments/{{experiment}}"
UNLEARNED = f"{RESULTS}/{{dataset}}/{{model}}/{{scenario}}/retain{{retain_size}}/{{method}}/seed{{seed}}"

SEEDS = PROFILE.seeds
EXPERIMENTS = {experiment.id: experiment for experiment in PROFILE.experiments}
METHODS = {name for section in PROFILE.methods.values() for name in section}
REPLICATES = list(range(PROFILE.replicates))
# A search compares with one retrained model a seed.
RETRAINED_ONCE = RETRAINED.replace("{replicate}", "0")
TUNING = PROFILE.tuning
TUNING_SEEDS = TUNING.seeds if TUNING else []
SEARCHED = TUNING.methods if TUNING else []
TRIALS = f"{RESULTS}/tuning/{{dataset}}/{{model}}/{{scenario}}/retain{{retain_size}}/{{method}}"
# Jobs ask a cluster for a GPU only where the config asks for one: `auto` takes what it finds.
GPU = 0 if PROFILE.device in ("auto", "cpu") else 1


wildcard_constraints:
    dataset="|".join(PROFILE.datasets),
    model="|".join(PROFILE.models),
    scenario="|".join(PROFILE.scenarios),
    method="|".join(sorted({*METHODS, *SEARCHED})) + f"|[a-z0-9_]+{PUBLISHED}",
    experiment="|".join(EXPERIMENTS),
    retain_size=r"\d+",


def each_seed(path):
    """The path for every seed; the other wildcards stay."""
    return expand(path, seed=SEEDS, allow_missing=True)


def each_tuning_seed(path):
    """The path for every seed of the search; the other wildcards stay."""
    return expand(path, seed=TUNING_SEEDS, allow_missing=True)


def each_reference(path):
    """The path for every retrained model: seed by seed, replicate by replicate."""
    return expand(path, seed=SEEDS, replicate=REPLICATES, allow_missing=True)


def as_json(**spec):
    """A step's settings, as the text of its --spec argument."""
    return json.dumps(spec, sort_keys=True)


def dumped(model):
    """A section of the config as plain values."""
    return model.model_dump(mode="json")


def runtime_spec():
    """The settings that say how torch computes."""
    return {"device": PROFILE.device, "threads": PROFILE.threads}


def registered_files(wildcards):
    """What the registry says of the dataset's files: a new version is downloaded."""
    return as_json(
        files=[dumped(file) for file in registry().dataset(wildcards.dataset).files]
    )


def registered(wildcards):
    """What of the registry goes into the prepared dataset."""
    return as_json(**registry().dataset(wildcards.dataset).prepared)


def preparation_spec(wildcards):
    subset = PROFILE.datasets[wildcards.dataset].subset
    return as_json(subset=dumped(subset) if subset else None)


def base_split_spec(wildcards):
    return as_json(sizes=dumped(PROFILE.datasets[wildcards.dataset]))


def scenario_spec(wildcards):
    return as_json(scenario=dumped(PROFILE.scenarios[wildcards.scenario]))


def training_spec(wildcards):
    return as_json(
        model=wildcards.model,
        training=dumped(PROFILE.models[wildcards.model]),
        **runtime_spec(),
    )


def start_spec(wildcards):
    """What a run of a method starts from, and when it stops."""
    scenario = PROFILE.scenarios[wildcards.scenario]
    stopping = dumped(PROFILE.stopping)
    class_target = stopping.pop("class_target")
    return {
        "model": wildcards.model,
        "retain_size": int(wildcards.retain_size),
        "method": wildcards.method.removesuffix(PUBLISHED),
        "stopping": stopping,
        "target": class_target if scenario.kind == "class" else None,
        "evaluation_batch": PROFILE.evaluation_batch,
        **runtime_spec(),
    }


def unlearning_spec(wildcards):
    own_end = wildcards.method.endswith(PUBLISHED)
    if own_end:
        method = methods.load(wildcards.method.removesuffix(PUBLISHED))
        params = dict(method.published.params)
    else:
        params = PROFILE.methods[wildcards.scenario][wildcards.method]
    return as_json(params=params, own_end=own_end, **start_spec(wildcards))


def tuning_spec(wildcards):
    return as_json(
        space={
            key: dumped(value) if hasattr(value, "model_dump") else value
            for key, value in TUNING.spaces[wildcards.method].items()
        },
        trials=TUNING.trials,
        seconds=TUNING.seconds,
        **start_spec(wildcards),
    )


def searches():
    """Each (scenario, method) that is searched: methods that are not defined for a kind of scenario are left out."""
    return [
        (scenario, method)
        for scenario, setting in PROFILE.scenarios.items()
        for method in SEARCHED
        if setting.kind in methods.load(method).scenarios
    ]


def tuning_trials():
    """The trials of each search."""
    return [
        f"{TRIALS}.csv".format(
            dataset=TUNING.dataset,
            model=TUNING.model,
            retain_size=TUNING.retain_size,
            scenario=scenario,
            method=method,
        )
        for scenario, method in searches()
    ]


def evaluation_spec(wildcards):
    """What is evaluated: the wildcards that the path has name it in the tables."""
    run = {
        "dataset": wildcards.dataset,
        "model": wildcards.model,
        "scenario": wildcards.scenario,
        "scenario_kind": PROFILE.scenarios[wildcards.scenario].kind,
        "retain_size": (
            int(wildcards.retain_size) if "retain_size" in wildcards.keys() else None
        ),
    }
    return as_json(**run, evaluation_batch=PROFILE.evaluation_batch, **runtime_spec())


def method_code(wildcards):
    name = wildcards.method.removesuffix(PUBLISHED)
    return code_version("orthograd.steps.unlearn", methods.module(name))


def tuning_code(wildcards):
    return code_version("orthograd.steps.tune", methods.module(wildcards.method))


def experiment_spec(wildcards):
    return EXPERIMENTS[wildcards.experiment].model_dump_json()


def experiment_splits():
    """A split of each experiment: that of the first seed."""
    return [
        SPLIT.format(
            dataset=experiment.dataset, scenario=experiment.scenario, seed=SEEDS[0]
        )
        for experiment in PROFILE.experiments
    ]


def all_splits():
    """The splits of all experiments: scenario by scenario, seed by seed."""
    places = dict.fromkeys(
        (experiment.dataset, experiment.scenario) for experiment in PROFILE.experiments
    )
    return [
        SPLIT.format(dataset=dataset, scenario=scenario, seed=seed)
        for dataset, scenario in places
        for seed in SEEDS
    ]


def each_experiment(path):
    """The path for every experiment; the other wildcards stay."""
    return expand(path, experiment=EXPERIMENTS, allow_missing=True)


def experiment_runs(name):
    """A file of every run that an experiment shows."""
    return lambda wildcards: [f"{folder}/{name}" for folder in run_folders(wildcards)]


def run_folders(wildcards):
    experiment = EXPERIMENTS[wildcards.experiment]
    keys = {
        "dataset": experiment.dataset,
        "model": experiment.models,
        "scenario": experiment.scenario,
        "retain_size": experiment.retain_size,
        "method": experiment.rows,
        "seed": SEEDS,
        "replicate": REPLICATES,
    }
    return [
        path
        for pattern in (ORIGINAL_IN_SCENARIO, RETRAINED, UNLEARNED)
        for path in dict.fromkeys(expand(pattern, **keys))
    ]
