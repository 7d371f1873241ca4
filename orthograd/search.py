"""The search for a method's parameters: spaces, trials, and the two objectives that judge a trial.

Trials are points of a scrambled Sobol sequence: they are spread over the space evenly and depend on no result, so that
the same trials serve every objective, and the regret of choosing without a retrained model is exact among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from orthograd.randomness import stream
from orthograd.specs import Name, Positive, Strict

Value = bool | int | float | str | None


class Range(Strict):
    """An interval of real numbers, or of whole ones where both ends are."""

    low: int | float
    high: int | float
    log: bool = Field(description="whether trials are spread evenly over the logarithm: true or false")

    @model_validator(mode="after")
    def _check(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}. Mend: exchange them")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low} has no logarithm. Mend: raise it above 0, or log: false")
        return self

    def at(self, place: float) -> int | float:
        """The value at a place in [0, 1)."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        # A whole number has an interval of its own, the last one too.
        low, high = float(self.low), float(self.high) + whole
        value = low * (high / low) ** place if self.log else low + (high - low) * place
        return min(math.floor(value), int(self.high)) if whole else value

    @property
    def ends(self) -> list[Value]:
        """Values to check against the method's bounds."""
        return [self.low, self.high]


class Choices(Strict):
    """Some values, equally likely."""

    choices: list[Value] = Field(min_length=2, description="at least two values")

    def at(self, place: float) -> Value:
        """The value at a place in [0, 1)."""
        return self.choices[int(place * len(self.choices))]

    @property
    def ends(self) -> list[Value]:
        """Values to check against the method's bounds."""
        return self.choices


def _form(value: Any) -> str:
    if isinstance(value, Range) or (isinstance(value, Mapping) and "choices" not in value):
        return "range"
    return "choice" if isinstance(value, Choices | Mapping) else "value"


# A parameter that has one value is not searched.
Space = dict[
    str,
    Annotated[
        Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choice")] | Annotated[Value, Tag("value")],
        Discriminator(_form),
    ],
]


class Tuning(Strict):
    """How `snakemake tune` searches the methods' parameters, in every scenario of the profile."""

    dataset: Name = Field(description="dataset to search on")
    model: Name = Field(description="model to search on")
    retain_size: Positive = Field(description="retain subset to search with, a whole number >= 1")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="at least one whole number >= 0, none of which is a reported seed"
    )
    images: Literal["apart", "shared"] = Field(
        description="apart: the tuning splits share no image with the reported ones; shared: both are drawn from all "
        "images, where there are not enough for that"
    )
    max_steps: Positive = Field(
        description="steps after which a run of the search ends as 'target not reached'; fewer than those of reported "
        "runs, which then have room: their seeds may need more"
    )
    trials: Positive = Field(description="trials of each search; a power of two covers a space best")
    seconds: float = Field(gt=0, description="a search starts no further trial after this time")
    methods: list[Name] = Field(min_length=1, description="methods whose parameters are searched")
    spaces: dict[Name, Space] = Field(
        min_length=1, description="search space of each method, or a file that holds them"
    )


def trials(space: Mapping[str, Any], count: int, seed: int, name: str) -> list[dict[str, Value]]:
    """Parameters of each trial.

    Args:
        space: of a method; every parameter that is no `Range` and no `Choices` is a fixed value.
        count: trials; a power of two covers the space best. A space without anything to search gives one.
        seed: of the sequence.
        name: of the method: two methods do not share their sequence.
    """
    from scipy.stats import qmc

    searched = [key for key, value in space.items() if isinstance(value, Range | Choices)]
    if not searched:
        return [dict(space)]
    points = qmc.Sobol(len(searched), rng=stream(seed, "search", name)).random(count)
    return [
        {
            key: space[key].at(float(point[searched.index(key)])) if key in searched else value
            for key, value in space.items()
        }
        for point in points
    ]


def corners(space: Mapping[str, Any]) -> list[dict[str, Value]]:
    """Parameters at the ends of the space: together they hold every end of every range and every choice."""
    ends = {
        key: value.ends if isinstance(value, Range | Choices) else [value] for key, value in space.items()
    }
    most = max(len(values) for values in ends.values())
    return [
        {key: values[min(place, len(values) - 1)] for key, values in ends.items()} for place in range(most)
    ]


def score(
    reached: Sequence[bool],
    diverged: Sequence[bool],
    forget: Sequence[float],
    target: Sequence[float],
    validation: Sequence[float],
) -> float:
    """What a practitioner can see, higher is better: no test data, no retrained model.

    The mean over seeds of the validation accuracy at the end (a fraction) where the target was reached, of the
    negative distance to the target where it was not, and of −1 where the weights were not finite any more: any trial
    that reaches it in every seed is above any that reaches it in none.
    """
    return sum(
        value if done else -1.0 if broken else target_ - forget_
        for done, broken, forget_, target_, value in zip(
            reached, diverged, forget, target, validation, strict=True
        )
    ) / len(reached)
