"""What to forget, and how large the sets are: the data part of an experiment's config."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Subset(_Strict):
    """The part of a dataset in class folders that is prepared: the same number of images of each chosen class."""

    classes: list[str] | None = Field(
        default=None, min_length=1, description="names of the classes to take; null: all"
    )
    train: int = Field(gt=0, description="images of each class from the published train part")
    test: int = Field(gt=0, description="images of each class from the published test part")


class SplitSizes(_Strict):
    """Number of images in each set; `test: null` takes the whole published test part."""

    subset: Subset | None = Field(
        default=None,
        description="what to prepare of a dataset that does not fit into memory (ImageNet); null: all",
    )

    train: int = Field(gt=0, description="images to train on, from the published train part")
    validation: int = Field(gt=0, description="held-out images from the published train part")
    test: int | None = Field(default=None, gt=0, description="images from the published test part; null: all")


class RandomScenario(_Strict):
    """Forget a random fraction of the training images, the same fraction of every class."""

    kind: Literal["random"]
    fraction: float = Field(gt=0, lt=1, description="share of the training images to forget, between 0 and 1")

    def forget_size(self, train: int, classes: int) -> int:
        """The number of images to forget out of `train`."""
        return round(self.fraction * train)


class ClassScenario(_Strict):
    """Forget all training images of one class."""

    kind: Literal["class"]
    label: int = Field(ge=0, description="label of the class to forget")

    def forget_size(self, train: int, classes: int) -> int:
        """The largest number of images to forget out of `train`, drawn evenly from that many classes."""
        return -(-train // classes)


Scenario = Annotated[RandomScenario | ClassScenario, Field(discriminator="kind")]
