"""What a method is: its rule in words, the data it reads, its parameters, and a generator of updates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orthograd.data.samples import PixelScale, Samples
from orthograd.randomness import generator

if TYPE_CHECKING:
    import torch
    from torch import nn

# heldout: images that no model was trained on, distributed like the forget set.
DataName = Literal["forget", "retain", "heldout"]
ScenarioKind = Literal["random", "class"]


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
        pixels: how the images were standardised.

    Raises:
        UndeclaredDataError: on access to any other name.
    """

    def __init__(
        self, samples: Mapping[str, Samples], reads: frozenset[DataName], seed: int, pixels: PixelScale
    ) -> None:
        self._samples = {name: samples[name] for name in reads}
        self._seed = seed
        self.pixels = pixels

    def __getitem__(self, name: DataName) -> Samples:
        if name not in self._samples:
            raise UndeclaredDataError(
                f"the method reads {name!r} but declares only {sorted(self._samples)}: add it to METHOD.reads"
            )
        return self._samples[name]

    def batches(self, name: DataName, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless batches of a set, see `Samples.batches`: each `steps(name, size)` of them are a pass."""
        return self[name].batches(size, self.generator(name))

    def steps(self, name: DataName, size: int) -> int:
        """Batches in a pass over a set."""
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
    """

    name: str
    rule: str
    source: str
    reads: frozenset[DataName]
    params: type[Params]
    published: Published | None
    run: Callable[[nn.Module, DataView, Any], Updates]
    scenarios: frozenset[ScenarioKind] = frozenset({"random", "class"})


def limit(passes: int | None, steps_in_pass: int) -> int | None:
    """Steps after which a method ends by itself; None: the stopping rule ends it."""
    return None if passes is None else passes * steps_in_pass
