"""The schema of a profile: every key that the pipeline reads, with its type, its range and what it means.

Unknown keys are errors. A value with a default is one that leaves the numbers of the report alone (device, mirror);
everything that they depend on has to stand in the profile.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orthograd import methods, models
from orthograd.data import registry
from orthograd.data.download import check_mirror
from orthograd.data.scenarios import ClassScenario, RandomScenario

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Positive = Annotated[int, Field(gt=0)]
Scenario = Annotated[RandomScenario | ClassScenario, Field(discriminator="kind")]

# What the DAG itself puts in a path where a scenario's or a method's name stands.
RESERVED = frozenset({"original", "retrained", "splits"})


class ConfigError(ValueError):
    """The config cannot be used; the message names each key, the cause and the mend."""


class Strict(BaseModel):
    """A section of the config: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SplitSizes(Strict):
    """How many images of a dataset are used."""

    train: Positive = Field(description="training images of the original model, a whole number >= 1")
    validation: Positive = Field(description="validation images, from the published training part, >= 1")
    test: Positive | None = Field(description="test images, or null for the whole published test part")


class Training(Strict):
    """Training from scratch: SGD with Nesterov momentum under a one-cycle learning rate, no augmentation."""

    epochs: Positive = Field(description="passes over the training images, a whole number >= 1")
    batch_size: Positive = Field(description="images in a training step, a whole number >= 1")
    learning_rate: float = Field(gt=0, description="peak learning rate of the one-cycle schedule, a number > 0")
    momentum: float = Field(ge=0, lt=1, description="Nesterov momentum, in [0, 1)")
    weight_decay: float = Field(ge=0, description="weight decay, a number >= 0")
    warmup: float = Field(gt=0, lt=1, description="part of the steps in which the rate rises, in (0, 1)")


class Stopping(Strict):
    """The one stopping rule of all methods.

    Every `every` steps the forget accuracy is measured; the first time that it is at or below the target, the run ends.
    Random scenario: the target is the original model's accuracy on the validation images. Class scenario: `class_target`.
    """

    every: Positive = Field(description="steps between two checks, a whole number >= 1")
    max_steps: Positive = Field(description="steps after which a run ends as 'target not reached'")
    class_target: float = Field(ge=0, lt=1, description="forget accuracy to reach in a class scenario, in [0, 1)")


class Experiment(Strict):
    """One experiment of the paper at this profile's scale: which runs its tables and figures show."""

    title: str = Field(min_length=1, description="the heading of its section in the report")
    dataset: Name = Field(description="a key of `datasets`")
    models: list[Name] = Field(min_length=1, description="keys of `models`")
    scenario: Name = Field(description="a key of `scenarios`")
    retain_size: Positive = Field(description="images in the retain subset, at most the retain pool")
    methods: list[Name] = Field(min_length=1, description="keys of `methods`")


