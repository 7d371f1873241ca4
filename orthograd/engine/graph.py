"""What the engine knows of the autograd graph: calls of layers, and who reads which parameter.

Forward hooks note every call of a module on the node that made its output (``node.metadata``), so that a note
lives exactly as long as its graph, and a graph that is never used costs nothing. Before a collecting pass the
graph of the retain losses is walked once. Every reader of a trainable parameter must be a noted call of a
known layer; a parameter with another reader (a tied weight used as a function, an attention layer, a position
table) is given to a fallback.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from orthograd.engine.layers import is_batched, is_known
from orthograd.engine.solution import Parameters
from orthograd.precision import gradient_eps

_counter = itertools.count()

# Which output tensor of a module call, and where its gradient appears.
OutputEdge = tuple[int, GradientEdge]

# Casts of autocast are shared by all layers that read a parameter: look through them.
_CAST = "ToCopyBackward0"
# Nodes that broadcast a parameter over the samples and hand each sample's gradient through unchanged.
_BROADCASTS = ("AddBackward0", "ExpandBackward0")


@dataclass(eq=False)
class LayerCall:
    """One forward call of a known layer with trainable parameters.

    Attributes:
        module: The layer.
        name: Its name in the model.
        order: Position among all noted calls.
        a: Its input, detached; shares memory with what autograd keeps.
        version: Version counter of the input, to notice a change in place.
        zero: Zeros in the shape of the output: its gradient where none arrives.
    """

    module: nn.Module
    name: str
    order: int
    a: Tensor
    version: int
    zero: Tensor


@dataclass(eq=False)
class ModuleCall:
    """One forward call of a module through which a fallback could go.

    Attributes:
        module: The module.
        name: Its name in the model, empty for the model itself.
        order: Position among all noted calls.
        args: Positional arguments.
        kwargs: Keyword arguments.
        versions: Version counters of the tensors in the arguments.
        output_shapes: Shapes of the tensors in its output.
        ends: First and last sample of each of them, (2, ...), to see whether running it again repeats it.
        autocast: The state of autocast during the call.
    """

    module: nn.Module
    name: str
    order: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    versions: list[int]
    output_shapes: list[torch.Size]
    ends: list[Tensor]
    autocast: dict[str, Any]

    @property
    def batch_dim(self) -> int:
        """Dimension of the samples in its inputs and outputs."""
        return _batch_dim(self.module)


@dataclass(frozen=True)
class _Note:
    """One output tensor of a call, written on the node that made it."""

    call: LayerCall | ModuleCall
    index: int
    output_nr: int

    def is_batched(self, batch: int) -> bool:
        """Whether the output has as many samples as the batch in the dimension of the samples."""
        if isinstance(self.call, LayerCall):
            return len(self.call.zero) == len(self.call.a) == batch
        shape, dim = self.call.output_shapes[self.index], self.call.batch_dim
        return len(shape) > dim and shape[dim] == batch


def _batch_dim(module: nn.Module) -> int:
    """Dimension of the samples: 1 for torch's sequence modules with ``batch_first=False``, else 0."""
    return 0 if getattr(module, "batch_first", True) else 1


def _metadata(node: Node) -> dict[str, Any]:
    """Python values that live on a node of the graph (the type stubs call it a method)."""
    value: Any = node.metadata
    found: dict[str, Any] = value
    return found


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and mappings; other objects are passed over."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in tensors_of(part)]
    return []


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with every tensor that `tensors_of` finds replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map_tensors(function, part) for part in value)
    if isinstance(value, list):
        return [map_tensors(function, part) for part in value]
    return value


