"""What one experiment of the report consists of: the runs that its tables and figures select."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

ORTHOGRAD = "orthograd"
ORIGINAL = "original"
RETRAINED = "retrained"

# A method's published defaults, at which it runs by its own rule to its own end, are a run of their own.
PUBLISHED = "-published"

# The id is a part of file names and of anchors in the page.
ExperimentId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Experiment(BaseModel):
    """One experiment: a dataset and a scenario, one or more models, and the methods that are compared.

    The rows ``original`` and ``retrained`` belong to every experiment and are not listed in ``methods``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: ExperimentId = Field(description="Short name, for example T-IMG-R; names the files")
    title: str = Field(min_length=1, description="One line for headings")
    dataset: str = Field(min_length=1, description="Value of the column `dataset`")
    models: list[str] = Field(min_length=1, description="Values of the column `model`, in table order")
    scenario: str = Field(min_length=1, description="Value of the column `scenario`")
    retain_size: int = Field(ge=1, description="Samples in the retain subset")
    methods: list[str] = Field(min_length=2, description="Unlearning methods, in table order")
    published: list[str] = Field(
        default_factory=list,
        description="those of the methods that are also shown at their published defaults",
    )
    proxy: str | None = Field(
        None,
        description="what stands in for the retain subset, one of `proxies`; null: the retain set itself",
    )
    substitutions: list[str] = Field(
        default_factory=list, description="What stands in for what the paper used, one clause each"
    )
    illustration: str | None = Field(
        None, min_length=1, description="why no claim is decided by this experiment; null: it counts"
    )
    single_seed: bool = Field(
        False,
        description="whether only the first seed of the profile is run, of models that no other section has",
    )

    @property
    def source(self) -> str:
        """Where the retain subset comes from, as a part of paths: 'retain', or the proxy's name behind 'proxy-'."""
        return "retain" if self.proxy is None else f"proxy-{self.proxy}-"

    @property
    def rows(self) -> list[str]:
        """All runs of methods, in table order: each method, and after it the one at its published defaults."""
        return [
            row
            for method in self.methods
            for row in (method, f"{method}{PUBLISHED}")[: 1 + (method in self.published)]
        ]

    @model_validator(mode="after")
    def _methods_can_be_compared(self) -> Self:
        for name, values in (("models", self.models), ("methods", self.methods)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} of experiment {self.id} lists a name twice: {values}; keep one")
        reserved = {ORIGINAL, RETRAINED} & set(self.methods)
        if reserved:
            raise ValueError(
                f"methods of experiment {self.id} lists {sorted(reserved)}; "
                "remove it, these rows are always shown"
            )
        unknown = sorted(set(self.published) - set(self.methods))
        if unknown:
            raise ValueError(
                f"published of experiment {self.id} lists {unknown}; add them to its methods, or remove them"
            )
        if ORTHOGRAD not in self.methods:
            raise ValueError(
                f"methods of experiment {self.id} lacks '{ORTHOGRAD}'; add it, every other is compared to it"
            )
        if self.single_seed and self.illustration is None:
            raise ValueError(
                f"experiment {self.id} has a single_seed, by which no claim can be decided; say so in its "
                "illustration, or take single_seed out"
            )
        return self


class Sweep(BaseModel):
    """An experiment over sizes of the retain subset: the same comparison at each of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: ExperimentId = Field(description="Short name, for example F-SIZE; names the files")
    title: str = Field(min_length=1, description="One line for headings")
    dataset: str = Field(min_length=1, description="Value of the column `dataset`")
    model: str = Field(min_length=1, description="Value of the column `model`")
    scenario: str = Field(min_length=1, description="Value of the column `scenario`")
    retain_sizes: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=2, description="Sizes of the retain subset, ascending"
    )
    methods: list[str] = Field(min_length=2, description="Unlearning methods, in table order")
    substitutions: list[str] = Field(
        default_factory=list, description="What stands in for what the paper used, one clause each"
    )

    @property
    def experiments(self) -> list[Experiment]:
        """The comparison at each size."""
        return [
            Experiment(
                id=self.id,
                title=self.title,
                dataset=self.dataset,
                models=[self.model],
                scenario=self.scenario,
                retain_size=size,
                methods=self.methods,
                substitutions=self.substitutions,
            )
            for size in self.retain_sizes
        ]

    @model_validator(mode="after")
    def _sizes_ascend(self) -> Self:
        if sorted(set(self.retain_sizes)) != self.retain_sizes:
            raise ValueError(
                f"retain_sizes of {self.id} are {self.retain_sizes}; name each once, in ascending order"
            )
        return self
