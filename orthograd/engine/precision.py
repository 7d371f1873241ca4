"""Where sums are made in float64: on the device, unless it has no float64 (MPS)."""

from collections.abc import Iterable

import torch
from torch import Tensor


def wide_dtype(device: torch.device) -> torch.dtype:
    """Dtype of sums that stay on a device: float64, or float32 on MPS, which has no float64.

    The k×k system is solved in float64 on the CPU in any case.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def wide(tensor: Tensor) -> Tensor:
    """The tensor in the widest dtype of its device."""
    return tensor.to(wide_dtype(tensor.device))


def exact(tensor: Tensor) -> Tensor:
    """The tensor in float64, on the CPU where its device has none."""
    return tensor.double() if wide_dtype(tensor.device) is torch.float64 else tensor.cpu().double()


def joint_norm(tensors: Iterable[Tensor]) -> float:
    """Norm of all tensors as one vector, with a single wait for the device."""
    return float(
        torch.linalg.vector_norm(wide(torch.stack([torch.linalg.vector_norm(part) for part in tensors])))
    )