class Tape:
    """Forward hooks on a model, and the notes that they leave in autograd graphs.

    Args:
        model: The model; its modules get one forward hook each where it is needed.

    Attributes:
        receive: What gets (call, b) of every known layer during a backward pass; None: the hooks are idle.
        enabled: Whether forward calls are noted.
        closed: Whether the hooks are gone.
    """

    def __init__(self, model: nn.Module) -> None:
        self.receive: Callable[[LayerCall, Tensor], None] | None = None
        self.enabled = True
        self.closed = False
        self._key = f"orthograd-{next(_counter)}"
        self._handles = []
        enclosing = {""}
        for name, module in model.named_modules():
            if is_known(module):
                hook = self._layer_hook(name)
                # First of all hooks: the formulas are for what the layer itself gave.
                self._handles.append(module.register_forward_hook(hook, with_kwargs=True, prepend=True))
            elif module._parameters:
                path = name.split(".")
                enclosing.update(".".join(path[:depth]) for depth in range(len(path) + 1))
        for name in enclosing:
            hook = self._module_hook(name)
            module = model.get_submodule(name)
            if not is_known(module):
                self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def close(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.closed = True

    def _layer_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not self.enabled or not isinstance(output, Tensor) or output.grad_fn is None:
                return
            if not any(p is not None and p.requires_grad for p in module._parameters.values()):
                return
            a = args[0] if args else next(iter(kwargs.values()))
            if not is_batched(module, a):
                return
            a = a.detach()
            zero = torch.zeros((), dtype=output.dtype, device=output.device).expand(output.shape)
            call = LayerCall(module, name, next(_counter), a, a._version, zero)
            self._note(output, call, 0)

            def pass_on(b: Tensor | None) -> None:
                if self.receive is not None:
                    self.receive(call, call.zero if b is None else b)

            hooked: Any = output  # register_hook has no types
            hooked.register_hook(pass_on)

        return hook

    def _module_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            outputs = tensors_of(output)
            if not self.enabled or all(tensor.grad_fn is None for tensor in outputs):
                return
            inputs = tensors_of((args, kwargs))
            args, kwargs = map_tensors(Tensor.detach, args), map_tensors(Tensor.detach, kwargs)
            versions = [tensor._version for tensor in inputs]
            shapes = [tensor.shape for tensor in outputs]
            dim = _batch_dim(module)
            ends = [
                torch.stack([tensor.detach().select(dim, 0), tensor.detach().select(dim, -1)])
                if tensor.dim() > dim and tensor.shape[dim] > 0
                else tensor.detach()
                for tensor in outputs
            ]
            device = outputs[0].device.type
            autocast = {
                "device_type": device,
                "enabled": torch.is_autocast_enabled(device),
                "dtype": torch.get_autocast_dtype(device),
            }
            call = ModuleCall(module, name, next(_counter), args, kwargs, versions, shapes, ends, autocast)
            for index, tensor in enumerate(outputs):
                if tensor.grad_fn is not None:
                    self._note(tensor, call, index)
            for tensor in inputs:
                if tensor.grad_fn is not None:
                    _metadata(tensor.grad_fn).setdefault(f"{self._key}-inputs", set()).add(call.order)

        return hook

    def _note(self, output: Tensor, call: LayerCall | ModuleCall, index: int) -> None:
        assert output.grad_fn is not None, "checked by the hooks"
        note = _Note(call, index, output.output_nr)
        _metadata(output.grad_fn).setdefault(self._key, []).append(note)

    def walk(self, losses: Tensor) -> Graph:
        """The graph of a vector of losses."""
        return Graph(losses, self._key)


class Graph:
    """Nodes from which a vector of losses was computed.

    Attributes:
        root: Node of the losses; None if they have no graph.
        notes: Noted outputs with their node.
        readers: For each node of the graph, the nodes that read its value, once for each read.
    """

    def __init__(self, losses: Tensor, key: str = "") -> None:
        self._key = key
        self.readers: dict[Node, list[Node]] = {}
        self.notes: list[tuple[Node, _Note]] = []
        self.root = losses.grad_fn
        if self.root is None:
            return
        self.readers[self.root] = []
        stack = [self.root]
        while stack:
            node = stack.pop()
            self.notes.extend((node, note) for note in _metadata(node).get(key, ()))
            for parent, _ in node.next_functions:
                if parent is None:
                    continue
                if parent not in self.readers:
                    self.readers[parent] = []
                    stack.append(parent)
                self.readers[parent].append(node)

    def leaves(self, parameters: Parameters) -> dict[str, Node]:
        """Nodes that accumulate the gradients of the given parameters, by name."""
        names = {id(parameter): name for name, parameter in parameters.items()}
        found = {}
        for node in self.readers:
            name = names.get(id(getattr(node, "variable", None)))
            if name is not None:
                found[name] = node
        return found

    def check_reaches(self, parameters: Parameters, name: str) -> None:
        """Refuse losses from which no trainable parameter of the model can be reached.

        Raises:
            ValueError: With `name`, what the losses are.
        """
        if not self.leaves(parameters):
            raise ValueError(
                f"{name} does not depend on any trainable parameter of this model: compute it from the "
                "output of the model given to OrthoGrad, outside torch.no_grad(), and without detach()."
            )

    def parameter_readers(self, leaf: Node) -> list[Node]:
        """Nodes that read a parameter, through casts."""
        found: list[Node] = []
        for reader in self.readers[leaf]:
            found += self.parameter_readers(reader) if reader.name() == _CAST else [reader]
        return found

    def overlaps(self, other: Graph) -> bool:
        """Whether the two graphs share more than parameters and their casts."""
        shared = self.readers.keys() & other.readers.keys()
        return any(node.name() not in ("torch::autograd::AccumulateGrad", _CAST) for node in shared)

    def reads_inside(self, call: ModuleCall, leaf: Node) -> int:
        """How many of the reads of a parameter happen between the inputs and the outputs of a module call."""
        inside: set[Node] = set()
        stack = [node for node, note in self.notes if note.call is call]
        while stack:
            node = stack.pop()
            if node in inside or call.order in _metadata(node).get(f"{self._key}-inputs", ()):
                continue
            inside.add(node)
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)
        return sum(reader in inside for reader in self.parameter_readers(leaf))

    def nearest(self, batch: int) -> dict[GradientEdge, int]:
        """Outputs of noted calls over the batch that a backward pass meets first, and where their samples
        are."""
        noted: dict[Node, list[_Note]] = {}
        for node, note in self.notes:
            if note.is_batched(batch):
                noted.setdefault(node, []).append(note)
        found: dict[GradientEdge, int] = {}
        stack = [] if self.root is None else [self.root]
        seen: set[Node] = set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node not in noted:
                stack.extend(parent for parent, _ in node.next_functions if parent is not None)
            for note in noted.get(node, ()):
                dim = 0 if isinstance(note.call, LayerCall) else note.call.batch_dim
                found.setdefault(GradientEdge(node, note.output_nr), dim)
        return found

    def frontier(self, edges: Iterable[GradientEdge]) -> list[GradientEdge]:
        """Those edges from which no other of them can be reached: a backward pass to them passes by all."""
        by_node: dict[Node, list[GradientEdge]] = {}
        for edge in edges:
            by_node.setdefault(edge.node, []).append(edge)
        reaches: dict[Node, bool] = {}
        stack = [(self.root, False)] if self.root is not None else []
        while stack:
            node, done = stack.pop()
            parents = [parent for parent, _ in node.next_functions if parent is not None]
            if done:
                reaches[node] = any(reaches[parent] or parent in by_node for parent in parents)
            elif node not in reaches:
                reaches[node] = False
                stack.append((node, True))
                stack.extend((parent, False) for parent in parents if parent not in reaches)
        return [edge for node, group in by_node.items() if not reaches[node] for edge in group]


