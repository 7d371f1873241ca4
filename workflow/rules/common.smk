"""The checked config, the paths, and what the rules look up. No science here."""

import json
from pathlib import Path

from snakemake.exceptions import WorkflowError

from orthograd import methods, notebook
from orthograd.config import ConfigError, validate
from orthograd.data.registry import registry
from orthograd.provenance import code_version
from orthograd.reporting.experiment import ORTHOGRAD, PUBLISHED
from orthograd.reporting.names import (
    AUDIT,
    AUDIT_PAGE,
    AUDIT_TABLE_NAMES,
    FIGURE_NAMES,
    NOTEBOOKS,
    TABLE_NAMES,
)
from orthograd.reporting.speech.experiment import SpeechExperiment

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
UNLEARNED = f"{RESULTS}/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}/seed{{seed}}"

# What the speech experiment collected, where the profile has one. Where the scores are given, so is this folder.
SPEECH_EXPERIMENTS = (
    [COLLECTED.format(experiment=PROFILE.speech.id)] if PROFILE.speech else []
)

SEEDS = PROFILE.seeds
EXPERIMENTS = {experiment.id: experiment for experiment in PROFILE.experiments}
SWEEPS = {sweep.id: sweep for sweep in PROFILE.sweeps}
RUNS = {run for scenario in PROFILE.scenarios for run in PROFILE.runs(scenario)}
REPLICATES = list(range(PROFILE.replicates))
# A search compares with one retrained model a seed.
RETRAINED_ONCE = RETRAINED.replace("{replicate}", "0")
TUNING = PROFILE.tuning
TUNING_SEEDS = TUNING.seeds if TUNING else []
SEARCHED = TUNING.methods if TUNING else []
# Models of which only the first seed is run.
SINGLE = PROFILE.single_seed_models
# The experiment whose scenario the shadow models have.
SHADOW_STUDY = PROFILE.shadows
SHADOWED = EXPERIMENTS[SHADOW_STUDY.experiment] if SHADOW_STUDY else None
SHADOW_SEEDS = SHADOW_STUDY.seeds if SHADOW_STUDY else []
SHADOW_TRAINED = f"{SCENARIO}/shadows/trained/seed{{seed}}.csv"
SHADOW_SPLIT = f"{SCENARIO}/shadows/splits/seed{{seed}}.csv"
SHADOWS = f"{RESULTS}/{{dataset}}/{{model}}/{{scenario}}/shadows"
SHADOW_UNLEARNED = f"{SHADOWS}/{{source}}{{retain_size}}/{{method}}"
ULIRA = f"{REPORT}/ulira.csv"
TRIALS = f"{RESULTS}/tuning/{{dataset}}/{{model}}/{{scenario}}/retain{{retain_size}}/{{method}}"
# Jobs ask a cluster for a GPU only where the config asks for one: `auto` takes what it finds.
GPU = 0 if PROFILE.device in ("auto", "cpu") else 1


wildcard_constraints:
    dataset="|".join(PROFILE.datasets),
    model="|".join(PROFILE.models),
    scenario="|".join(PROFILE.scenarios),
    method="|".join(sorted({*RUNS, *SEARCHED})) + f"|[a-z0-9_]+{PUBLISHED}",
    experiment="|".join((*EXPERIMENTS, *SWEEPS)),
    source="|".join(("retain", *(f"proxy-{name}-" for name in PROFILE.proxies))),
    retain_size=r"\d+",


def each_seed(path):
    """The path for every seed; the other wildcards stay."""
    return expand(path, seed=SEEDS, allow_missing=True)


def first_seed(path):
    """The path for the first seed, as a list; the other wildcards stay."""
    return expand(path, seed=SEEDS[:1], allow_missing=True)


def first_reference(path):
    """The path for every retrained model of the first seed."""
    return expand(path, seed=SEEDS[:1], replicate=REPLICATES, allow_missing=True)


def each_tuning_seed(path):
    """The path for every seed of the search; the other wildcards stay."""
    return expand(path, seed=TUNING_SEEDS, allow_missing=True)


def each_shadow(path):
    """The path for every shadow model; the other wildcards stay."""
    return expand(path, seed=SHADOW_SEEDS, allow_missing=True)


