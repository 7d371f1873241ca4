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


class DatasetProxy(_Strict):
    """A retain set of another dataset of the registry with the same classes and image size (CINIC-10 for CIFAR-10)."""

    kind: Literal["dataset"]
    size: int = Field(gt=0, description="images in the proxy pool")
    dataset: str = Field(description="name of the other dataset in the registry")


class ShiftProxy(_Strict):
    """A retain set of held-out images of the same dataset under a fixed shift: turned, scaled, moved, paled, noisy.

    The order is that of the fields. The shift keeps the labels as long as the picture stays in view and can be told
    from the noise; it is no dataset of its own and is never called by the name of one.
    """

    kind: Literal["shift"]
    size: int = Field(gt=0, description="images in the proxy pool")
    rotation: float = Field(ge=-45, le=45, description="degrees anticlockwise about the centre, at most 45")
    scale: float = Field(ge=0.5, le=2, description="factor on the picture's size, in [0.5, 2]")
    translation: float = Field(ge=-8, le=8, description="pixels to the right and down, at most 8")
    contrast: float = Field(gt=0, le=1, description="factor on the distance from mid-grey, in (0, 1]")
    noise: float = Field(
        ge=0, le=0.5, description="standard deviation of Gaussian noise on pixels in [0, 1], in [0, 0.5]"
    )


Proxy = Annotated[DatasetProxy | ShiftProxy, Field(discriminator="kind")]