def coarsest_eps(losses: Tensor) -> float:
    """Largest machine epsilon of the values from which losses were computed (autocast makes it that of
    bfloat16)."""
    dtypes = {data.dtype for node in Graph(losses).readers for data in node._input_metadata}
    each = (torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point)
    return max(gradient_eps(losses), *each)


@dataclass
class Fallback:
    """Parameters whose rows come from calls of one enclosing module.

    Attributes:
        calls: All calls of that module in the graph, with the edges of their outputs.
        names: Names of the parameters.
    """

    calls: list[tuple[ModuleCall, list[OutputEdge]]]
    names: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """Where the rows of every parameter come from.

    Attributes:
        layer_calls: For parameters with a layer formula, the calls that read them.
        broadcasts: For parameters that are broadcast over the samples, the edges where their rows appear.
        fallbacks: Parameters that go through an enclosing module.
        by_loss: Parameters for which only a backward pass for each sample is left.
        edges: Edges that make a backward pass go by all calls.
    """

    layer_calls: dict[str, list[LayerCall]]
    broadcasts: dict[str, list[GradientEdge]]
    fallbacks: list[Fallback]
    by_loss: list[str]
    edges: list[GradientEdge]

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Names of the parameters that no layer formula covers."""
        return (*(name for fallback in self.fallbacks for name in fallback.names), *self.by_loss)


def zeros_at(place: Tensor | GradientEdge) -> Tensor:
    """The gradient at a tensor or an edge that no gradient reaches."""
    if isinstance(place, Tensor):
        return torch.zeros_like(place)
    data = place.node._input_metadata[place.output_nr]
    return torch.zeros(data.shape, dtype=data.dtype, device=data.device)


def make_plan(graph: Graph, parameters: Parameters, batch: int, by_loss: Collection[str] = ()) -> Plan:
    """Decide how to get the rows of every parameter that the graph reaches.

    Args:
        graph: Graph of the retain losses.
        parameters: Trainable parameters by name.
        batch: Samples in the forward pass of the retain losses: k, or m + k if both losses share it.
        by_loss: Parameters for which no other way is to be taken.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    layer_calls: dict[str, list[LayerCall]] = {}
    edges: dict[LayerCall, GradientEdge] = {}
    module_calls: dict[str, dict[ModuleCall, list[OutputEdge]]] = {}
    mixed: set[str] = set()
    for node, note in sorted(graph.notes, key=lambda found: (found[1].call.order, found[1].index)):
        edge = GradientEdge(node, note.output_nr)
        call = note.call
        if isinstance(call, ModuleCall):
            module_calls.setdefault(call.name, {}).setdefault(call, []).append((note.index, edge))
            if not note.is_batched(batch):
                mixed.add(call.name)
        elif note.is_batched(batch):
            edges[call] = edge
            for parameter in call.module._parameters.values():
                if id(parameter) in names:
                    layer_calls.setdefault(names[id(parameter)], []).append(call)
    plan = Plan({}, {}, [], [], [])
    apart = {module: calls for module, calls in module_calls.items() if module not in mixed}
    for name, leaf in graph.leaves(parameters).items():
        readers = graph.parameter_readers(leaf)
        if name in by_loss:
            plan.by_loss.append(name)
        elif len(layer_calls.get(name, ())) == len(readers):
            plan.layer_calls[name] = layer_calls[name]
        elif all(_is_broadcast(node, parameters[name], batch) for node in readers):
            plan.broadcasts[name] = [GradientEdge(node, 0) for node in readers]
        else:
            _plan_fallback(plan, graph, name, leaf, len(readers), apart)
    used = {call for calls in plan.layer_calls.values() for call in calls}
    plan.edges = graph.frontier(edges[call] for call in used)
    return plan


