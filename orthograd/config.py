"""The schema of a profile: every key that the pipeline reads, with its type, its range and what it means.

Unknown keys are errors. A value with a default is one that leaves the numbers of the report alone (device, mirror);
everything that they depend on has to stand in the profile.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError, model_validator

from orthograd import methods, models
from orthograd.data.download import check_mirror, resolve_mirror
from orthograd.data.registry import Dataset, registry
from orthograd.data.scenarios import ClassScenario, DatasetProxy, Proxy, Scenario, SplitSizes
from orthograd.reporting.experiment import ORTHOGRAD, Experiment, Sweep
from orthograd.search import Tuning, corners
from orthograd.specs import Name, Positive, Relearning, ShadowStudy, Stopping, Strict, Training
from orthograd.speech.registry import speech_registry
from orthograd.speech.specs import RegisteredCorpus, Speech, SpeechCorpus

# What the DAG itself puts in a path where a scenario's or a method's name stands.
RESERVED = frozenset({"original", "retrained", "splits"})
# Folders of results/ and reports/ that are no profile's.
RESERVED_PROFILES = frozenset({"data", "logs", "benchmarks", "published"})
# Sections and files of the report that are no experiment's.
RESERVED_EXPERIMENTS = frozenset({"conditions", "search", "paper", "glossary", "audit"})


_REPOSITORY = Path(__file__).resolve().parent.parent


class ConfigError(ValueError):
    """The config cannot be used; the message names each key, the cause and the mend."""


class Variant(Strict):
    """A run whose parameters are those of another run of `methods`, but for some.

    Where that run has parameters that the variant's method does not know, they are left out.
    """

    like: Name = Field(description="name in `methods` whose parameters the variant takes, in every scenario")
    change: dict[str, Any] = Field(description="parameters that differ, possibly none: {}")


class Profile(Strict):
    """A profile: the whole config of one run of the pipeline."""

    profile: Name = Field(description="its name: the folder under results/ and reports/")
    mirror: str | None = Field(
        None,
        description="folder or URL that holds the data; the environment variable ORTHOGRAD_MIRROR also sets it",
    )
    from_scores: bool = Field(
        False,
        # On the command line, `--config from_scores=true` is text.
        strict=False,
        description="whether the tables are made from scores that are there, without data and models",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto, cpu, cuda or mps")
    threads: Positive = Field(description="torch's CPU threads in each job; results depend on it bitwise")
    evaluation_batch: Positive = Field(description="images in a forward pass of an evaluation, >= 1")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1,
        description="at least one whole number >= 0; a seed is a split, an original model and its runs",
    )
    replicates: Positive = Field(
        description="models retrained from scratch for each seed, a whole number >= 1"
    )
    datasets: dict[Name, SplitSizes] = Field(min_length=1, description="dataset names with their sizes")
    models: dict[Name, Training] = Field(min_length=1, description="model names with their training")
    scenarios: dict[Name, Scenario] = Field(
        min_length=1,
        description="names with what to forget: kind random with a fraction, or kind class with a label",
    )
    stopping: Stopping
    relearning: Relearning
    methods: dict[Name, dict[Name, dict[str, Any]]] = Field(
        min_length=1,
        description="for each scenario, method names with their parameters, or a file that holds them",
    )
    variants: dict[Name, Variant] = Field(
        default_factory=dict, description="runs beside those of `methods`: names <method>-<variant>"
    )
    proxies: dict[Name, Proxy] = Field(
        default_factory=dict,
        description="names with what stands in for the retain set: kind dataset or shift",
    )
    tuning: Tuning | None = Field(None, description="how `snakemake tune` searches parameters")
    trials: str | None = Field(
        None,
        description="table of all trials of `snakemake tune`, relative to the repository; the report shows it",
    )
    shadows: ShadowStudy | None = Field(None, description="shadow models, for the attack U-LiRA")
    experiments: list[Experiment] = Field(min_length=1, description="what each section of the report shows")
    sweeps: list[Sweep] = Field(default_factory=list, description="experiments over sizes of the retain set")
    speech: Speech | None = Field(None, description="the speech experiment: a Whisper that forgets a speaker")

    @model_validator(mode="after")
    def _check(self) -> Profile:
        problems = [
            *self._duplicates(),
            *self._stopping(),
            *self._names(),
            *self._single_seeds(),
            *self._parameters(),
            *self._sizes(),
            *self._tuning(),
            *self._trials(),
            *self._shadows(),
            *self._speech(),
        ]
        mirror = resolve_mirror(self.mirror)
        if mirror is not None:
            try:
                check_mirror(mirror)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _duplicates(self) -> list[str]:
        listed: dict[str, list[Any]] = {
            "seeds": self.seeds,
            "experiments": [section.id for section in self.sections],
        }
        return [
            f"{key}: {values} names one twice. Mend: name each once"
            for key, values in listed.items()
            if len(set(values)) < len(values)
        ]

    def _stopping(self) -> list[str]:
        every, record_every = self.stopping.every, self.stopping.record_every
        if record_every % every == 0:
            return []
        return [f"stopping.record_every: {record_every} is no multiple of every = {every}. Mend: make it one"]

    def _names(self) -> list[str]:
        problems = [
            _unknown(f"datasets.{name}", "dataset", name, registry().names)
            for name in self.datasets
            if name not in registry().names
        ]
        problems += [
            _unknown(f"models.{name}", "model", name, models.names())
            for name in self.models
            if name not in models.names()
        ]
        if self.profile in RESERVED_PROFILES:
            problems.append(
                f"profile: a folder of the DAG has the name {self.profile!r}. Mend: choose another name"
            )
        problems += [
            f"{section}.{name}: the DAG uses this word in its paths. Mend: choose another name"
            for section, names in (("scenarios", self.scenarios), ("models", self.models))
            for name in names
            if name in RESERVED
        ]
        problems += [
            f"experiments.{experiment.id}: a section of the report has this name. Mend: choose another id"
            for experiment in self.sections
            if experiment.id in RESERVED_EXPERIMENTS
        ]
        problems += [
            _unknown(f"methods.{name}", "scenario", name, sorted(self.scenarios))
            for name in self.methods
            if name not in self.scenarios
        ]
        for experiment in self.comparisons:
            key = experiment.id
            for field, used, section in (
                ("dataset", [experiment.dataset], self.datasets),
                ("models", experiment.models, self.models),
                ("scenario", [experiment.scenario], self.scenarios),
                ("methods", experiment.methods, self.runs(experiment.scenario)),
                ("published", experiment.published, self._with_published_defaults()),
                ("proxy", [] if experiment.proxy is None else [experiment.proxy], self.proxies),
            ):
                problems += [
                    _unknown(f"experiments.{key}.{field}", field.removesuffix("s"), name, sorted(section))
                    for name in used
                    if name not in section
                ]
        problems += [
            f"variants.{name}: starts with no method's name. Mend: call it <method>-<what differs>, with a method "
            f"out of {', '.join(methods.names())}"
            for name in self.variants
            if "-" not in name or methods.of_run(name) not in methods.names()
        ]
        problems += [
            f"variants.{name}.like: {variant.like!r} has no parameters in `methods`. Mend: use one of "
            f"{', '.join(sorted({run for section in self.methods.values() for run in section}))}"
            for name, variant in self.variants.items()
            if not any(variant.like in section for section in self.methods.values())
        ]
        problems += [
            _unknown(f"proxies.{name}.dataset", "dataset", proxy.dataset, sorted(self.datasets))
            for name, proxy in self.proxies.items()
            if isinstance(proxy, DatasetProxy) and proxy.dataset not in self.datasets
        ]
        return problems

    def _single_seeds(self) -> list[str]:
        """A model of one seed has no other runs: the DAG makes its runs by rules of their own."""
        used = {
            model: experiment.id
            for experiment in self.comparisons
            if not experiment.single_seed
            for model in experiment.models
        } | ({self.tuning.model: "tuning"} if self.tuning else {})
        problems = []
        if not any(own.proxy is None and not own.single_seed for own in self.experiments):
            problems.append(
                "experiments: none has a retain set of its own and every seed, of which the notebooks show a run. "
                "Mend: add one without proxy and without single_seed"
            )
        return problems + [
            f"experiments.{experiment.id}.models: {model!r} has a single seed here and all in {used[model]}. "
            "Mend: take single_seed out"
            for experiment in self.experiments
            if experiment.single_seed
            for model in experiment.models
            if model in used
        ]

    @property
    def audited(self) -> Experiment:
        """The experiment whose OrthoGrad runs are looked at closely: with a retain set of its own, and every seed."""
        return next(own for own in self.experiments if own.proxy is None and not own.single_seed)

    @property
    def single_seed_models(self) -> list[str]:
        """Models of which only the first seed is run."""
        return sorted({model for own in self.experiments if own.single_seed for model in own.models})

    def seeds_of(self, experiment: Experiment) -> list[int]:
        """The seeds that an experiment shows."""
        return self.seeds[:1] if experiment.single_seed else self.seeds

    @property
    def sections(self) -> Sequence[Experiment | Sweep]:
        """What the report shows, in its order, without speech."""
        return [*self.experiments, *self.sweeps]

    @property
    def comparisons(self) -> list[Experiment]:
        """All experiments, those of the sweeps size by size."""
        return [*self.experiments, *(experiment for sweep in self.sweeps for experiment in sweep.experiments)]

    def runs(self, scenario: str) -> list[str]:
        """Names of the runs that have parameters in a scenario: methods and variants."""
        section = self.methods.get(scenario, {})
        return [*section, *(name for name, variant in self.variants.items() if variant.like in section)]

    def parameters(self, scenario: str, run: str) -> dict[str, Any]:
        """The parameters of a run, see `Variant`."""
        section = self.methods[scenario]
        if run in section:
            return section[run]
        known = methods.load(methods.of_run(run)).params.model_fields
        variant = self.variants[run]
        return {key: value for key, value in section[variant.like].items() if key in known} | variant.change

    @staticmethod
    def _with_published_defaults() -> list[str]:
        return [name for name in methods.names() if methods.load(name).published is not None]

    def _parameters(self) -> list[str]:
        problems = []
        for scenario, name, params in (
            (scenario, name, params)
            for scenario, section in self.methods.items()
            for name, params in section.items()
        ):
            if name not in methods.names():
                problems.append(_unknown(f"methods.{scenario}.{name}", "method", name, methods.names()))
                continue
            try:
                methods.load(name).params.model_validate(params)
            except ValidationError as error:
                problems += _problems(error, methods.load(name).params, ("methods", scenario, name))
        for name in self.variants:
            method = methods.of_run(name)
            for scenario in self.methods:
                if name not in self.runs(scenario) or method not in methods.names():
                    continue
                try:
                    methods.load(method).params.model_validate(self.parameters(scenario, name))
                except ValidationError as error:
                    problems += _problems(error, methods.load(method).params, ("variants", name, "change"))
                    break
        return problems

    def _tuning(self) -> list[str]:
        if self.tuning is None:
            return []
        problems = [
            _unknown(f"tuning.{field}", field, name, sorted(section))
            for field, name, section in (
                ("dataset", self.tuning.dataset, self.datasets),
                ("model", self.tuning.model, self.models),
            )
            if name not in section
        ]
        problems += [
            f"tuning.seeds: {seed} is a reported seed. Mend: take seeds that `seeds` does not have"
            for seed in self.tuning.seeds
            if seed in self.seeds
        ]
        if self.tuning.max_steps > self.stopping.max_steps:
            problems.append(
                f"tuning.max_steps: {self.tuning.max_steps} is more than reported runs have, stopping.max_steps = "
                f"{self.stopping.max_steps}: what is found might not get there. Mend: take at most as many"
            )
        problems += [
            _unknown(f"tuning.methods.{name}", "space of a method", name, sorted(self.tuning.spaces))
            for name in self.tuning.methods
            if name not in self.tuning.spaces
        ]
        for name, space in self.tuning.spaces.items():
            if name not in methods.names():
                problems.append(_unknown(f"tuning.spaces.{name}", "method", name, methods.names()))
                continue
            params = methods.load(name).params
            for point in corners(space):
                try:
                    params.model_validate(point)
                except ValidationError as error:
                    problems += _problems(error, params, ("tuning", "spaces", name))
                    break
        return problems

    def _trials(self) -> list[str]:
        if self.trials is None:
            return []
        problems = []
        if not (_REPOSITORY / self.trials).is_file():
            problems.append(
                f"trials: no file {self.trials!r} in {_REPOSITORY}. Mend: take the key out; once `snakemake tune` has "
                f"written config/tuned/{self.profile}.csv, name that file"
            )
        if self.tuning is None:
            problems.append(
                "trials: without `tuning` nothing says on what they were made. Mend: add the section `tuning` that "
                "they were made with, or take `trials` out"
            )
        return problems

    def _shadows(self) -> list[str]:
        """The section's names, its seeds, and its batches: a shadow model forgets half of the forget set."""
        study = self.shadows
        if study is None:
            return []
        found = next((own for own in self.experiments if own.id == study.experiment), None)
        if found is None or found.proxy is not None:
            usable = [own.id for own in self.experiments if own.proxy is None]
            return [_unknown("shadows.experiment", "experiment without a proxy", study.experiment, usable)]
        problems = [
            _unknown(f"shadows.{field}", field.removesuffix("s"), name, known)
            for field, names, known in (
                ("model", [study.model], found.models),
                ("methods", study.methods, found.methods),
            )
            for name in names
            if name not in known
        ]
        taken = sorted({*self.seeds, *(self.tuning.seeds if self.tuning else [])} & set(study.seeds))
        if taken:
            problems.append(
                f"shadows.first_seed: the seeds {taken} of shadow models are taken. Mend: take one above "
                f"{max([*self.seeds, *(self.tuning.seeds if self.tuning else [])])}"
            )
        scenario, sizes = self.scenarios.get(found.scenario), self.datasets.get(found.dataset)
        if problems or scenario is None or sizes is None or found.dataset not in registry().names:
            return problems
        half = scenario.forget_size(sizes.train, _classes(registry().dataset(found.dataset), sizes)) // 2
        return [
            f"shadows.methods: {method} takes batches of {size} forget images, but a shadow model forgets {half}. "
            f"Mend: lower methods.{found.scenario}.{method}.{field}, leave the method out, or enlarge the forget set"
            for method in study.methods
            if method in self.runs(found.scenario) and methods.of_run(method) in methods.names()
            for field, data in self._batch_fields(methods.of_run(method))
            if data == "forget"
            and isinstance(size := self.parameters(found.scenario, method).get(field), int)
            and size > half
        ]

    def _speech(self) -> list[str]:
        if self.speech is None:
            return []
        known = speech_registry().model_names
        problems = []
        if self.speech.whisper not in known:
            problems.append(_unknown("speech.whisper", "speech model", self.speech.whisper, known))
        problems += _corpus_problems(self.speech.corpus)
        if self.speech.id in RESERVED_EXPERIMENTS | {section.id for section in self.sections}:
            problems.append(
                f"speech.id: another section of the report is called {self.speech.id!r}. Mend: choose another id"
            )
        sizes = self.speech.sizes
        available = {
            "forget": sizes.unlearned,
            "retain": sizes.retain * len(self.speech.speakers.retain),
        }
        for setting, section in self.speech.methods.items():
            if ORTHOGRAD not in section:
                problems.append(
                    f"speech.methods.{setting}: lacks {ORTHOGRAD!r}. Mend: add it, every other is compared to it"
                )
            for name, params in section.items():
                place = f"speech.methods.{setting}.{name}"
                if name not in methods.names():
                    problems.append(_unknown(place, "method", name, methods.names()))
                    continue
                method = methods.load(name)
                if "speaker" not in method.scenarios:
                    reason = method.no_speech or "it says nothing of speech"
                    problems.append(f"{place}: the method is not for speech: {reason}. Mend: leave it out")
                    continue
                try:
                    method.params.model_validate(params)
                except ValidationError as error:
                    problems += _problems(error, method.params, ("speech", "methods", setting, name))
                    continue
                problems += [
                    f"{place}.{field}: a batch of {params[field]} cannot be drawn from {available[data]} {data} "
                    f"utterances. Mend: lower it to at most {available[data]}"
                    for field, data in self._batch_fields(name)
                    if params.get(field, 0) > available[data]
                ]
        return problems

    def _sizes(self) -> list[str]:
        problems = []
        for name, sizes in self.datasets.items():
            if name not in registry().names:
                continue
            published = registry().dataset(name)
            problems += _subset(name, sizes, published)
            origin = "published" if sizes.subset is None else "in the subset"
            train, test = published.train_size, published.test_size
            if sizes.subset is not None:
                train, test = (
                    _classes(published, sizes) * count for count in (sizes.subset.train, sizes.subset.test)
                )
            if sizes.train + sizes.validation > train:
                problems.append(
                    f"datasets.{name}.train: {sizes.train} training and {sizes.validation} validation images are more "
                    f"than the {train} that are {origin}. Mend: lower train or validation"
                )
            if sizes.test is not None and sizes.test > test:
                problems.append(
                    f"datasets.{name}.test: {sizes.test} is more than the {test} test images that are "
                    f"{origin}. Mend: lower it, or null for all"
                )
            problems += [
                f"scenarios.{key}.label: {scenario.label} is not a class of {name}. Mend: a whole number from 0 to "
                f"{len(published.classes) - 1}"
                for key, scenario in self.scenarios.items()
                if isinstance(scenario, ClassScenario) and scenario.label >= len(published.classes)
            ]
        for experiment in self.comparisons:
            key = experiment.id
            sizes_used = self.datasets.get(experiment.dataset)
            scenario = self.scenarios.get(experiment.scenario)
            if sizes_used is None or scenario is None or experiment.dataset not in registry().names:
                continue
            forget = scenario.forget_size(
                sizes_used.train, _classes(registry().dataset(experiment.dataset), sizes_used)
            )
            pool = sizes_used.train - forget
            if forget < 1:
                problems.append(
                    f"scenarios.{experiment.scenario}.fraction: of {sizes_used.train} training images it leaves "
                    "none to forget. Mend: raise it, or datasets.*.train"
                )
                continue
            problems += [
                f"models.{name}.batch_size: {self.models[name].batch_size} is more than the {pool} images of the "
                f"retain pool (experiment {key}). Mend: lower it to at most {pool}"
                for name in experiment.models
                if name in self.models and self.models[name].batch_size > pool
            ]
            if experiment.retain_size > pool:
                problems.append(
                    f"experiments.{key}.retain_size: {experiment.retain_size} is larger than the retain pool of "
                    f"{pool} images ({sizes_used.train} training images less {forget} to forget). Mend: lower "
                    f"retain_size to at most {pool}, or raise datasets.{experiment.dataset}.train"
                )
            proxy = self.proxies.get(experiment.proxy) if experiment.proxy is not None else None
            if proxy is not None and experiment.retain_size > proxy.size:
                problems.append(
                    f"experiments.{key}.retain_size: {experiment.retain_size} is larger than the proxy's {proxy.size} "
                    f"images. Mend: lower it, or raise proxies.{experiment.proxy}.size"
                )
            if self.relearning.batch_size > forget:
                problems.append(
                    f"relearning.batch_size: {self.relearning.batch_size} is more than the {forget} images to forget "
                    f"(experiment {key}). Mend: lower it to at most {forget}"
                )
            available = {"forget": forget, "retain": experiment.retain_size}
            settings: list[tuple[str, str, Mapping[str, Any]]] = [
                (f"methods.{experiment.scenario}.{method}", method, params)
                for method in self._usable(experiment)
                for params in [self.parameters(experiment.scenario, method)]
            ]
            settings += [
                (f"experiments.{key}.published.{method}", method, defaults.params)
                for method in experiment.published
                if method in methods.names() and (defaults := methods.load(method).published) is not None
            ]
            problems += [
                f"{place}.{field}: a batch of {size} cannot be drawn from {available[data]} {data} images "
                f"(experiment {key}). Mend: lower it to at most {available[data]}, or leave the method out"
                for place, method, params in settings
                for field, data in self._batch_fields(methods.of_run(method))
                if isinstance(size := params.get(field), int) and size > available[data]
            ]
        return problems

    def _usable(self, experiment: Experiment) -> list[str]:
        """The runs of an experiment whose parameters and method are known."""
        return [
            run
            for run in experiment.methods
            if run in self.runs(experiment.scenario) and methods.of_run(run) in methods.names()
        ]

    @staticmethod
    def _batch_fields(method: str) -> list[tuple[str, str]]:
        """The batch-size parameters of a method, each with the data that it is drawn from."""
        if method not in methods.names():
            return []
        fields = [("forget_batch", "forget"), ("retain_batch", "retain")]
        reads = methods.load(method).reads
        if len(reads) == 1:
            fields.append(("batch_size", next(iter(reads))))
        return fields


