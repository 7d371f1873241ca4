"""What a method is: its rule in words, the data it reads, its parameters, and a generator of updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orthograd.data.samples import Samples
from orthograd.randomness import generator

if TYPE_CHECKING:
    import torch
    from torch import nn

DataName = Literal["forget", "retain"]


class Params(BaseModel):
    """Parameters that every method has; each method's own `Params` adds to them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    learning_rate: float = Field(gt=0, description="step size of the optimizer, a number > 0")
    momentum: float = Field(ge=0, lt=1, description="momentum of SGD, in [0, 1)")
    weight_decay: float = Field(ge=0, description="weight decay of SGD, a number >= 0")


@dataclass(frozen=True)
class Step:
    """What one parameter update reports.

    Attributes:
        forward: samples that passed forward through the model.
        backward: samples that passed backward through the model.
        values: what the method wants to see in its trajectory (losses in nats, diagnostics).
    """

    forward: int
    backward: int
    values: Mapping[str, float] = field(default_factory=dict)


class UndeclaredDataError(LookupError):
    """A method asked for data that it does not declare."""


class DataView:
    """The data that a method declared, and nothing else; each set has a random order of its own.

    Args:
        samples: all that there is, by name.
        reads: what the method declared.
        seed: of the run. The order of one set depends neither on the method nor on the size of another set.

    Raises:
        UndeclaredDataError: on access to any other name.
    """

    def __init__(self, samples: Mapping[str, Samples], reads: frozenset[DataName], seed: int) -> None:
        self._samples = {name: samples[name] for name in reads}
        self._seed = seed

    def __getitem__(self, name: DataName) -> Samples:
        if name not in self._samples:
            raise UndeclaredDataError(
                f"the method reads {name!r} but declares only {sorted(self._samples)}: add it to METHOD.reads"
            )
        return self._samples[name]

    def batches(self, name: DataName, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless batches of a set, see `Samples.batches`."""
        return self[name].batches(size, generator(self._seed, "unlearn", name))


@dataclass(frozen=True)
class Method:
    """An unlearning method.

    Attributes:
        name: registry key, config name and path segment.
        rule: the update in one line.
        source: where the rule comes from.
        reads: the data that it gets.
        params: model of its parameters.
        run: `run(model, data, params)` updates the model in place and yields once per parameter update.
            The model comes in evaluation mode, so that batch normalisation uses its running statistics.
    """

    name: str
    rule: str
    source: str
    reads: frozenset[DataName]
    params: type[Params]
    run: Callable[[nn.Module, DataView, Any], Iterator[Step]]


def sgd(model: nn.Module, params: Params) -> torch.optim.SGD:
    """Plain SGD over the trainable parameters, as `params` says."""
    import torch

    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(
        trainable, lr=params.learning_rate, momentum=params.momentum, weight_decay=params.weight_decay
    )