def _is_broadcast(node: Node, parameter: Tensor, batch: int) -> bool:
    """Whether the node adds or expands the parameter over samples, which can only be in dimension 0."""
    if node.name() not in _BROADCASTS or getattr(node, "_saved_alpha", 1) != 1:
        return False
    # Shape of the value that the node made; there is no public name for it.
    shape = node._input_metadata[0].shape
    leading = (1,) * (len(shape) - parameter.dim()) + tuple(parameter.shape)
    # With as many positions as samples, the samples could be in either of two dimensions.
    candidates = [dim for dim, size in enumerate(shape) if size == batch and leading[dim] == 1]
    return candidates == [0]


def _plan_fallback(
    plan: Plan,
    graph: Graph,
    name: str,
    leaf: Node,
    reads: int,
    module_calls: dict[str, dict[ModuleCall, list[OutputEdge]]],
) -> None:
    """Find the smallest of some modules whose calls contain every read of the parameter."""
    for module in sorted(module_calls, key=lambda path: path.count(".") + bool(path), reverse=True):
        calls = module_calls[module]
        if sum(graph.reads_inside(call, leaf) for call in calls) == reads:
            for fallback in plan.fallbacks:
                if fallback.calls[0][0].name == module:
                    fallback.names.append(name)
                    return
            plan.fallbacks.append(Fallback(list(calls.items()), [name]))
            return
    plan.by_loss.append(name)
