"""Per-layer formulas: what one use of a parameter adds to the Gramian.

Notation: k samples; a the input of the layer and b the gradient of the losses with respect to its output,
both with the sample in dimension 0; T the number of positions (tokens, pixels) of a sample; p the number of
entries of the parameter. The gradient of sample i, a row of G, is

- linear weight (out, in):      Σ_t b_it a_itᵀ
- convolution weight:           the same on unfolded inputs, position t being an output pixel, for each group
- embedding weight (V, dim):    Σ_t e(token_it) b_itᵀ
- scale of a norm (C,):         Σ_t b_it ⊙ x̂_it, with the normalised input x̂
- any bias (C,):                Σ_t b_it

A `Use` offers four things: slices of its rows (direct form), its Gramian without rows (ghost form), the
products of all rows with one vector, and a weighted sum of the rows. The direct form costs k·T·p
multiply-adds for the rows and k²·p for their products; the ghost form, K_ij = Σ_tt' ⟨a_it, a_jt'⟩⟨b_it,
b_jt'⟩, costs k²T²(in + out).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import grad as conv_gradients
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from orthograd.precision import wide, wide_dtype

# Multiply-adds of a matrix product that take as long as writing and reading back one element (measured on 2
# CPU cores).
ELEMENT_COST = 16

# Convolution weights (out, in/groups, *kernel) by the number of spatial dimensions.
_CONV_WEIGHT_GRAD: dict[int, Callable[..., Tensor]] = {
    1: conv_gradients.conv1d_weight,
    2: conv_gradients.conv2d_weight,
    3: conv_gradients.conv3d_weight,
}
_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def accumulation_dtype(*tensors: Tensor) -> torch.dtype:
    """Dtype in which rows are formed: at least float32, whatever autocast ran the layer in."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor.is_floating_point():
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` entries that cover range(total)."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


class Use(ABC):
    """One use of a parameter of shape `shape` by `samples` samples.

    Attributes:
        shape: Shape of the parameter.
        tile_dim: Dimension of the parameter along which its rows are cut into tiles.
        scratch: Numbers that a tile needs beside its rows, for each index of that dimension.
        samples: k.
        dtype: Dtype of the rows.
        direct_cost: Multiply-adds (and equivalents) of the direct form, without the k²·p of the products.
        ghost_cost: The same for the ghost form; infinite where there is none.
    """

    tile_dim = 0
    scratch = 0

    def __init__(self, shape: Sequence[int], samples: int, dtype: torch.dtype) -> None:
        self.shape = tuple(shape)
        self.samples = samples
        self.dtype = dtype
        self.direct_cost = 0.0
        self.ghost_cost = math.inf

    @abstractmethod
    def rows(self, part: slice) -> Tensor:
        """Rows (k, ·) of a slice of the parameter along `tile_dim`, flattened."""

    def gramian(self, chunk_bytes: int) -> Tensor:
        """K (k, k) in float64 in ghost form, with temporaries of about `chunk_bytes`."""
        raise NotImplementedError(f"{type(self).__name__} has no ghost form")  # its ghost_cost is infinite

    @abstractmethod
    def products(self, vector: Tensor) -> Tensor:
        """⟨g^i, vector⟩ (k,) in float64 for a vector of the parameter's shape."""

    @abstractmethod
    def weighted(self, weights: Tensor) -> Tensor:
        """Σ_i w_i g^i in the parameter's shape, for weights (k,)."""


class ExplicitRows(Use):
    """Rows that are small enough to be held: biases, scales of norms, and what the fallback computed.

    Args:
        rows: (k, ...), p numbers for each sample.
        shape: Shape of the parameter.
    """

    def __init__(self, rows: Tensor, shape: Sequence[int]) -> None:
        super().__init__(shape, len(rows), rows.dtype)
        self._rows = rows.reshape(len(rows), *(self.shape or (1,)))

    def rows(self, part: slice) -> Tensor:
        return self._rows[:, part].flatten(1)

    def products(self, vector: Tensor) -> Tensor:
        return wide(self._rows.flatten(1) @ vector.to(self.dtype).flatten())

    def weighted(self, weights: Tensor) -> Tensor:
        total: Tensor = torch.tensordot(weights.to(self._rows), self._rows, dims=1)
        return total.reshape(self.shape)


class LinearWeight(Use):
    """Weight (out, in) of ``y = a Wᵀ``.

    Args:
        a: (k, ..., in).
        b: (k, ..., out).
    """

    def __init__(self, a: Tensor, b: Tensor) -> None:
        dtype = accumulation_dtype(a, b)
        super().__init__((b.shape[-1], a.shape[-1]), len(a), dtype)
        self._a = a.reshape(len(a), -1, a.shape[-1]).to(dtype)
        self._b = b.reshape(len(b), -1, b.shape[-1]).to(dtype)
        k, positions = self._a.shape[:2]
        self.direct_cost = k * math.prod(self.shape) * (positions + ELEMENT_COST)
        self.ghost_cost = (k * positions) ** 2 * (sum(self.shape) + ELEMENT_COST)

    def rows(self, part: slice) -> Tensor:
        return (self._b[:, :, part].mT @ self._a).flatten(1)

    def gramian(self, chunk_bytes: int) -> Tensor:
        positions, itemsize = self._a.shape[1], self._a.element_size()
        # Two (size·T)² products are alive at once.
        size = max(1, int(math.sqrt(chunk_bytes / (2 * itemsize)) / positions))
        return _ghost(
            self.samples, size, lambda part: (self._a[part].flatten(0, 1), self._b[part].flatten(0, 1))
        )

    def products(self, vector: Tensor) -> Tensor:
        return _row_sums(F.linear(self._a, vector.to(self.dtype)), self._b)

    def weighted(self, weights: Tensor) -> Tensor:
        scaled = self._b * weights.to(self._b)[:, None, None]
        return scaled.flatten(0, 1).T @ self._a.flatten(0, 1)


class ConvWeight(Use):
    """Weight (out, in/groups, *kernel) of a convolution in one to three dimensions.

    Args:
        module: The layer, for its stride, padding, dilation and groups.
        a: (k, in, *size).
        b: (k, out, *output size).
    """

    tile_dim = 1

    def __init__(self, module: nn.Conv1d | nn.Conv2d | nn.Conv3d, a: Tensor, b: Tensor) -> None:
        dtype = accumulation_dtype(a, b)
        super().__init__(module.weight.shape, len(a), dtype)
        a, self._b = a.to(dtype), b.to(dtype)
        dims = len(module.kernel_size)
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            a = F.pad(a, _explicit_padding(module), module.padding_mode.replace("zeros", "constant"))
            padding: tuple[int, ...] = (0,) * dims
        else:
            padding = tuple(module.padding)
        self._a = a
        self._groups = module.groups
        self._kernel, self._stride, self._dilation = module.kernel_size, module.stride, module.dilation
        self._padding = padding
        k, positions = len(b), math.prod(b.shape[2:])
        self.scratch = k * positions * module.groups * math.prod(module.kernel_size)
        # Entries of an unfolded position and of an output position; groups multiply the products, not the
        # operands.
        unfolded, out = self._groups * math.prod(self.shape[1:]), self.shape[0]
        self.direct_cost = k * math.prod(self.shape) * (positions + ELEMENT_COST)
        self.ghost_cost = (k * positions) ** 2 * (unfolded + out + self._groups * ELEMENT_COST)

    def rows(self, part: slice) -> Tensor:
        # A slice of input channels, the same in every group: each tile unfolds only what it reads.
        inputs = torch.unflatten(self._a, 1, (self._groups, -1))[:, :, part].flatten(1, 2)
        columns = torch.unflatten(self._unfold(inputs), 1, (self._groups, -1))  # (k, groups, ·, T)
        outputs = torch.unflatten(self._b.flatten(2), 1, (self._groups, -1))  # (k, groups, out/groups, T)
        return (outputs @ columns.mT).flatten(1)

    def _unfold(self, a: Tensor) -> Tensor:
        """Inputs of every output position, (k, in·kernel, T), channels slowest."""
        dims = len(self._kernel)
        # Neighbouring positions side by side, here and in the result, are copied in half the time.
        a = F.pad(a.contiguous(), [side for size in reversed(self._padding) for side in (size, size)])
        options = zip(self._kernel, self._stride, self._dilation, strict=True)
        for dim, (kernel, stride, dilation) in enumerate(options):
            a = a.unfold(dim + 2, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
        # (k, in, *output size, *kernel) to (k, in, *kernel, *output size)
        order = (0, 1, *range(dims + 2, 2 * dims + 2), *range(2, dims + 2))
        return a.permute(order).flatten(1, dims + 1).flatten(2)

    def gramian(self, chunk_bytes: int) -> Tensor:
        positions, itemsize = math.prod(self._b.shape[2:]), self._a.element_size()
        operands = positions * (self._groups * math.prod(self.shape[1:]) + self.shape[0])
        # Two blocks of operands, size·operands each, and two (size·T)² products are alive at once.
        budget = chunk_bytes / (2 * itemsize)
        size = max(1, int(_positive_root(positions**2, operands, -budget)))

        def block(part: slice) -> tuple[Tensor, Tensor]:
            columns = torch.unflatten(self._unfold(self._a[part]).mT.flatten(0, 1), 1, (self._groups, -1))
            outputs = torch.unflatten(self._b[part].flatten(2).mT.flatten(0, 1), 1, (self._groups, -1))
            return columns.transpose(0, 1), outputs.transpose(0, 1)  # (groups, size·T, ·)

        return _ghost(self.samples, size, block)

    def products(self, vector: Tensor) -> Tensor:
        options = (None, self._stride, self._padding, self._dilation, self._groups)
        outputs = _CONV[len(self._kernel)](self._a, vector.to(self.dtype), *options)
        return _row_sums(outputs, self._b)

    def weighted(self, weights: Tensor) -> Tensor:
        scaled = self._b * weights.to(self._b).reshape(-1, *(1,) * (self._b.dim() - 1))
        options = (self._stride, self._padding, self._dilation, self._groups)
        return _CONV_WEIGHT_GRAD[len(self._kernel)](self._a, list(self.shape), scaled, *options)


class EmbeddingWeight(Use):
    """Weight (V, dim) of a look-up.

    Args:
        tokens: (k, ...), integers.
        b: (k, ..., dim).
        module: The layer, for V and for its padding index, which gets no gradient.
    """

    def __init__(self, module: nn.Embedding, tokens: Tensor, b: Tensor) -> None:
        dtype = accumulation_dtype(b)
        super().__init__(module.weight.shape, len(b), dtype)
        self._tokens = tokens.reshape(len(b), -1)
        b = b.reshape(*self._tokens.shape, -1).to(dtype)
        if module.padding_idx is not None:
            b = b.masked_fill((self._tokens == module.padding_idx)[:, :, None], 0)
        self._b = b
        k, positions = self._tokens.shape
        self.direct_cost = ELEMENT_COST * k * math.prod(self.shape)
        self.ghost_cost = (k * positions) ** 2 * (self.shape[1] + ELEMENT_COST)

    def rows(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(self.shape[0])
        inside = (self._tokens >= start) & (self._tokens < stop)
        sample, _ = inside.nonzero(as_tuple=True)
        rows = self._b.new_zeros(self.samples * (stop - start), self.shape[1])
        rows.index_add_(0, sample * (stop - start) + self._tokens[inside] - start, self._b[inside])
        return rows.view(self.samples, -1)

    def gramian(self, chunk_bytes: int) -> Tensor:
        positions, itemsize = self._tokens.shape[1], self._b.element_size()
        size = max(1, int(math.sqrt(chunk_bytes / (2 * itemsize)) / positions))
        total = self._b.new_zeros(self.samples, self.samples, dtype=wide_dtype(self._b.device))
        for left in blocks(self.samples, size):
            for right in blocks(self.samples, size):
                same = self._tokens[left].reshape(-1, 1) == self._tokens[right].reshape(1, -1)
                products = self._b[left].flatten(0, 1) @ self._b[right].flatten(0, 1).T
                total[left, right] = _sum_positions(products * same, positions, positions)
        return total

    def products(self, vector: Tensor) -> Tensor:
        return _row_sums(F.embedding(self._tokens, vector.to(self.dtype)), self._b)

    def weighted(self, weights: Tensor) -> Tensor:
        scaled = self._b * weights.to(self._b)[:, None, None]
        total = self._b.new_zeros(self.shape)
        return total.index_add_(0, self._tokens.flatten(), scaled.flatten(0, 1))


def _ghost(samples: int, size: int, block: Callable[[slice], tuple[Tensor, Tensor]]) -> Tensor:
    """Σ_tt' ⟨a_it, a_jt'⟩⟨b_it, b_jt'⟩ by blocks of samples; (..., size·T, ·) operands, leading groups are
    summed."""
    total: Tensor | None = None
    for left in blocks(samples, size):
        a, b = block(left)
        if total is None:
            total = a.new_zeros(samples, samples, dtype=wide_dtype(a.device))
        for right in blocks(samples, size):
            if right.start < left.start:
                continue
            other_a, other_b = (a, b) if right == left else block(right)
            products = (a @ other_a.mT).mul_(b @ other_b.mT)
            rows, columns = left.stop - left.start, right.stop - right.start
            part = _sum_positions(products, a.shape[-2] // rows, other_a.shape[-2] // columns)
            total[left, right] = part
            total[right, left] = part.T
    assert total is not None, "a Use has at least one sample"
    return total


def _sum_positions(products: Tensor, left: int, right: int) -> Tensor:
    """Sum (..., rows·left, columns·right) over the positions and the leading groups to (rows, columns) in
    float64."""
    summed = wide(torch.unflatten(products, -1, (-1, right)).sum(-1))
    summed = torch.unflatten(summed, -2, (-1, left)).sum(-2)
    return summed.sum(0) if summed.dim() == 3 else summed


def _row_sums(left: Tensor, right: Tensor) -> Tensor:
    """⟨left_i, right_i⟩ (k,) in float64 for tensors (k, ...)."""
    return (left * right).flatten(1).sum(1, dtype=wide_dtype(left.device))


def _positive_root(a: float, b: float, c: float) -> float:
    """The positive root of a·x² + b·x + c with a, b > 0 > c."""
    return (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)


def _explicit_padding(module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int]:
    """Padding of both sides of each dimension, last dimension first, as `torch.nn.functional.pad` takes
    it."""
    sides: list[int] = []
    for dim in reversed(range(len(module.kernel_size))):
        if module.padding == "same":
            total = module.dilation[dim] * (module.kernel_size[dim] - 1)
            sides += [total // 2, total - total // 2]
        elif module.padding == "valid":
            sides += [0, 0]
        else:
            sides += [int(module.padding[dim])] * 2
    return sides


def _channels_last_sum(values: Tensor) -> Tensor:
    """Sum (k, ..., C) over the positions to (k, C)."""
    return values.reshape(len(values), -1, values.shape[-1]).sum(1)


def _channels_first_sum(values: Tensor) -> Tensor:
    """Sum (k, C, ...) over the positions to (k, C)."""
    return values.reshape(*values.shape[:2], -1).sum(2)


def _normalised(module: nn.Module, a: Tensor) -> Tensor:
    """Input of the affine part of a norm."""
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(a, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(a, list(module.normalized_shape), eps=module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(a, module.num_groups, eps=module.eps)
    if isinstance(module, _InstanceNorm):
        use_input = module.training or not module.track_running_stats
        statistics = (None, None) if use_input else (module.running_mean, module.running_var)
        return F.instance_norm(a, *statistics, use_input_stats=use_input, eps=module.eps)
    assert isinstance(module, _BatchNorm), f"{type(module).__name__} is no norm"
    mean, variance = module.running_mean, module.running_var
    assert mean is not None, "refused by OrthoGrad before"
    assert variance is not None, "comes with the mean"
    shape = (1, -1, *(1,) * (a.dim() - 2))
    return (a - mean.reshape(shape)) * torch.rsqrt(variance + module.eps).reshape(shape)


_LINEAR = (nn.Linear,)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS_LAST = (nn.LayerNorm, nn.RMSNorm)
_NORMS_FIRST = (
    *(nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_KNOWN = (*_LINEAR, *_CONVOLUTIONS, nn.Embedding, *_NORMS_LAST, *_NORMS_FIRST)


def is_known(module: nn.Module) -> bool:
    """Whether a formula of this file holds for the module: one of the classes, with an unchanged forward."""
    if "forward" in vars(module) or (isinstance(module, nn.Embedding) and module.scale_grad_by_freq):
        return False
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in _KNOWN)


def is_batched(module: nn.Module, a: Tensor) -> bool:
    """Whether the input has the sample in its leading dimension, with all the dimensions that the layer reads
    after."""
    if isinstance(module, _CONVOLUTIONS):
        return a.dim() == len(module.kernel_size) + 2
    if isinstance(module, _NORMS_LAST):
        return a.dim() > len(module.normalized_shape)
    for dims, kind in enumerate((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), start=3):
        if isinstance(module, kind):
            return a.dim() == dims
    return a.dim() >= (1 if isinstance(module, nn.Embedding) else 2)


def layer_uses(module: nn.Module, a: Tensor, b: Tensor, wanted: set[str]) -> dict[str, Use]:
    """Uses of the parameters of a known layer by one call.

    Args:
        module: A layer for which `is_known` holds.
        a: Its input (k, ...).
        b: Gradient of the sum of the losses with respect to its output (k, ...).
        wanted: Names of the layer's trainable parameters, out of ``weight`` and ``bias``.
    """
    uses: dict[str, Use] = {}
    weight: Use
    if isinstance(module, _NORMS_LAST):
        shape = module.normalized_shape
        if "weight" in wanted:
            dtype = accumulation_dtype(a, b)
            summed = _channels_last_sum((b.to(dtype) * _normalised(module, a.to(dtype))).flatten(-len(shape)))
            uses["weight"] = ExplicitRows(summed, shape)
        if "bias" in wanted:
            uses["bias"] = ExplicitRows(
                _channels_last_sum(b.to(accumulation_dtype(b)).flatten(-len(shape))), shape
            )
        return uses
    if isinstance(module, _NORMS_FIRST):
        if "weight" in wanted:
            dtype = accumulation_dtype(a, b)
            summed = _channels_first_sum(_normalised(module, a.to(dtype)).mul_(b.to(dtype)))
            uses["weight"] = ExplicitRows(summed, summed.shape[1:])
        if "bias" in wanted:
            summed = _channels_first_sum(b.to(accumulation_dtype(b)))
            uses["bias"] = ExplicitRows(summed, summed.shape[1:])
        return uses
    if "weight" in wanted:
        if isinstance(module, nn.Embedding):
            weight = EmbeddingWeight(module, a, b)
        elif isinstance(module, _CONVOLUTIONS):
            weight = ConvWeight(module, a, b)
        else:
            weight = LinearWeight(a, b)
        uses["weight"] = weight
    if "bias" in wanted:
        sums = _channels_first_sum if isinstance(module, _CONVOLUTIONS) else _channels_last_sum
        summed = sums(b.to(accumulation_dtype(b)))
        uses["bias"] = ExplicitRows(summed, summed.shape[1:])
    return uses


def extended_gramian(uses: Sequence[Use], forget: Tensor, chunk_bytes: int) -> Tensor:
    """Gramian (k+1, k+1) in float64 of the rows of one parameter and, last, of its forget gradient.

    Several uses of one parameter (tied weights, a module called twice) add up to one row before the products:
    the cross terms. One use takes the cheaper of the direct and the ghost form.

    Args:
        uses: All uses of the parameter.
        forget: Its part of g_u, in its shape.
        chunk_bytes: Bound on the temporaries; rows are cut into tiles to keep it.
    """
    k, shape, dtype = uses[0].samples, uses[0].shape or (1,), uses[0].dtype
    forget = forget.to(dtype).reshape(shape)
    if len(uses) == 1 and uses[0].ghost_cost < uses[0].direct_cost + k * k * math.prod(shape):
        total = forget.new_empty(k + 1, k + 1, dtype=wide_dtype(forget.device))
        total[:k, :k] = uses[0].gramian(chunk_bytes)
        total[:k, k] = total[k, :k] = uses[0].products(forget)
        total[k, k] = wide(torch.linalg.vector_norm(forget)).square()
        return total
    total = forget.new_zeros(k + 1, k + 1, dtype=wide_dtype(forget.device))
    dim = uses[0].tile_dim
    indices = shape[dim]
    # Rows of one use and their sum, beside the forget gradient, and a copy of it in float64.
    copies = 3 + 8 // forget.element_size()
    numbers = copies * (k + 1) * (forget.numel() // indices) + max(use.scratch for use in uses)
    for part in blocks(indices, max(1, int(chunk_bytes / (numbers * forget.element_size())))):
        rows = uses[0].rows(part)
        for use in uses[1:]:
            rows = rows + use.rows(part)
        last = forget.narrow(dim, part.start, part.stop - part.start)
        tile = wide(torch.cat([rows, last.reshape(1, -1).to(rows.dtype)]))
        total += tile @ tile.T
    return total
