"""The default solver: K and r layer by layer in a collecting backward pass, then one weighted backward pass.

The direction is a weighted sum of per-sample gradients, so it is the gradient of one weighted loss, with the
weights ``α/k + (1 − α)·c_i`` on the retain losses and ``−(1 − α)/m`` on the forget losses, where ``K c = r``.
See ``docs/engine.md`` for the derivation. Two certificates are checked at every step, so that a wrong answer
raises:

1. ``‖Σ w_i g_r^i‖² = wᵀ K w`` and ``⟨Σ w_i g_r^i, g_u⟩ = wᵀ r``, with the left sides from autograd: catches a
   parameter whose use was not seen;
2. in the weighted backward pass every layer gets ``w_i`` times what sample i got in the collecting pass,
   compared by norm and by the products with a few random vectors: catches losses that mix samples, and losses
   in another order than the batch. It sees nothing where all ``w_i`` are equal; there a pass with random weights
   is made for it.
"""

import itertools
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from orthograd.engine.fallback import fallback_rows
from orthograd.engine.graph import Fallback, Graph, LayerCall, Plan, Tape, make_plan, zeros_at
from orthograd.engine.layers import (
    ExplicitRows,
    Use,
    accumulation_dtype,
    blocks,
    extended_gramian,
    layer_uses,
)
from orthograd.engine.materialize import NotFiniteError
from orthograd.engine.projection import GramianSolver
from orthograd.engine.solution import Parameters, Settings, Solution, merge_spectra
from orthograd.precision import gradient_eps, joint_norm, wide, wide_dtype

# A refinement step is made where the error that the Gramian brings, at most eps·κ²/3, could exceed 1e-5.
REFINE_ABOVE = 3e-5

# Weights that differ by less than this part of the largest are too equal for the second certificate.
NEARLY_EQUAL = 0.05

# Random vectors on which the second certificate compares gradients: one alone may be blind by chance.
PROBES = 4

# Norms below about this are lost in the squares of float32.
_UNDERFLOW = math.sqrt(torch.finfo(torch.float32).tiny)

# A place where the second certificate looks: (name of a layer or parameter, number of the call).
Place = tuple[str, int]
Gradients = dict[str, Tensor]
# Called with the name of a parameter and all its uses, as soon as the collecting pass has them.
OnParameter = Callable[[str, Sequence[Use]], None]