def shadow_kinds():
    """The kinds of shadow models, by name: the folder of each under `SHADOWS`."""
    subset = f"{SHADOWED.source}{SHADOWED.retain_size}"
    return {kind: kind for kind in ("original", "retrained")} | {
        method: f"{subset}/{method}" for method in SHADOW_STUDY.methods
    }


def shadow_scores(name="scores.npz"):
    """What the shadow models of each kind say, or another file beside it; none in a profile without them."""
    if SHADOW_STUDY is None:
        return []
    folder = SHADOWS.format(
        dataset=SHADOWED.dataset, model=SHADOW_STUDY.model, scenario=SHADOWED.scenario
    )
    return [f"{folder}/{place}/{name}" for place in shadow_kinds().values()]


def shadow_audited(path):
    """The path of a split of every shadow model; none in a profile without them."""
    if SHADOW_STUDY is None:
        return []
    return each_shadow(
        path.format(dataset=SHADOWED.dataset, scenario=SHADOWED.scenario, seed="{seed}")
    )


def shadow_records(wildcards):
    """How the shadow models of a kind were made."""
    name = "training" if wildcards.kind in ("original", "retrained") else "unlearning"
    return each_shadow(
        f"{SHADOWS}/{{kind}}/seed{{seed}}/{name}.json".format(
            **wildcards, seed="{seed}"
        )
    )


def shadow_scores_spec(wildcards):
    return as_json(
        model=wildcards.model,
        evaluation_batch=PROFILE.evaluation_batch,
        **runtime_spec(),
    )


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


def drawn(wildcards):
    """Whether an experiment draws the trajectory; none of a run at published defaults, and a sweep none at all."""
    return not wildcards.method.endswith(PUBLISHED) and any(
        (experiment.scenario, experiment.source, experiment.retain_size)
        == (
            wildcards.scenario,
            wildcards.get("source", "retain"),
            int(wildcards.retain_size),
        )
        for experiment in PROFILE.experiments
    )


def start_spec(wildcards):
    """What a run of a method starts from, and when it stops."""
    scenario = PROFILE.scenarios[wildcards.scenario]
    stopping = dumped(PROFILE.stopping)
    class_target = stopping.pop("class_target")
    if not drawn(wildcards):
        stopping["curve_steps"] = 0
        stopping["record_every"] = stopping["max_steps"]
    return {
        "model": wildcards.model,
        "retain_size": int(wildcards.retain_size),
        "method": methods.of_run(wildcards.method),
        "stopping": stopping,
        "target": class_target if scenario.kind == "class" else None,
        "evaluation_batch": PROFILE.evaluation_batch,
        **runtime_spec(),
    }


def unlearning_spec(wildcards):
    own_end = wildcards.method.endswith(PUBLISHED)
    if own_end:
        params = dict(methods.load(methods.of_run(wildcards.method)).published.params)
    else:
        params = PROFILE.parameters(wildcards.scenario, wildcards.method)
    return as_json(
        params=params,
        own_end=own_end,
        proxy=proxy_of(wildcards),
        **start_spec(wildcards),
    )


def proxy_of(wildcards):
    """What stands in for the retain subset; None: nothing."""
    name = wildcards.source.removeprefix("proxy-").removesuffix("-")
    return None if wildcards.source == "retain" else dumped(PROFILE.proxies[name])


# Experiments whose retain set has a stand-in: the page shows examples of it.
PROXIED = [experiment.id for experiment in PROFILE.experiments if experiment.proxy]


def proxied_data(wildcards):
    """What examples of an experiment's proxy are drawn from."""
    experiment = EXPERIMENTS[wildcards.experiment]
    proxy = dumped(PROFILE.proxies[experiment.proxy])
    return {
        "dataset": f"{DATA}/dataset.safetensors".format(dataset=experiment.dataset),
        "split": SPLIT.format(
            dataset=experiment.dataset, scenario=experiment.scenario, seed=SEEDS[0]
        ),
        "proxy_data": (
            [f"{DATA}/dataset.safetensors".format(dataset=proxy["dataset"])]
            if "dataset" in proxy
            else []
        ),
    }


def proxy_data(wildcards):
    """The prepared dataset that a proxy is taken from, where it is another one."""
    proxy = proxy_of(wildcards)
    other = proxy and proxy.get("dataset")
    return f"{DATA}/dataset.safetensors".format(dataset=other) if other else []


