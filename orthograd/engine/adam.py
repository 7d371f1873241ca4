"""Ablation: Adam directions in the place of gradients, as in the public code copy.

Its guarantee is gone: what is orthogonal to the Adam direction of a retain sample is not orthogonal to its
gradient, so that the loss of a sampled retain sample does change to first order. The moments are updated once
for each sample, so that the direction of a sample depends on those before it.
"""

import torch
from torch import Tensor

# Defaults of Kingma and Ba (arXiv:1412.6980), section 2.
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamDirections:
    """Running moments, and the Adam directions that they give.

    One state serves all samples: the retain samples in their order, then the forget gradient.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._second: Tensor | None = None
        self._steps = 0

    def __call__(self, gradient: Tensor) -> Tensor:
        """m̂ / (√v̂ + ε) (d,) after an update of the moments with a gradient (d,)."""
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self._steps += 1
        first, second = BETAS
        self._first = first * self._first + (1 - first) * gradient
        self._second = second * self._second + (1 - second) * gradient.square()
        mean = self._first / (1 - first**self._steps)
        deviation = (self._second / (1 - second**self._steps)).sqrt()
        return mean / (deviation + EPSILON)
