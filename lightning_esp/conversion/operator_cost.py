"""`load_of`: what the operator of a node will cost on a chip, before there is a file.

The exporter folds and fuses: a batch norm and a ReLU behind a convolution cost nothing, and a cache in front of a window
becomes one operator that copies rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import fx, nn

from lightning_esp.conversion.handwritten import ContractStage
from lightning_esp.conversion.spec import Stage
from lightning_esp.cost import Work, convolution, copy, pool, recurrent

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_RECURRENT = (nn.GRU, nn.LSTM)
_COPIES = ("cat", "narrow", "split", "chunk")
_FREE = ("getitem",)
_SHAPES = ("placeholder", "get_attr", "output")


def name_of(node: fx.Node) -> str:
    """Name of the function or method that a node calls; "" for a module."""
    return str(node.target if node.op == "call_method" else getattr(node.target, "__name__", ""))


def load_of(node: fx.Node, module: nn.Module | None, shapes: Mapping[fx.Node, tuple[int, ...]]) -> Work:
    """The work of the operator that a node becomes, with int8 values.

    Args:
        node: a node of the streaming graph.
        module: the module that it calls, where it calls one.
        shapes: shape of the value of every node, batch in front.
    """
    shape = shapes.get(node, ())
    if node.op in _SHAPES or name_of(node) in _FREE or _is_fused(node, module):
        return Work()
    if isinstance(module, _CONVOLUTIONS):
        return _convolution(module, shapes[node.all_input_nodes[0]], shape)
    if isinstance(module, nn.Linear):
        return convolution(module.in_features, module.out_features, (), prod(shape[:-1]))
    if isinstance(module, _RECURRENT):
        return _recurrent(module, shapes[node.all_input_nodes[0]])
    if name_of(node) in _COPIES:
        return Work() if _is_new_cache(node) else copy(prod(shape))
    if "pool" in name_of(node):
        return _pool(node, shape)
    return Work(1, written=prod(shape))


def _is_fused(node: fx.Node, module: nn.Module | None) -> bool:
    source = node.all_input_nodes[0] if node.all_input_nodes else None
    if source is None or len(source.users) > 1:
        return False
    follows = source.op == "call_module"
    if isinstance(module, _NORMS):
        return follows
    is_relu = isinstance(module, nn.ReLU) or name_of(node) == "relu"
    return is_relu and follows


def _is_new_cache(node: fx.Node) -> bool:
    """Tell whether a slice is a cache's new value: the operator that holds the cache keeps it by itself."""
    return name_of(node) == "narrow" and all(user.op == "output" for user in node.users)


def _convolution(module: nn.Module, given: tuple[int, ...], shape: tuple[int, ...]) -> Work:
    inputs, outputs, groups = (int(getattr(module, key)) for key in ("in_channels", "out_channels", "groups"))
    kernel = tuple(getattr(module, "kernel_size"))  # noqa: B009  (`nn.Module` has no such attribute)
    transposed = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d)
    positions = prod((given if transposed else shape)[2:])
    work = convolution(inputs // groups, outputs, kernel, positions, depthwise=groups > 1)
    return Work(1, work.dense, work.depthwise, prod(shape))


def _recurrent(module: nn.Module, given: tuple[int, ...]) -> Work:
    hidden, inputs, layers = (int(getattr(module, key)) for key in ("hidden_size", "input_size", "num_layers"))
    gates = 3 if isinstance(module, nn.GRU) else 4
    frames = prod(given[:-1])
    each = [recurrent(frames, gates * hidden, (w, hidden), frames * hidden) for w in [inputs, *[hidden] * (layers - 1)]]
    return sum(each, Work())


def _pool(node: fx.Node, shape: tuple[int, ...]) -> Work:
    size = node.args[1] if len(node.args) > 1 else node.kwargs.get("kernel_size", 1)
    kernel = prod(size) if isinstance(size, tuple | list) else size
    taps = kernel if isinstance(kernel, int) else 1
    channels = shape[1] if len(shape) > 1 else 1
    return pool(channels, prod(shape) // channels, taps, prod(shape))


def find_shapes(module: fx.GraphModule, stage: Stage) -> dict[fx.Node, tuple[int, ...]]:
    """Return the shape of the value of every node of a stage, for one window."""
    # Weights that stand in forward itself are buffers of the converted model.
    weights = [*module.parameters(), *module.buffers()]
    like = next((p for p in weights if p.is_floating_point()), torch.empty(0))
    runner = Shapes(module)
    with torch.no_grad():
        shapes = [*(port.shape for port in stage.inputs), *(cache.shape for cache in stage.caches)]
        runner.run(*(like.new_zeros(shape) for shape in shapes))
    return runner.found


def work_of_stage(module: nn.Module, stage: Stage) -> Work | None:
    """Return the work of one window of a stage; None where a part of it is hand-written: its operators are not known yet."""
    if not isinstance(module, fx.GraphModule):
        return None
    shapes = find_shapes(module, stage)
    calls = {n: module.get_submodule(str(n.target)) for n in module.graph.nodes if n.op == "call_module"}
    if any(isinstance(called, ContractStage) for called in calls.values()):
        return None
    return sum((load_of(node, calls.get(node), shapes) for node in module.graph.nodes), Work())


class Shapes(fx.Interpreter):
    """Runs a graph once and notes the shape of every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        """Run a node as ever."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.found[n] = tuple(value.shape)
        return value
