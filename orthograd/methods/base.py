"""What a method is: its rule in words, the data it reads, its parameters, and a generator of updates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orthograd import objective
from orthograd.data.samples import PixelScale, Samples
from orthograd.randomness import generator

if TYPE_CHECKING:
    import torch
    from torch import nn

# heldout: images that no model was trained on, distributed like the forget set.
DataName = Literal["forget", "retain", "heldout"]
# speaker: what to forget is a speaker's utterances, sequences of tokens.
ScenarioKind = Literal["random", "class", "speaker"]

IMAGES: frozenset[ScenarioKind] = frozenset({"random", "class"})
ALL: frozenset[ScenarioKind] = frozenset({"random", "class", "speaker"})

# What goes through a model at once where a sum over a whole set is made: bounds memory, changes no result.
CHUNK_SAMPLES = 64


class Params(BaseModel):
    """Parameters of a method; each method's own `Params` adds to these."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sgd(Params):
    """Parameters of a method that steps by SGD."""

    learning_rate: float = Field(gt=0, description="step size of the optimizer, a number > 0")
    momentum: float = Field(ge=0, lt=1, description="momentum of SGD, in [0, 1)")
    weight_decay: float = Field(ge=0, description="weight decay of SGD, a number >= 0")

    def optimizer(self, model: nn.Module) -> torch.optim.SGD:
        """SGD over the trainable parameters."""
        import torch

        return torch.optim.SGD(
            trainable(model), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )


class Adam(Params):
    """Parameters of a method that steps by AdamW, whose weight decay is apart from the gradient."""

    learning_rate: float = Field(gt=0, description="step size of the optimizer, a number > 0")
    weight_decay: float = Field(ge=0, description="decoupled weight decay of AdamW, a number >= 0")

    def optimizer(self, model: nn.Module) -> torch.optim.AdamW:
        """AdamW over the trainable parameters, with torch's β and ε."""
        import torch

        return torch.optim.AdamW(trainable(model), lr=self.learning_rate, weight_decay=self.weight_decay)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a method may change."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@dataclass(frozen=True)
class Step:
    """What one parameter update reports.

    Attributes:
        forward: samples that passed forward through the model, or through a teacher.
        backward: samples that passed backward.
        values: what the method wants to see in its trajectory (losses in nats, diagnostics).
        complete: False inside a round whose end alone makes sense of it, such as the ascent of SCRUB: the stopping
            rule does not look at the model there.
    """

    forward: int
    backward: int
    values: Mapping[str, float] = field(default_factory=dict)
    complete: bool = True


# What a method's `run` returns.
Updates = Generator[Step, None, None]


class UndeclaredDataError(LookupError):
    """A method asked for data that it does not declare."""