class RetainPass:
    """Backward passes over the losses of retain samples that went through the model together.

    Args:
        tape: Hooks of the model.
        losses: (k,) retain losses.
        parameters: Trainable parameters by name.
        graph: Graph of the losses.
        others: Forget samples of the same forward pass: 0, or m.
        by_loss: Parameters whose rows are to be taken from one backward pass for each loss. The pass adds those
            of modules that turn out not to run again.

    Attributes:
        plan: Where the rows of each parameter come from.
        samples: k.
        marks: What the second certificate knows of the collecting pass, as `_marks` makes it.
        eps: Largest machine epsilon of the gradients that a layer got.
    """

    def __init__(
        self,
        tape: Tape,
        losses: Tensor,
        parameters: Parameters,
        graph: Graph,
        others: int,
        by_loss: set[str],
    ) -> None:
        self._tape = tape
        self._losses = losses
        self._parameters = parameters
        self.samples = len(losses)
        self._others = others
        self._by_loss = by_loss
        # What a hook makes of a gradient is known to autograd only.
        hooked = (name for name, parameter in parameters.items() if parameter._backward_hooks)
        self.plan: Plan = make_plan(graph, parameters, self.samples + others, {*by_loss, *hooked})
        names = {id(parameters[name]): name for name in self.plan.layer_calls}
        calls = {call for calls in self.plan.layer_calls.values() for call in calls}
        self._wanted = {
            call: {kind: names[id(p)] for kind, p in call.module._parameters.items() if id(p) in names}
            for call in calls
        }
        self._keys = _occurrences(calls)
        self._own = self._find_own(graph)
        self.marks: dict[Place, Tensor] = {}
        self.eps = gradient_eps(losses)

    def collect(self, finish: OnParameter) -> tuple[int, int]:
        """Go backward from the sum of the losses to the layers only, and keep the graph.

        Returns:
            Samples sent forward and backward. All modules that run again count as one pass of the samples.
        """
        missing = {name: len(calls) for name, calls in self.plan.layer_calls.items()}
        uses: dict[str, list[Use]] = {name: [] for name in missing}

        def done(name: str, found: Sequence[Use]) -> None:
            with _no_autocast(self._losses):
                finish(name, found)

        def receive(call: LayerCall, gradient: Tensor) -> None:
            if call not in self._wanted:
                return
            if call.a._version != call.version:
                raise RuntimeError(
                    f"The input of layer {call.name!r} was changed in place after the layer had read it: "
                    "use the out-of-place form of the operation that follows, or solver='materialize'."
                )
            wanted, b = self._wanted[call], self._own_part(gradient, 0, call.name)
            self.marks[self._keys[call]] = _marks(b, self._keys[call])
            self.eps = max(self.eps, gradient_eps(b))
            with _no_autocast(b):
                found = layer_uses(call.module, call.a[self._own], b, set(wanted))
            for kind, use in found.items():
                name = wanted[kind]
                uses[name].append(use)
                missing[name] -= 1
                if missing[name] == 0:
                    done(name, uses.pop(name))

        edges = [*self._extra_edges(), *self.plan.edges]
        gradients = self._backward(torch.ones_like(self._losses), edges, receive, keep=True) if edges else []
        if uses:
            raise RuntimeError(f"The backward pass did not reach {sorted(uses)}: this is a bug in orthograd.")
        rest = iter(gradients)
        for (place, dim), gradient in zip(self._extra_places(), gradients, strict=False):
            b = self._own_part(gradient, dim, place[0])
            self.marks[place] = _marks(b, place)
            self.eps = max(self.eps, gradient_eps(b))
        for name, broadcasts in self.plan.broadcasts.items():
            done(name, [self._broadcast_use(name, next(rest)) for _ in broadcasts])
        forward, backward = 0, self.samples
        for fallback in list(self.plan.fallbacks):
            forward, backward = self.samples, 2 * self.samples
            pieces = [{index: next(rest) for index, _ in made} for _, made in fallback.calls]
            found = self._fallback_uses(fallback, pieces)
            if found is None:
                self.plan.fallbacks.remove(fallback)
                self.plan.by_loss += fallback.names
                self._by_loss.update(fallback.names)
                continue
            for name, collected in found.items():
                done(name, collected)
        if self.plan.by_loss:
            backward += self.samples**2
            for name, use in self._uses_by_loss(self.plan.by_loss).items():
                done(name, [use])
        return forward, backward

    def weighted(
        self, weights: Tensor, norms: Tensor, marks: Mapping[Place, Tensor], eps: float, keep: bool
    ) -> Gradients:
        """Gradient of Σ_i w_i·loss_i, with the second certificate.

        Args:
            weights: (k,) float64.
            norms: ‖g_r^i‖ of the whole rows, with the noise floor (k,): where the gradient of a layer is zero but
                for rounding, the rounding is relative to these.
            marks: `marks` of a collecting pass over the same samples.
            eps: Largest machine epsilon in that pass.
            keep: Whether the graph is needed again.

        Raises:
            MixedSamplesError: If a layer got something else than w_i times its gradient in the collecting
                pass.
        """
        weights, noise = weights.to(self._losses.device), _rounding(eps) * norms.to(self._losses.device)
        checks: list[tuple[Place, Tensor]] = []

        def check(place: Place, gradient: Tensor, dim: int) -> None:
            if place not in marks:  # The pass over other samples took this dimension for something else.
                checks.append((place, torch.tensor(False)))
                return
            b = self._own_part(gradient, dim, place[0])
            expected = weights[:, None] * marks[place]
            expected[:, 0].abs_()
            # Rounding is relative to the sample's own gradient, except where it underflows beside the others.
            bound = math.sqrt(eps) * (4 * expected[:, :1] + 1e-3 * expected[:, 0].max())
            bound = bound + (weights.abs() * (noise + _UNDERFLOW))[:, None]
            checks.append((place, (_marks(b, place) - expected).abs() <= bound))

        def receive(call: LayerCall, gradient: Tensor) -> None:
            if call in self._wanted:
                check(self._keys[call], gradient, 0)

        inputs: list[Any] = [*self._parameters.values(), *self._extra_edges()]
        gradients = self._backward(weights.to(self._losses.dtype), inputs, receive, keep)
        extra = gradients[len(self._parameters) :]
        for (place, dim), gradient in zip(self._extra_places(), extra, strict=True):
            check(place, gradient, dim)
        failed = [place for place, passed in checks if not passed.all()]
        if failed:
            raise MixedSamplesError(failed[0][0], {name for place in failed for name in self._read_at(place)})
        return dict(zip(self._parameters, gradients, strict=False))

    def _extra_edges(self) -> list[GradientEdge]:
        """Edges outside of the known layers at which rows begin: broadcasts, then outputs of fallbacks."""
        broadcasts = [edge for edges in self.plan.broadcasts.values() for edge in edges]
        outputs = [edge for fallback in self.plan.fallbacks for _, made in fallback.calls for _, edge in made]
        return [*broadcasts, *outputs]

    def _extra_places(self) -> list[tuple[Place, int]]:
        """Place and dimension of the samples for each of `_extra_edges`."""
        broadcasts = [
            ((name, number), 0)
            for name, edges in self.plan.broadcasts.items()
            for number in range(len(edges))
        ]
        outputs: list[tuple[Place, int]] = []
        for fallback in self.plan.fallbacks:
            made = ((call.name, call.batch_dim) for call, edges in fallback.calls for _ in edges)
            outputs += [((name, number), dim) for number, (name, dim) in enumerate(made)]
        return [*broadcasts, *outputs]

    def _read_at(self, place: Place) -> list[str]:
        """Parameters whose rows begin at a place."""
        read = [
            name for call, key in self._keys.items() if key == place for name in self._wanted[call].values()
        ]
        read += [name for name in self.plan.broadcasts if name == place[0]]
        return read + [
            name
            for fallback in self.plan.fallbacks
            if fallback.calls[0][0].name == place[0]
            for name in fallback.names
        ]

    def _backward(
        self,
        weights: Tensor,
        inputs: Sequence[Any],
        receive: Callable[[LayerCall, Tensor], None] | None,
        keep: bool,
    ) -> list[Tensor]:
        """Gradients of Σ_i w_i·loss_i at tensors and edges, zeros where it does not reach."""
        self._tape.receive = receive
        try:
            gradients = torch.autograd.grad(
                self._losses, inputs, weights, retain_graph=keep, allow_unused=True
            )
        finally:
            self._tape.receive = None
        return [
            zeros_at(place) if gradient is None else gradient
            for place, gradient in zip(inputs, gradients, strict=True)
        ]

    def _find_own(self, graph: Graph) -> slice:
        """Where the retain samples are in a batch that may hold the forget samples too.

        Decided for the whole pass where the losses leave the model: with weights w_i, sample i must get w_i
        times its gradient, and the others none.
        """
        m, k = self._others, self.samples
        if m == 0:
            return slice(0, k)
        places = graph.nearest(m + k)
        weights = random_weights(k).to(self._losses)
        orders = [slice(m, m + k), slice(0, k)]
        for edge, dim in places.items():
            one, other = (
                self._backward(each, [edge], None, keep=True)[0].movedim(dim, 0)
                for each in (torch.ones_like(weights), weights)
            )
            bound = math.sqrt(gradient_eps(one)) * other.abs().max()
            for own in list(orders):
                expected = torch.zeros_like(one)
                expected[own] = one[own] * weights.reshape(-1, *(1,) * (one.dim() - 1)).to(one)
                if not (other - expected).abs().max() <= bound:
                    orders.remove(own)
            if not orders:
                raise _wrong_order("the output of the model")
        return orders[0]

    def _own_part(self, gradient: Tensor, dim: int, name: str) -> Tensor:
        """The retain samples' part of a gradient, with the samples first."""
        gradient = gradient.movedim(dim, 0)
        if self._others and (gradient[: self._own.start].any() or gradient[self._own.stop :].any()):
            raise _wrong_order(repr(name))
        return gradient[self._own]

    def _broadcast_use(self, name: str, gradient: Tensor) -> Use:
        shape = self._parameters[name].shape
        rows = self._own_part(gradient, 0, name).to(accumulation_dtype(gradient))
        aligned = (1,) * (rows.dim() - len(shape)) + tuple(shape)
        repeated = [dim for dim in range(1, rows.dim()) if aligned[dim] == 1 and rows.shape[dim] > 1]
        return ExplicitRows(rows.sum(repeated) if repeated else rows, shape)

    def _fallback_uses(
        self, fallback: Fallback, gradients: Sequence[Mapping[int, Tensor]]
    ) -> dict[str, list[Use]] | None:
        """Uses by the calls of a module, from the gradients of the outputs of each; None where it cannot be
        run again."""
        parameters = {name: self._parameters[name] for name in fallback.names}
        uses: dict[str, list[Use]] = {}
        for (call, _), pieces in zip(fallback.calls, gradients, strict=True):
            if call.autocast["enabled"]:
                self.eps = max(self.eps, float(torch.finfo(call.autocast["dtype"]).eps))
            found = fallback_rows(self._tape, call, pieces, self._own, parameters)
            if found is None:
                return None
            for name, rows in found.items():
                uses.setdefault(name, []).append(ExplicitRows(rows, parameters[name].shape))
        return uses

    def _uses_by_loss(self, names: Sequence[str]) -> dict[str, Use]:
        """One backward pass for each sample: always right, and the last resort."""
        parameters = {name: self._parameters[name] for name in names}
        each = [gradients_of(loss, parameters, keep=True) for loss in self._losses]
        uses: dict[str, Use] = {}
        for name in names:
            rows = torch.stack([one.pop(name) for one in each])
            uses[name] = ExplicitRows(rows.to(accumulation_dtype(rows)), parameters[name].shape)
        return uses