def _classes(published: Dataset, sizes: SplitSizes) -> int:
    """The number of classes that are prepared."""
    chosen = sizes.subset.classes if sizes.subset is not None else None
    return len(published.classes if chosen is None else chosen)


def _subset(name: str, sizes: SplitSizes, published: Dataset) -> list[str]:
    key = f"datasets.{name}.subset"
    if sizes.subset is None:
        if not published.needs_subset:
            return []
        return [
            f"{key}: {name} does not fit into memory. Mend: say how many images of each class to take, and of which "
            "classes"
        ]
    if published.layout.kind != "folders":
        return [f"{key}: {name} is not published as class folders. Mend: remove it"]
    chosen = sizes.subset.classes or []
    problems = [
        _unknown(f"{key}.classes", "class", label, [*published.classes[:5], "…"])
        for label in chosen
        if label not in published.classes
    ]
    if len(set(chosen)) < len(chosen):
        problems.append(f"{key}.classes: one is named twice. Mend: name each once")
    return problems


def _unknown(key: str, kind: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{key}: unknown {kind} {name!r}.{hint} Mend: use one of {', '.join(known)}"


def _corpus_problems(corpus: SpeechCorpus) -> list[str]:
    """What is wrong with the names of a corpus of the registry."""
    if not isinstance(corpus, RegisteredCorpus):
        return []
    if corpus.name not in speech_registry().corpus_names:
        names = speech_registry().corpus_names
        return [_unknown("speech.corpus.name", "speech corpus", corpus.name, names)]
    known = speech_registry().corpus(corpus.name).subset_names
    problems = [
        _unknown("speech.corpus.subsets", "subset", name, known)
        for name in corpus.subsets
        if name not in known
    ]
    if len(set(corpus.subsets)) < len(corpus.subsets):
        problems.append(f"speech.corpus.subsets: {corpus.subsets} has a subset twice. Mend: name each once")
    return problems


def _problems(error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...] = ()) -> list[str]:
    """One line a problem: key, cause, mend (the field's own description)."""
    lines = []
    for problem in error.errors(include_url=False):
        if problem["type"] == "value_error" and not problem["loc"]:
            lines += str(problem["ctx"]["error"]).splitlines()
            continue
        place = _find(model, tuple(str(part) for part in problem["loc"]))
        key = ".".join((*prefix, *place.key))
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(place.key[-1], place.siblings, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            lines.append(
                f"{key}: unknown key.{hint} Mend: remove it; the keys here are {', '.join(place.siblings)}"
            )
        else:
            got = "" if problem["type"] == "missing" else f" (got {problem['input']!r})"
            mend = f". Mend: {place.description}" if place.description else ""
            lines.append(f"{key}: {problem['msg']}{got}{mend}")
    return lines


class _Place(NamedTuple):
    """A place in the schema: the key as the config spells it, its description, and the keys that stand beside it."""

    key: tuple[str, ...]
    description: str | None
    siblings: list[str]


def _find(model: type[BaseModel], location: tuple[str, ...]) -> _Place:
    schema = model.model_json_schema()
    node: Mapping[str, Any] = schema
    key: list[str] = []
    siblings: list[str] = []
    description: str | None = None
    for part in location:
        if part == "[key]":
            # Said of the name before it, which is in the location already.
            continue
        if "discriminator" in node:
            # Which form of the section it is: a step in pydantic's location, but no key of the config.
            node = _resolved(schema, {"$ref": node["discriminator"]["mapping"][part]})
            continue
        key.append(part)
        siblings = sorted(node.get("properties", {}))
        if "properties" in node:
            node = _resolved(schema, node["properties"].get(part, {}))
        else:
            # A mapping whose names have a form, or a list.
            patterns = list(node.get("patternProperties", {}).values())
            node = _resolved(schema, patterns[0] if patterns else node.get("items", {}))
        # A position in a list and a name in a mapping have none of their own: the section's stands.
        description = node.get("description", description)
    return _Place(tuple(key), description, siblings)


def _resolved(schema: Mapping[str, Any], node: Any) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        return {}
    # A section that may be left out is one of two forms; the other one is null.
    form: Mapping[str, Any] = next((form for form in node.get("anyOf", []) if "$ref" in form), node)
    if "$ref" in form:
        definition: Mapping[str, Any] = schema["$defs"][form["$ref"].rsplit("/", 1)[-1]]
        return definition
    return form


def validate(config: Mapping[str, Any]) -> Profile:
    """The profile that a config describes. `methods` and `tuning.spaces` may stand in files of their own.

    Raises:
        ConfigError: with one line a problem: the key, the cause and the mend.
    """
    content = dict(config)
    content["methods"] = _section("methods", content.get("methods"))
    if isinstance(content.get("tuning"), Mapping):
        spaces = _section("tuning.spaces", content["tuning"].get("spaces"))
        content["tuning"] = {**content["tuning"], "spaces": spaces}
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        problems = _problems(error, Profile)
        raise ConfigError(
            "the config cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems)
        ) from None


def _section(key: str, value: Any) -> Any:
    """A section of the config; where a file's name stands in its place, what the file holds."""
    import yaml

    if not isinstance(value, str):
        return value
    path = _REPOSITORY / value
    if not path.is_file():
        raise ConfigError(
            f"the config cannot be used:\n  {key}: no file {value!r} in {_REPOSITORY}. Mend: name one that is there, "
            "relative to the repository, or write the section itself here"
        )
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def load(path: Path) -> Profile:
    """The profile in a YAML file.

    Raises:
        ConfigError: the file does not hold a valid profile.
    """
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: not a mapping of keys to values. Mend: start from config/laptop.yaml")
    return validate(content)
