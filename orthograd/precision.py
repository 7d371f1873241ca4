"""Where sums are made in float64: on the device, unless it has no float64 (MPS)."""

from collections.abc import Iterable
from typing import Any

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


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no entry of floating-point tensors of any shapes is infinite or NaN.

    By their extremes, which are NaN where an entry is: many times faster than an answer for each entry.
    """
    return all(bool(torch.stack(torch.aminmax(part)).isfinite().all()) for part in tensors if part.numel())


def gradient_eps(tensor: Tensor) -> float:
    """Machine epsilon of the arithmetic from which a gradient came: that of TF32 where float32 may become it.

    torch lets convolutions on CUDA do so by default, and matrix products on request.
    """
    if tensor.dtype is torch.float32 and tensor.is_cuda:
        backends: Any = torch.backends  # the type stubs do not know these settings
        if "tf32" in (backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision):
            return 2.0**-10
    return float(torch.finfo(tensor.dtype).eps)


def joint_norm(tensors: Iterable[Tensor]) -> float:
    """Norm of all tensors as one vector, with a single wait for the device."""
    return float(
        torch.linalg.vector_norm(wide(torch.stack([torch.linalg.vector_norm(part) for part in tensors])))
    )
