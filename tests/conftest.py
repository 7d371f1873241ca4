"""What every test shares: fixed seeds."""

import random

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run: its verdict depends on the code alone.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may use the legacy generator
    torch.manual_seed(0)
