"""What one experiment of the report consists of: the runs that its tables and figures select."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

ORTHOGRAD = "orthograd"
ORIGINAL = "original"
RETRAINED = "retrained"

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
    substitutions: list[str] = Field(
        default_factory=list, description="What stands in for what the paper used, one clause each"
    )

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
        if ORTHOGRAD not in self.methods:
            raise ValueError(
                f"methods of experiment {self.id} lacks '{ORTHOGRAD}'; add it, every other is compared to it"
            )
        return self