def _wrong_order(where: str) -> ValueError:
    return ValueError(
        "In the common forward pass the retain samples are neither the first nor the last part of the batch, "
        f"or the losses mix samples (found at {where}): send forget and retain samples through the model in "
        "two forward passes, or one part after the other."
    )


class MixedSamplesError(ValueError):
    """The second certificate failed.

    Args:
        place: Where it was found.
        names: Parameters whose rows begin at the places where it failed.
    """

    def __init__(self, place: str, names: set[str]) -> None:
        super().__init__(
            "The gradient of a retain sample depends on the weights of other samples' losses (found at layer "
            f"{place!r}): the losses mix samples, are in another order than the batch, or the forward pass "
            "cannot be repeated (dropout). Give losses[i] that depends on sample i of the batch only, and call "
            "model.eval(). If it is the layer whose leading dimension holds something else than samples, and "
            "as many of them (positions, classes), call backward_from, which can tell."
        )
        self.names = names


class RetainSource(ABC):
    """Where the retain losses come from: one graph that is there, or forward passes over micro-batches.

    Attributes:
        samples: k.
        uncovered: Parameters that no layer formula covered so far.
        eps: Largest machine epsilon of the gradients that a layer got so far.
        marks: What the second certificate knows of the collecting passes, as `_marks` makes it.
        forward_samples: Samples sent forward so far.
        backward_samples: Samples sent backward so far.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.uncovered: dict[str, None] = {}
        self.eps = 0.0
        self.marks: dict[Place, Tensor] = {}
        self.forward_samples = 0
        self.backward_samples = 0

    @abstractmethod
    def pairs(self) -> Iterator[tuple[Tensor, RetainPass]]:
        """Passes with the indices of their samples, such that any two samples meet in one of them."""

    @abstractmethod
    def parts(self, last: bool) -> Iterator[tuple[slice, RetainPass, bool]]:
        """Passes that hold each sample once, and whether their graph must be kept (`last`: not needed
        again)."""

    def _collect(self, step: RetainPass, indices: Tensor | slice, finish: OnParameter) -> None:
        forward, backward = step.collect(finish)
        self.forward_samples += forward
        self.backward_samples += backward
        self.eps = max(self.eps, step.eps)
        self.uncovered.update(dict.fromkeys(step.plan.uncovered))
        for place, marks in step.marks.items():
            if place not in self.marks:
                self.marks[place] = marks.new_zeros(self.samples, marks.shape[1])
            self.marks[place][indices] = marks

    def gramians(self, forget: Gradients, chunk_bytes: int, each: bool) -> dict[str, Tensor]:
        """K, r and ‖g_u‖² as one (k+1, k+1) float64 matrix, for each parameter or (name "") for all of
        them."""
        found: dict[str, Tensor] = {}
        for indices, step in self.pairs():
            pair: dict[str, Tensor] = {}

            def add(name: str, uses: Sequence[Use], pair: dict[str, Tensor] = pair) -> None:
                part = extended_gramian(uses, forget[name], chunk_bytes)
                key = name if each else ""
                pair[key] = pair[key] + part if key in pair else part

            self._collect(step, indices, add)
            where = torch.cat([indices, indices.new_tensor([self.samples])])
            for key, part in pair.items():
                if key not in found:
                    found[key] = part.new_zeros(self.samples + 1, self.samples + 1)
                found[key][where[:, None], where] = part
        return found

    def products(self, vector: Gradients) -> Tensor:
        """⟨g_r^i, vector⟩ (k,) in float64."""
        total = torch.zeros(self.samples, dtype=torch.float64)
        for part, step, _ in self.parts(last=False):

            def add(name: str, uses: Sequence[Use], part: slice = part) -> None:
                for use in uses:
                    total[part] += use.products(vector[name]).cpu().double()

            self._collect(step, part, add)
        return total

    def weighted_each(self, weights: dict[str, Tensor]) -> Gradients:
        """Σ_i w_i g_r^i with other weights (k,) for every parameter."""
        total: Gradients = {}
        for part, step, _ in self.parts(last=False):

            def add(name: str, uses: Sequence[Use], part: slice = part) -> None:
                for use in uses:
                    found = use.weighted(weights[name][part])
                    total[name] = total[name] + found if name in total else found

            self._collect(step, part, add)
        return total

    def weighted(self, weights: Tensor, norms: Tensor, last: bool) -> Gradients:
        """Σ_i w_i g_r^i from autograd, with the second certificate, for rows of the given `norms` (k,)."""
        total: Gradients = {}
        for part, step, keep in self.parts(last):
            marks = {place: found[part] for place, found in self.marks.items()}
            for name, found in step.weighted(weights[part], norms[part], marks, self.eps, keep).items():
                total[name] = total[name] + found if name in total else found
            self.backward_samples += step.samples
        return total


class OneGraph(RetainSource):
    """Retain losses whose graph is there."""

    def __init__(self, step: RetainPass) -> None:
        super().__init__(step.samples)
        self._step = step

    def pairs(self) -> Iterator[tuple[Tensor, RetainPass]]:
        yield torch.arange(self.samples), self._step

    def parts(self, last: bool) -> Iterator[tuple[slice, RetainPass, bool]]:
        yield slice(0, self.samples), self._step, not last


class MicroBatches(RetainSource):
    """Retain losses that are computed again for every pass, at most `size` samples at once.

    The cross terms of two micro-batches need both at once, so that any two blocks of size/2 samples share a
    pass: about 2·k²/size samples go forward and backward in all.

    Args:
        forward: Losses of the samples with the given indices.
        samples: k.
        size: Samples in memory at once, at least 2.
    """

    def __init__(self, forward: Callable[[Tensor], RetainPass], samples: int, size: int) -> None:
        super().__init__(samples)
        self._forward = forward
        self._size = size

    def _step(self, indices: Tensor) -> RetainPass:
        self.forward_samples += len(indices)
        return self._forward(indices)

    def pairs(self) -> Iterator[tuple[Tensor, RetainPass]]:
        halves = torch.split(torch.arange(self.samples), self._size // 2)
        for left, right in itertools.combinations(halves, 2):
            indices = torch.cat([left, right])
            yield indices, self._step(indices)

    def parts(self, last: bool) -> Iterator[tuple[slice, RetainPass, bool]]:
        for part in blocks(self.samples, self._size):
            yield part, self._step(torch.arange(part.start, part.stop)), False


class System:
    """The k×k system K c = r, its weights and what they say.

    Args:
        extended: K, r and ‖g_u‖², (k+1, k+1) in float64.
        settings: Settings of the projection.
        eps: Machine epsilon of the rows: float64 or float32.

    Attributes:
        solver: Decomposition of K.
        coefficients: c (k,).
    """

    def __init__(self, extended: Tensor, settings: Settings, eps: float) -> None:
        if not torch.isfinite(extended).all():
            raise NotFiniteError("A gradient is not finite although the losses are")
        extended = extended.cpu().double()
        self._settings = settings
        self.gramian, self.right, self.forget_square = extended[:-1, :-1], extended[:-1, -1], extended[-1, -1]
        self.solver = GramianSolver(self.gramian, settings.rtol, settings.noise_floor, eps)
        self.coefficients = self.solver.solve(self.right)

    def weights(self) -> Tensor:
        """α/k + (1 − α)·c_i (k,)."""
        alpha = self._settings.alpha
        return alpha / len(self.gramian) + (1 - alpha) * self.coefficients

    def removed_square(self) -> float:
        """‖g_u − g_u⊥‖² = cᵀ K c."""
        return max(0.0, float(self.coefficients @ self.gramian @ self.coefficients))

    def projected_square(self) -> float:
        """‖g_u⊥‖² = ‖g_u‖² − 2cᵀr + cᵀKc."""
        return max(
            0.0, float(self.forget_square - 2 * self.coefficients @ self.right) + self.removed_square()
        )

    def mean_square(self) -> float:
        """‖mean_i g_r^i‖²."""
        return max(0.0, float(self.gramian.mean()))

    def residual(self) -> Tensor:
        """⟨g_r^i, g_u⊥⟩ (k,) as far as K and r know."""
        return self.right - self.gramian @ self.coefficients


def certify(
    name: str,
    gradients: Iterable[tuple[Tensor, Tensor]],
    system: System,
    weights: Tensor,
    eps: float,
    whole: tuple[Tensor, float],
) -> None:
    """The first certificate: norm and product with g_u of Σ w_i g_r^i, from autograd and from K and r.

    Args:
        name: What is certified, for the message.
        gradients: Pairs of tensors, of the weighted retain gradient and of g_u.
        system: K and r.
        weights: w (k,).
        eps: Machine epsilon of the backward pass.
        whole: Norms of the whole retain gradients (k,), with the noise floor, and of the whole g_u: rounding
            in a part whose own gradient is zero (the bias of the keys in attention) is relative to these.

    Raises:
        RuntimeError: If they disagree.
    """
    square = product = 0.0
    for retain, forget in gradients:
        square += float(torch.linalg.vector_norm(retain)) ** 2
        product += float((retain * forget).sum(dtype=wide_dtype(retain.device)))
    scale = float(weights.abs() @ system.solver.norms)
    noise, forget_noise = _rounding(eps) * float(weights.abs() @ whole[0]), _rounding(eps) * whole[1]
    length = math.sqrt(eps) * scale + noise
    known_square, known_product = float(weights @ system.gramian @ weights), float(weights @ system.right)
    forget_norm = math.sqrt(float(system.forget_square))
    passed = abs(square - known_square) <= length * (scale + noise)
    # Negated comparisons would let NaN pass.
    if not (passed and abs(product - known_product) <= length * forget_norm + forget_noise * (scale + noise)):
        raise RuntimeError(
            f"The Gramian of {name} does not belong to its gradients (squared norm {square:.6g} against "
            f"{known_square:.6g}, product {product:.6g} against {known_product:.6g}): a parameter is used "
            "in a way that was not seen, or the forward pass cannot be repeated (dropout: call "
            "model.eval()). Otherwise use solver='materialize' and report the model."
        )


def gramian_solution(
    source: RetainSource, forget: Gradients, parameters: Parameters, settings: Settings, chunk_bytes: int
) -> Solution:
    """Direction and figures from g_u and the retain losses.

    Args:
        source: The retain losses; its graph is used up.
        forget: g_u by parameter.
        parameters: Trainable parameters by name.
        settings: Settings of the projection.
        chunk_bytes: Bound on the temporaries of one layer.
    """
    if settings.scope == "tensor":
        return _tensor_scope(source, forget, parameters, settings, chunk_bytes)
    found = source.gramians(forget, chunk_bytes, each=False)[""]
    found[-1, -1] = joint_norm(forget.values()) ** 2
    # Rows are formed in float32 at least. Under autocast the rounding of bfloat16 is in the gradients already,
    # where no solve can repair it.
    precise = _row_eps(source.eps)
    system = System(found, settings, precise)
    norms = system.solver.norms + settings.noise_floor
    refinements, cosine, per_layer = 0, None, None
    if precise * system.solver.spectrum.condition_number**2 > REFINE_ABOVE:
        products, _ = _measure(source, system, forget, norms)
        system.coefficients = system.coefficients + system.solver.solve(products)
        refinements = 1
    if settings.full_diagnostics:
        products, per_layer = _measure(source, system, forget, norms)
        cosine = _largest_cosine(system, products)
    weights = system.weights()
    if float(weights.max() - weights.min()) <= NEARLY_EQUAL * float(weights.abs().max()):
        source.weighted(random_weights(source.samples), norms, last=False)
    gradients = source.weighted(weights, norms, last=True)
    pairs = ((gradients[name], forget[name]) for name in parameters)
    certify("the model", pairs, system, weights, source.eps, (norms, math.sqrt(float(system.forget_square))))
    return Solution(
        solver="gramian",
        direction=[gradients[name].sub(forget[name], alpha=1 - settings.alpha) for name in parameters],
        spectrum=system.solver.spectrum,
        forget_norm=math.sqrt(float(system.forget_square)),
        projected_norm=math.sqrt(system.projected_square()),
        retain_mean_norm=math.sqrt(system.mean_square()),
        removed_norm=math.sqrt(system.removed_square()),
        removed_per_layer=per_layer,
        max_cosine=_largest_cosine(system, system.residual()) if cosine is None else cosine,
        max_cosine_measured=cosine is not None,
        fallbacks=tuple(source.uncovered),
        refinements=refinements,
        engine_bytes=_engine_bytes(parameters, source.samples, 1, chunk_bytes),
        forward_samples=source.forward_samples,
        backward_samples=source.backward_samples,
    )


def _measure(
    source: RetainSource, system: System, forget: Gradients, norms: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """⟨g_r^i, g_u⊥⟩ (k,) on the gradients themselves, and the removed fraction of each tensor.

    `norms` are those of the rows, with the noise floor: a row that underflows has no relative accuracy.
    """
    removed = source.weighted(system.coefficients, norms, last=False)
    per_layer = {
        name: float(part.norm() / forget[name].norm()) if forget[name].any() else 0.0
        for name, part in removed.items()
    }
    products = source.products({name: forget[name] - part for name, part in removed.items()})
    # Both terms of g_u⊥ are rounded: where the rows are nearly dependent, c is large, and its sum more so than g_u.
    lengths = math.sqrt(float(system.forget_square)) + float(system.coefficients.abs() @ norms)
    bound = math.sqrt(source.eps) * norms * lengths
    if not ((products - system.residual()).abs() <= bound).all():
        raise RuntimeError(
            "The products of g_u⊥ with the retain gradients belong neither to the Gramian nor to rounding: "
            "the forward pass cannot be repeated (dropout: call model.eval()). Otherwise use "
            "solver='materialize' and report the model."
        )
    return products, per_layer


def _largest_cosine(system: System, products: Tensor) -> float:
    """Largest |cos(g_u⊥, g_r^i)| over the rows above the noise floor, for ⟨g_r^i, g_u⊥⟩ (k,)."""
    kept, length = system.solver.kept, math.sqrt(system.projected_square())
    if not kept.any() or length == 0:
        return 0.0
    return float((products[kept].abs() / system.solver.norms[kept]).max()) / length


def _tensor_scope(
    source: RetainSource, forget: Gradients, parameters: Parameters, settings: Settings, chunk_bytes: int
) -> Solution:
    """Every tensor has its own coefficients, so that no single weighted loss has this gradient."""
    found = source.gramians(forget, chunk_bytes, each=True)
    precise = _row_eps(source.eps)
    systems = {name: System(extended, settings, precise) for name, extended in found.items()}
    gradients = source.weighted_each({name: system.weights() for name, system in systems.items()})
    # Nothing above has gone through autograd's own weight gradients: one pass with uneven weights does.
    probe = random_weights(source.samples)
    norms = torch.stack([system.gramian.diagonal() for system in systems.values()]).sum(0).clamp(min=0).sqrt()
    forget_square = sum(float(wide(part).square().sum()) for part in forget.values())
    whole = (norms + settings.noise_floor, math.sqrt(forget_square))
    probed = source.weighted(probe, whole[0], last=True)
    for name, system in systems.items():
        for found_by, weights in ((probed, probe), (gradients, system.weights())):
            pairs = [(found_by[name], forget[name])]
            certify(f"parameter {name!r}", pairs, system, weights, source.eps, whole)
    unreached = {name: torch.zeros_like(part) for name, part in forget.items() if name not in systems}
    gradients.update(unreached)
    alone = sum(float(wide(forget[name]).square().sum()) for name in unreached)
    products = torch.stack([system.residual() for system in systems.values()]).sum(0)
    projected = math.sqrt(alone + sum(system.projected_square() for system in systems.values()))
    kept = norms > settings.noise_floor
    mean = sum((system.gramian for system in systems.values()), torch.zeros((), dtype=torch.float64))
    return Solution(
        solver="gramian",
        direction=[
            gradients[name].to(p.dtype).sub(forget[name], alpha=1 - settings.alpha)
            for name, p in parameters.items()
        ],
        spectrum=merge_spectra([system.solver.spectrum for system in systems.values()]),
        forget_norm=math.sqrt(forget_square),
        projected_norm=projected,
        retain_mean_norm=math.sqrt(max(0.0, float(mean.mean()))),
        removed_norm=math.sqrt(sum(system.removed_square() for system in systems.values())),
        removed_per_layer={
            name: math.sqrt(system.removed_square() / float(system.forget_square))
            if system.forget_square
            else 0.0
            for name, system in systems.items()
        },
        max_cosine=float((products.abs() / norms)[kept].max()) / projected
        if kept.any() and projected
        else 0.0,
        max_cosine_measured=False,
        fallbacks=tuple(source.uncovered),
        engine_bytes=_engine_bytes(parameters, source.samples, len(systems), chunk_bytes),
        forward_samples=source.forward_samples,
        backward_samples=source.backward_samples,
    )


def mean_solution(
    forget: Gradients, retain: Gradients, settings: Settings, samples: tuple[int, int]
) -> Solution:
    """Direction and figures for ``retain="mean"``: the projection off one vector, or one for each tensor.

    Args:
        forget: g_u by parameter.
        retain: Gradient of the mean retain loss by parameter.
        settings: Settings of the projection.
        samples: Samples sent forward and backward.
    """
    groups = [[name] for name in forget] if settings.scope == "tensor" else [list(forget)]
    direction, per_layer = {}, {}
    systems: list[System] = []
    forget_square = projected_square = removed_square = cosine = 0.0
    for names in groups:
        vectors = torch.stack(
            [torch.cat([wide(part[name]).flatten() for name in names]) for part in (retain, forget)]
        )
        system = System(vectors @ vectors.T, settings, torch.finfo(torch.float64).eps)
        systems.append(system)
        projected = vectors[1]
        # Twice, for the same reason as in `project_rows`.
        for _ in range(2):
            projected = (
                projected - system.solver.solve((vectors[:1] @ projected).cpu()).to(projected) * vectors[0]
            )
        forget_square += float(system.forget_square)
        projected_square += float(projected.square().sum())
        removed_square += float((vectors[1] - projected).square().sum())
        cosine += float(vectors[0] @ projected)
        found = settings.alpha * vectors[0] - (1 - settings.alpha) * projected
        sizes = [forget[name].numel() for name in names]
        for name, piece, rest in zip(
            names, torch.split(found, sizes), torch.split(projected, sizes), strict=True
        ):
            direction[name] = piece.view_as(forget[name]).to(forget[name].dtype)
            norm = float(forget[name].norm())
            change = (wide(forget[name]) - rest.view_as(forget[name])).norm()
            per_layer[name] = float(change) / norm if norm > 0 else 0.0
    mean_norm = math.sqrt(sum(float(system.gramian[0, 0]) for system in systems))
    scale = mean_norm * math.sqrt(projected_square)
    return Solution(
        solver="gramian",
        direction=list(direction.values()),
        spectrum=merge_spectra([system.solver.spectrum for system in systems]),
        forget_norm=math.sqrt(forget_square),
        projected_norm=math.sqrt(projected_square),
        retain_mean_norm=mean_norm,
        removed_norm=math.sqrt(removed_square),
        removed_per_layer=per_layer if settings.full_diagnostics else None,
        max_cosine=abs(cosine) / scale if mean_norm > settings.noise_floor and scale > 0 else 0.0,
        max_cosine_measured=True,
        engine_bytes=6 * 8 * max(sum(forget[name].numel() for name in names) for names in groups),
        forward_samples=samples[0],
        backward_samples=samples[1],
    )


def gradients_of(loss: Tensor, parameters: Parameters, keep: bool) -> Gradients:
    """Gradient of a scalar loss by parameter, zeros where it does not reach."""
    found = torch.autograd.grad(
        loss, list(parameters.values()), retain_graph=keep, allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, found, strict=True))


def _engine_bytes(parameters: Parameters, samples: int, systems: int, chunk_bytes: int) -> int:
    """Two copies of the gradient, the Gramians and the temporaries of one layer."""
    gradient = sum(parameter.numel() * parameter.element_size() for parameter in parameters.values())
    return 2 * gradient + 8 * (systems + 2) * (samples + 1) ** 2 + chunk_bytes


def _occurrences(calls: Iterable[LayerCall]) -> dict[LayerCall, tuple[str, int]]:
    """(name, number of earlier calls of the layer): the same in every pass over the same samples."""
    counts: dict[str, int] = {}
    keys = {}
    for call in sorted(calls, key=lambda call: call.order):
        keys[call] = (call.name, counts.get(call.name, 0))
        counts[call.name] = counts.get(call.name, 0) + 1
    return keys


def _marks(b: Tensor, place: Place) -> Tensor:
    """‖b_i‖ and ⟨b_i, v⟩ with `PROBES` random vectors v that belong to the place, (k, 1 + PROBES) in float64.

    A mixing that is orthogonal to b_i changes its norm to second order only, but ⟨b_i, v⟩ to first order.
    """
    flat = b.flatten(1)
    dtype = accumulation_dtype(b)
    generator = torch.Generator(b.device).manual_seed(zlib.crc32(repr(place).encode()))
    vectors = torch.randn(flat.shape[1], PROBES, generator=generator, device=b.device, dtype=dtype)
    norms = torch.linalg.vector_norm(flat, dim=1, keepdim=True, dtype=dtype)
    return wide(torch.cat([norms, flat.to(dtype) @ vectors], dim=1))


def random_weights(samples: int) -> Tensor:
    """Weights (k,) in [0.5, 1.5), always the same, for a pass that is made to check."""
    generator = torch.Generator().manual_seed(samples)
    return torch.rand(samples, generator=generator, dtype=torch.float64) + 0.5


def _rounding(eps: float) -> float:
    """Share of a whole gradient that rounding may leave in a part whose own gradient is zero."""
    return min(100 * eps, math.sqrt(eps))


def _row_eps(eps: float) -> float:
    """Machine epsilon of the dtype in which rows are formed, for gradients of precision `eps`."""
    return float(torch.finfo(torch.float64 if eps < 1e-10 else torch.float32).eps)


def _no_autocast(tensor: Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)
