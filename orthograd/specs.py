"""Settings that both the config and the computing steps know: each belongs to one of the steps."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    """A section of the config: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Training(Strict):
    """Training from scratch: SGD with Nesterov momentum under a one-cycle learning rate, no augmentation."""

    epochs: Positive = Field(description="passes over the training images, a whole number >= 1")
    batch_size: Positive = Field(description="images in a training step, a whole number >= 1")
    learning_rate: float = Field(
        gt=0, description="peak learning rate of the one-cycle schedule, a number > 0"
    )
    momentum: float = Field(ge=0, lt=1, description="Nesterov momentum, in [0, 1)")
    weight_decay: float = Field(ge=0, description="weight decay, a number >= 0")
    warmup: float = Field(gt=0, lt=1, description="part of the steps in which the rate rises, in (0, 1)")


class ShadowStudy(Strict):
    """U-LiRA on shadow models: pairs of models with the forget set's halves unlearned and never seen."""

    experiment: Name = Field(description="id of the experiment whose scenario and retain subset they have")
    model: Name = Field(description="one of its models")
    methods: list[Name] = Field(min_length=1, description="those of its methods that are attacked")
    number: int = Field(ge=6, multiple_of=2, description="shadow models, an even number >= 6")
    first_seed: int = Field(ge=0, description="their seeds are this one and those that follow")

    @property
    def seeds(self) -> list[int]:
        """One a shadow model."""
        return list(range(self.first_seed, self.first_seed + self.number))


class Relearning(Strict):
    """How the forgotten samples are learnt again: plain SGD on the cross-entropy, the same for every model."""

    learning_rate: float = Field(gt=0, description="of plain SGD, a number > 0")
    batch_size: Positive = Field(description="forget images in a step, a whole number >= 1")
    max_steps: Positive = Field(description="steps after which a model counts as not relearned")
    level: float = Field(gt=0, le=1, description="forget accuracy that counts as relearned, in (0, 1]")


class StoppingRule(Strict):
    """When an unlearning run ends.

    Every `every` steps the forget accuracy is measured. Where it is at or below the target, it is measured after each
    step since the last time as well, and the run ends with the first that is.
    """

    every: Positive = Field(description="steps between two checks, a whole number >= 1")
    record_every: Positive = Field(
        description="steps between two measurements of test accuracy, a multiple of `every`"
    )
    max_steps: Positive = Field(description="steps after which a run ends as 'target not reached'")
    curve_steps: int = Field(
        ge=0,
        description="steps that the trajectory of a run that reached its target covers at least, a whole number >= 0",
    )


class Stopping(StoppingRule):
    """The one stopping rule of all methods, with its target.

    Random scenario: the target is the original model's accuracy on the validation images. Class scenario:
    `class_target`.
    """

    class_target: float = Field(
        ge=0, lt=1, description="forget accuracy to reach in a class scenario, in [0, 1)"
    )