class Profile(Strict):
    """A profile: the whole config of one run of the pipeline."""

    profile: Name = Field(description="its name: the folder under results/ and reports/")
    mirror: str | None = Field(
        None, description="folder or URL that holds the data; the environment variable ORTHOGRAD_MIRROR also sets it"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto, cpu, cuda or mps")
    threads: Positive = Field(description="torch's CPU threads in each job; results depend on it bitwise")
    evaluation_batch: Positive = Field(description="images in a forward pass of an evaluation, >= 1")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="at least one whole number >= 0; a seed is a split, an original model and its runs"
    )
    replicates: Positive = Field(description="models retrained from scratch for each seed, a whole number >= 1")
    datasets: dict[Name, SplitSizes] = Field(min_length=1)
    models: dict[Name, Training] = Field(min_length=1)
    scenarios: dict[Name, Scenario] = Field(min_length=1)
    stopping: Stopping
    methods: dict[Name, dict[str, Any]] = Field(min_length=1)
    experiments: dict[Name, Experiment] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Profile:
        problems = [*self._duplicates(), *self._names(), *self._parameters(), *self._sizes()]
        if self.mirror is not None:
            try:
                check_mirror(self.mirror)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _duplicates(self) -> list[str]:
        if len(set(self.seeds)) == len(self.seeds):
            return []
        return [f"seeds: {self.seeds} names a seed twice. Mend: name each seed once"]

    def _names(self) -> list[str]:
        problems = [
            _unknown(f"datasets.{name}", "dataset", name, registry.names())
            for name in self.datasets
            if name not in registry.names()
        ]
        problems += [
            _unknown(f"models.{name}", "model", name, models.names())
            for name in self.models
            if name not in models.names()
        ]
        problems += [
            f"{section}.{name}: the DAG uses this word in its paths. Mend: choose another name"
            for section, names in (("scenarios", self.scenarios), ("methods", self.methods))
            for name in names
            if name in RESERVED
        ]
        for key, experiment in self.experiments.items():
            for field, used, section in (
                ("dataset", [experiment.dataset], self.datasets),
                ("models", experiment.models, self.models),
                ("scenario", [experiment.scenario], self.scenarios),
                ("methods", experiment.methods, self.methods),
            ):
                problems += [
                    _unknown(f"experiments.{key}.{field}", field.removesuffix("s"), name, sorted(section))
                    for name in used
                    if name not in section
                ]
        return problems

    def _parameters(self) -> list[str]:
        problems = []
        for name, params in self.methods.items():
            if name not in methods.names():
                problems.append(_unknown(f"methods.{name}", "method", name, methods.names()))
                continue
            try:
                methods.load(name).params.model_validate(params)
            except ValidationError as error:
                problems += _problems(error, methods.load(name).params, ("methods", name))
        return problems

    def _sizes(self) -> list[str]:
        problems = []
        for name, sizes in self.datasets.items():
            if name not in registry.names():
                continue
            published = registry.get(name)
            if sizes.train + sizes.validation > published.train_size:
                problems.append(
                    f"datasets.{name}.train: {sizes.train} training and {sizes.validation} validation images are more "
                    f"than the {published.train_size} that are published. Mend: lower train or validation"
                )
            if sizes.test is not None and sizes.test > published.test_size:
                problems.append(
                    f"datasets.{name}.test: {sizes.test} is more than the {published.test_size} test images that are "
                    "published. Mend: lower it, or null for all"
                )
            problems += [
                f"scenarios.{key}.label: {scenario.label} is not a class of {name}. Mend: a whole number from 0 to "
                f"{published.classes - 1}"
                for key, scenario in self.scenarios.items()
                if isinstance(scenario, ClassScenario) and scenario.label >= published.classes
            ]
        for key, experiment in self.experiments.items():
            sizes_used = self.datasets.get(experiment.dataset)
            scenario = self.scenarios.get(experiment.scenario)
            if sizes_used is None or scenario is None or experiment.dataset not in registry.names():
                continue
            forget = scenario.forget_size(sizes_used.train, registry.get(experiment.dataset).classes)
            pool = sizes_used.train - forget
            if experiment.retain_size > pool:
                problems.append(
                    f"experiments.{key}.retain_size: {experiment.retain_size} is larger than the retain pool of {pool} "
                    f"images ({sizes_used.train} training images less {forget} to forget). Mend: lower retain_size to "
                    f"at most {pool}, or raise datasets.{experiment.dataset}.train"
                )
            available = {"forget": forget, "retain": experiment.retain_size}
            problems += [
                f"methods.{method}.{field}: a batch of {size} cannot be drawn from {available[data]} {data} images "
                f"(experiment {key}). Mend: lower it to at most {available[data]}"
                for method in experiment.methods
                if method in self.methods
                for field, data in self._batch_fields(method)
                if isinstance(size := self.methods[method].get(field), int) and size > available[data]
            ]
        return problems

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


def _unknown(key: str, kind: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{key}: unknown {kind} {name!r}.{hint} Mend: use one of {', '.join(known)}"


def _problems(error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...] = ()) -> list[str]:
    """One line a problem: key, cause, mend (the field's own description)."""
    lines = []
    for problem in error.errors(include_url=False):
        location = tuple(str(part) for part in problem["loc"])
        key = ".".join((*prefix, *(part for part in location if part not in ("random", "class"))))
        field, known = _field(model, location)
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(location[-1], known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            lines.append(f"{key}: unknown key.{hint} Mend: remove it; the keys here are {', '.join(known)}")
        elif problem["type"] == "value_error" and not location:
            lines += str(problem["ctx"]["error"]).splitlines()
        else:
            got = "" if problem["type"] == "missing" else f" (got {problem['input']!r})"
            mend = f". Mend: {field}" if field else ""
            lines.append(f"{key}: {problem['msg']}{got}{mend}")
    return lines


def _field(model: type[BaseModel], location: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """Description of the field at a location of the schema, and the keys that stand beside it."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    node: Mapping[str, Any] = schema
    siblings: list[str] = []
    for part in location:
        while "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[-1]]
        siblings = sorted(node.get("properties", {}))
        if part in node.get("properties", {}):
            node = node["properties"][part]
        elif "discriminator" in node and part in node["discriminator"]["mapping"]:
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif isinstance(node.get("additionalProperties"), Mapping):
            node = node["additionalProperties"]
        elif "items" in node:
            # A position in a list: what the list's own field says is the mend.
            return node.get("description"), siblings
        else:
            return None, siblings
    return node.get("description"), siblings


def validate(config: Mapping[str, Any]) -> Profile:
    """The profile that a config describes.

    Raises:
        ConfigError: with one line a problem: the key, the cause and the mend.
    """
    try:
        return Profile.model_validate(dict(config))
    except ValidationError as error:
        problems = _problems(error, Profile)
        raise ConfigError(
            "the config cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems)
        ) from None


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
