"""Rows of parameters that no layer formula covers: the vector-Jacobian product of one enclosing module, by
sample."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from orthograd.engine.graph import ModuleCall, Tape, map_tensors, tensors_of
from orthograd.engine.layers import accumulation_dtype
from orthograd.engine.solution import Parameters
from orthograd.precision import gradient_eps

# What a module raises that does not take a single sample: RuntimeError comes from torch, also for operations
# that have no batching rule; the others from checks and from the module's own arithmetic on shapes.
_REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, TypeError)


def fallback_rows(
    tape: Tape, call: ModuleCall, gradients: Mapping[int, Tensor], part: slice, parameters: Parameters
) -> dict[str, Tensor] | None:
    """Per-sample gradients (k, p) of some parameters by one call of a module.

    The module is run again on the noted inputs. All samples go at once under vmap; a module that vmap cannot
    run (control flow that looks at values) goes sample by sample.

    Args:
        tape: Hooks of the model, which are idle meanwhile.
        call: The noted call.
        gradients: Gradient of the sum of the losses with respect to the output tensors, by their index.
        part: Where the k samples are in the batch.
        parameters: The wanted parameters of the module, by name.

    Returns:
        None where the module does not take a single sample, or gives it another output than the noted one: an
        auxiliary input that has no samples but was cut like them, or dropout.
    """
    inputs = tensors_of((call.args, call.kwargs))
    if [tensor._version for tensor in inputs] != call.versions:
        raise RuntimeError(
            f"An input of module {call.name!r} was changed in place after the module had read it: use the "
            "out-of-place form of the operation that follows, or solver='materialize'."
        )
    dim = call.batch_dim
    total = call.output_shapes[next(iter(gradients))][dim]
    batched = [tensor.dim() > dim and tensor.shape[dim] == total for tensor in inputs]
    of_samples = [tensor.movedim(dim, 0)[part] for tensor, each in zip(inputs, batched, strict=True) if each]
    cotangents = [gradient.movedim(dim, 0)[part] for gradient in gradients.values()]
    local = {id(parameter): name for name, parameter in call.module.named_parameters()}
    wanted = {local[id(parameter)]: parameter.detach() for parameter in parameters.values()}
    others = {name: p.detach() for name, p in call.module.named_parameters() if name not in wanted}

    def row(samples: list[Tensor], cotangent: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Gradients and outputs for one sample, without the batch dimension."""
        queue = iter(sample.unsqueeze(dim) for sample in samples)
        flags = iter(batched)
        args, kwargs = map_tensors(lambda old: next(queue) if next(flags) else old, (call.args, call.kwargs))

        def outputs(values: dict[str, Tensor]) -> list[Tensor]:
            with torch.autocast(**call.autocast):
                made: Any = torch.func.functional_call(call.module, {**others, **values}, args, kwargs)
            found = tensors_of(made)
            return [found[index].squeeze(dim) for index in gradients]

        primal: Any = torch.func.vjp(outputs, wanted)
        made, pull_back = primal
        (found,) = pull_back(cotangent)
        return dict(found), made

    tape.enabled = False
    try:
        try:
            # The fused attention kernels have no batching rule; the plain formula has.
            with sdpa_kernel(SDPBackend.MATH):
                rows, made = torch.func.vmap(row)(of_samples, cotangents)
        except _REFUSALS:
            try:
                each = [
                    row([tensor[i] for tensor in of_samples], [tensor[i] for tensor in cotangents])
                    for i in range(len(cotangents[0]))
                ]
            except _REFUSALS:
                return None
            rows = {name: torch.stack([one[name] for one, _ in each]) for name in wanted}
            made = [torch.stack(outputs) for outputs in zip(*(one for _, one in each), strict=True)]
    finally:
        tape.enabled = True
    if not _repeats(call, dict(zip(gradients, made, strict=True)), part):
        return None
    by_id = {id(parameter): name for name, parameter in parameters.items()}
    return {
        by_id[id(parameter)]: rows[name].to(accumulation_dtype(rows[name]))
        for name, parameter in call.module.named_parameters()
        if name in wanted
    }


def _repeats(call: ModuleCall, made: Mapping[int, Tensor], part: slice) -> bool:
    """Whether outputs by their index, of the samples in `part`, are those that the call had given."""
    for index, output in made.items():
        last = call.output_shapes[index][call.batch_dim] - 1
        for position, noted in zip((0, last), call.ends[index], strict=True):
            if not part.start <= position < part.stop:
                continue
            autocast = call.autocast["enabled"]
            eps = torch.finfo(call.autocast["dtype"]).eps if autocast else gradient_eps(noted)
            apart = torch.linalg.vector_norm(output[position - part.start] - noted)
            if not apart <= math.sqrt(eps) * torch.linalg.vector_norm(noted):
                return False
    return True
