"""What every test shares: fixed seeds."""

import random

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may use the legacy generator
    torch.manual_seed(0)