def tuning_spec(wildcards):
    spec = start_spec(wildcards)
    spec["stopping"] |= {"max_steps": TUNING.max_steps}
    return as_json(
        space={
            key: dumped(value) if hasattr(value, "model_dump") else value
            for key, value in TUNING.spaces[wildcards.method].items()
        },
        proxy=None,
        trials=TUNING.trials,
        seconds=TUNING.seconds,
        **spec,
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


def tuning_splits():
    """The splits of the search: scenario by scenario, seed by seed; none where the report shows no search."""
    if not PROFILE.trials:
        return []
    return [
        SPLIT.format(dataset=TUNING.dataset, scenario=scenario, seed=seed)
        for scenario in PROFILE.scenarios
        for seed in TUNING_SEEDS
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
        "proxy": (
            wildcards.source.removeprefix("proxy-").removesuffix("-")
            if wildcards.get("source", "retain") != "retain"
            else None
        ),
    }
    return as_json(
        **run,
        evaluation_batch=PROFILE.evaluation_batch,
        relearning=dumped(PROFILE.relearning),
        **runtime_spec(),
    )


def method_code(wildcards):
    name = methods.of_run(wildcards.method)
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


def each_collection(path):
    """The path for every experiment and every sweep."""
    return expand(path, experiment=[*EXPERIMENTS, *SWEEPS])


def all_splits():
    """The splits of all experiments: scenario by scenario, seed by seed."""
    places = dict.fromkeys(
        (experiment.dataset, experiment.scenario) for experiment in PROFILE.comparisons
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
    """Folders of the runs of an experiment, or of a sweep at all its sizes."""
    name = wildcards.experiment
    comparisons = SWEEPS[name].experiments if name in SWEEPS else [EXPERIMENTS[name]]
    folders = [
        folder
        for experiment in comparisons
        for pattern in (ORIGINAL_IN_SCENARIO, RETRAINED, UNLEARNED)
        for folder in expand(
            pattern,
            dataset=experiment.dataset,
            model=experiment.models,
            scenario=experiment.scenario,
            source=experiment.source,
            retain_size=experiment.retain_size,
            method=experiment.rows,
            seed=PROFILE.seeds_of(experiment),
            replicate=REPLICATES,
        )
    ]
    return list(dict.fromkeys(folders))


# The notebooks look at OrthoGrad's runs in the first experiment that has a retain set of its own and every seed.
AUDITED = PROFILE.audited
AUDITED_KEYS = {
    "dataset": AUDITED.dataset,
    "model": AUDITED.models[0],
    "scenario": AUDITED.scenario,
    "retain_size": AUDITED.retain_size,
}


def audited(path, seed="{seed}"):
    """The path of a file of those runs, for one seed or for each of them."""
    path = path.format(
        **AUDITED_KEYS, source=AUDITED.source, method=ORTHOGRAD, seed=seed
    )
    return each_seed(path) if seed == "{seed}" else path


def of_each_seed(paths):
    """The files by their seed, as JSON can hold them."""
    return {str(seed): path for seed, path in zip(SEEDS, paths)}


def notebook_code(name):
    """The version of what a notebook runs, beside its own text, which is an input."""
    content = notebook.read(f"{workflow.basedir}/notebooks/{name}.ipynb")
    return code_version("orthograd.steps.notebook", *notebook.imported(content))


def geometry_parameters(wildcards, input):
    params = PROFILE.methods[AUDITED.scenario][ORTHOGRAD]
    return as_json(
        dataset_file=input.dataset,
        split_file=input.split,
        original_file=input.original,
        model_name=AUDITED.models[0],
        seed=SEEDS[0],
        retain_size=AUDITED.retain_size,
        forget_batch=params["forget_batch"],
        retain_batch=params["retain_batch"],
        **runtime_spec(),
    )


def cell_parameters(wildcards, input):
    return as_json(
        table_file=input.table,
        runs_file=input.runs,
        dataset_file=input.dataset,
        split_files=of_each_seed(input.splits),
        original_files=of_each_seed(input.originals),
        run_folders=of_each_seed([str(Path(path).parent) for path in input.models]),
        run_keys=AUDITED_KEYS,
    )