class DataView:
    """The data that a method declared, and nothing else; each set has a random order of its own.

    Args:
        samples: all that there is, by name.
        reads: what the method declared.
        seed: of the run. The order of one set depends neither on the method nor on the size of another set.
        pixels: how the images were standardised; None: there are none.

    `accessed` holds what the method asked for so far, by name.

    Raises:
        UndeclaredDataError: on access to any other name.
    """

    def __init__(
        self, samples: Mapping[str, Samples], reads: frozenset[DataName], seed: int, pixels: PixelScale | None
    ) -> None:
        self._samples = {name: samples[name] for name in reads}
        self._seed = seed
        self._pixels = pixels
        self.accessed: dict[DataName, Samples] = {}

    @property
    def pixels(self) -> PixelScale:
        """How the images were standardised.

        Raises:
            UndeclaredDataError: the data are no images.
        """
        if self._pixels is None:
            raise UndeclaredDataError("the method asks how images were standardised, but there are none")
        return self._pixels

    def __getitem__(self, name: DataName) -> Samples:
        if name not in self._samples:
            raise UndeclaredDataError(
                f"the method reads {name!r} but declares only {sorted(self._samples)}: add it to METHOD.reads"
            )
        self.accessed[name] = self._samples[name]
        return self._samples[name]

    def batches(self, name: DataName, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless batches of a set, see `Samples.batches`: each `steps(name, size)` of them are a pass."""
        return self[name].batches(size, self.generator(name))

    def steps(self, name: DataName, size: int) -> int:
        """Batches in a pass over a set.

        Raises:
            ValueError: there is none, because the set has fewer than `size` samples.
        """
        if size > len(self[name]):
            raise ValueError(
                f"a batch of {size} from {len(self[name])} {name} samples: lower the batch size in the config"
            )
        return len(self[name]) // size

    def generator(self, *purpose: str) -> torch.Generator:
        """A random stream on the CPU for one purpose of this run."""
        return generator(self._seed, "unlearn", *purpose)


@dataclass(frozen=True)
class Published:
    """Published default parameters, at which a method runs by its own rule to its own end.

    Attributes:
        params: values for the method's `params`.
        source: where they stand; says which of them are ours because the source is silent.
    """

    params: Mapping[str, Any]
    source: str


@dataclass(frozen=True)
class Method:
    """An unlearning method.

    Attributes:
        name: registry key, config name and path segment.
        rule: the update in one line.
        source: where the rule comes from.
        reads: the data that it gets.
        params: model of its parameters.
        published: published defaults, None where none are known.
        run: `run(model, data, params)` updates the model in place and yields once per parameter update; it ends by
            itself after the passes that its parameters ask for, and may be closed before. Either way it leaves a
            model with the original's modules. The model comes in evaluation mode, so that batch normalisation uses
            its running statistics, and all that the method needs of the original it has to copy before it starts.
        scenarios: kinds of scenario for which the method is defined.
        no_speech: why it is not defined for the kind "speaker", where it is not.
    """

    name: str
    rule: str
    source: str
    reads: frozenset[DataName]
    params: type[Params]
    published: Published | None
    run: Callable[[nn.Module, DataView, Any], Updates]
    scenarios: frozenset[ScenarioKind] = IMAGES
    no_speech: str | None = None


def strengths(way: str) -> Any:
    """The parameter of a method without steps that tries one strength after the other, each on the original model.

    Args:
        way: from where the strength grows to where.
    """
    return Field(
        ge=1,
        description=f"models tried, from {way}; the stopping rule chooses; 1 is the published single one",
    )


def strengthened(count: int) -> Iterator[float]:
    """The strengths 1/n, 2/n, …, 1 of `strengths`; the last is exact."""
    return (place / count for place in range(1, count + 1))


def limit(passes: int | None, steps_in_pass: int) -> int | None:
    """Steps after which a method ends by itself; None: the stopping rule ends it."""
    return None if passes is None else passes * steps_in_pass


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that no gradient reaches: the teacher of a method that has one."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def class_count(model: nn.Module, samples: Samples) -> int:
    """The number of classes that a model tells apart; sends one sample forward."""
    import torch

    with torch.no_grad():
        return int(model(samples.images[:1]).shape[1])


def wrong_labels(samples: Samples, classes: int, generator: torch.Generator) -> Samples:
    """The same images, each with a label drawn uniformly from all classes but its own."""
    import torch

    shift = torch.randint(1, classes, (len(samples),), generator=generator).to(samples.labels.device)
    return Samples(samples.images, (samples.labels + shift) % classes)


def gradients(loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Gradient of a scalar for each parameter, zero for one that it does not depend on; frees the graph."""
    import torch

    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def mean_gradient(model: nn.Module, samples: Samples) -> list[torch.Tensor]:
    """Gradient of the mean cross-entropy of a whole set for each of `trainable(model)`.

    Every sample passes forward and backward once.
    """
    import torch

    parameters = trainable(model)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for images, labels in zip(
        samples.images.split(CHUNK_SAMPLES), samples.labels.split(CHUNK_SAMPLES), strict=True
    ):
        share = objective.losses(model(images), labels).sum() / len(samples)
        for part, gradient in zip(total, gradients(share, parameters), strict=True):
            part += gradient
    return total
