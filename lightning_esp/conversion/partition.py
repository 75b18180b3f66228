"""`partition`: an automatically converted model is cut into stages of equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import fx, nn

from lightning_esp.conversion.operator_cost import find_shapes, load_of, name_of
from lightning_esp.conversion.partition_search import CrossingTensor, Parts, balance
from lightning_esp.conversion.spec import Port, Stage
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.cost import Chip, reference_chip
from lightning_esp.errors import ConfigurationError

# What is done to each value alone, or to the order of axes, stays with the operator before it: a cut there would undo a
# fusion or send the same bytes.
_UNARY = frozenset(
    [
        "relu",
        "relu6",
        "sigmoid",
        "tanh",
        "silu",
        "hardswish",
        "hardsigmoid",
        "elu",
        "leaky_relu",
        "gelu",
        "clamp",
        "permute",
        "transpose",
        "movedim",
        "reshape",
        "flatten",
        "unflatten",
        "unsqueeze",
        "squeeze",
        "contiguous",
        "getitem",
        "softmax",
    ]
)


@dataclass(frozen=True)
class _Graph:
    """The only stage of a converted model, and what is known of its nodes."""

    model: StreamingModel
    module: fx.GraphModule
    shapes: Mapping[fx.Node, tuple[int, ...]]

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes that compute, in the order of execution."""
        return [node for node in self.module.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]

    @property
    def arguments(self) -> dict[fx.Node, str]:
        """Inputs and caches by their names."""
        found = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        return dict(zip(found, self.model.spec.stages[0].input_names, strict=True))

    @property
    def results(self) -> list[tuple[str, fx.Node]]:
        """Name of each output and new cache, and the node that gives it."""
        (output,) = (node for node in self.module.graph.nodes if node.op == "output")
        return list(zip(self.model.spec.stages[0].output_names, output.args[0], strict=True))

    @property
    def outputs(self) -> list[tuple[str, fx.Node]]:
        """Name of each output of the model, and the node that gives it."""
        caches = {cache.next for cache in self.model.spec.stages[0].caches}
        return [(name, node) for name, node in self.results if name not in caches]

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None


def partition(model: StreamingModel, stages: int, chip: Chip | None = None) -> StreamingModel:
    """Cut a converted model so that the costliest stage is as cheap as can be, and few bytes cross a cut.

    Args:
        model: an automatically converted model of one stage.
        stages: how many stages.
        chip: by whose costs; None: the ESP32-S3's.

    Returns:
        The same model in `stages` stages: `stage_0`, `stage_1`, ...

    Raises:
        ConfigurationError: it has fewer parts than that.
    """
    (module,) = model.stages
    assert isinstance(module, fx.GraphModule)
    graph = _Graph(model, module, find_shapes(module, model.spec.stages[0]))
    groups = _groups(graph)
    chosen = balance(_parts(graph, groups, chip or reference_chip()), stages)
    if chosen is None:
        raise ConfigurationError(
            f"Streaming(stages={stages}) asks for more stages than the model has parts that can be cut ({len(groups)}); use at "
            f"most {len(groups)}."
        )
    stage_of = {node: chosen[index] for index, group in enumerate(groups) for node in group}
    names = _name_values(graph, stage_of)
    built = [_build(graph, stage_of, names, index) for index in range(stages)]
    spec = replace(model.spec, stages=tuple(stage for stage, _ in built))
    return replace(model, spec=spec, stages=tuple(part for _, part in built))


def _groups(graph: _Graph) -> list[list[fx.Node]]:
    """Nodes that stay together, in the order of execution."""
    nodes = graph.nodes
    root = {node: node for node in nodes}

    def find(node: fx.Node) -> fx.Node:
        while root[node] is not node:
            node = root[node]
        return node

    for bond in [*_fused(graph), *_around_caches(graph), *_folded(graph)]:
        for node in bond[1:]:
            root[find(node)] = find(bond[0])
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in nodes:
        groups.setdefault(find(node), []).append(node)
    return _in_order(list(groups.values()), {node: index for index, node in enumerate(nodes)})


def _folded(graph: _Graph) -> list[list[fx.Node]]:
    """A tensor with batch and time in one axis stays in its stage: what crosses a cut has its recordings in front."""
    return [
        [node, *(user for user in node.users if user.op != "output")] for node in graph.nodes if node.meta.get("folded")
    ]


def _fused(graph: _Graph) -> list[list[fx.Node]]:
    bonds = []
    for node in graph.nodes:
        sources = [source for source in node.all_input_nodes if source.op not in ("placeholder", "get_attr")]
        if len(sources) != 1:
            continue
        follows = isinstance(graph.module_of(node), nn.BatchNorm1d | nn.BatchNorm2d | nn.ReLU)
        is_item = name_of(node) == "getitem"
        if is_item or ((follows or name_of(node) in _UNARY) and len(sources[0].users) == 1):
            bonds.append([sources[0], node])
    return bonds


def _around_caches(graph: _Graph) -> list[list[fx.Node]]:
    """Return the nodes between each cache and its new value, and the only reader of the joined frames."""
    results = dict(graph.results)
    bonds = []
    caches = {cache.name: cache for cache in graph.model.spec.stages[0].caches}
    for node, name in graph.arguments.items():
        if name not in caches:
            continue
        last = results[caches[name].next]
        between = _reachable(node, forward=True) & _reachable(last, forward=False)
        bond = [found for found in graph.nodes if found in {last, *node.users, *between}]
        # Where nothing but one layer reads the joined frames, a cut between would only send the past along.
        readers = {user for found in bond for user in found.users} - {*bond}
        readers = {reader for reader in readers if reader.op != "output"}
        bonds.append([*bond, *readers] if len(readers) == 1 else bond)
    return [bond for bond in bonds if len(bond) > 1]


def _reachable(start: fx.Node, *, forward: bool) -> set[fx.Node]:
    found, pending = set[fx.Node](), [start]
    while pending:
        node = pending.pop()
        for other in node.users if forward else node.all_input_nodes:
            if other not in found:
                found.add(other)
                pending.append(other)
    return found


def _in_order(groups: list[list[fx.Node]], position: Mapping[fx.Node, int]) -> list[list[fx.Node]]:
    """Merge groups that need each other, and bring the rest into an order of execution."""
    group_of = {node: index for index, group in enumerate(groups) for node in group}
    needs = [
        {group_of[source] for node in group for source in node.all_input_nodes if source in group_of} - {index}
        for index, group in enumerate(groups)
    ]
    ordered: list[list[fx.Node]] = []
    done, left = set[int](), list(range(len(groups)))
    while left:
        ready = next((index for index in left if needs[index] <= done), None)
        if ready is None:
            # The groups of a circle depend on each other: they are one part.
            members = _circle(left, needs, done)
            merged = sorted((node for index in members for node in groups[index]), key=position.__getitem__)
            others = [groups[index] for index in range(len(groups)) if index not in members]
            return _in_order(sorted([*others, merged], key=lambda group: position[group[0]]), position)
        ordered.append(groups[ready])
        done.add(ready)
        left.remove(ready)
    return ordered


def _circle(left: Sequence[int], needs: Sequence[set[int]], done: set[int]) -> set[int]:
    path: list[int] = [left[0]]
    while True:
        before = next(need for need in sorted(needs[path[-1]]) if need not in done)
        if before in path:
            return {*path[path.index(before) :]}
        path.append(before)


def _parts(graph: _Graph, groups: Sequence[Sequence[fx.Node]], chip: Chip) -> Parts:
    group_of = {node: index for index, group in enumerate(groups) for node in group}
    costs = [
        sum(chip.microseconds(load_of(node, graph.module_of(node), graph.shapes)) for node in group) for group in groups
    ]
    needs = [
        frozenset({group_of[s] for node in group for s in node.all_input_nodes if s in group_of} - {index})
        for index, group in enumerate(groups)
    ]
    tensors = []
    for node, index in group_of.items():
        readers = frozenset(group_of[user] for user in node.users if user in group_of) - {index}
        if readers:
            tensors.append(CrossingTensor(index, readers, prod(graph.shapes.get(node, ()))))
    return Parts(tuple(costs), tuple(needs), tuple(tensors))


def _name_values(graph: _Graph, stage_of: Mapping[fx.Node, int]) -> dict[fx.Node, str]:
    """Names of what crosses a cut or leaves the model, and of what enters it."""
    names = {node: name for name, node in graph.outputs}
    crossing: dict[int, list[fx.Node]] = {}
    for node, stage in stage_of.items():
        if node not in names and any(stage_of.get(user, stage) != stage for user in node.users):
            crossing.setdefault(stage, []).append(node)
    for stage, found in crossing.items():
        for number, node in enumerate(found):
            names[node] = f"stage_{stage}.output" + (f"_{number}" if len(found) > 1 else "")
    return {**graph.arguments, **names}


def _build(
    graph: _Graph, stage_of: Mapping[fx.Node, int], names: Mapping[fx.Node, str], index: int
) -> tuple[Stage, fx.GraphModule]:
    """One stage: its outside, and its graph."""
    own = [node for node in graph.nodes if stage_of[node] == index]
    read, made = _read_by(own, names), _made_by(graph, own, names)
    caches = tuple(cache for cache in graph.model.spec.stages[0].caches if cache.name in read)
    inputs = _ports(graph, {name: node for name, node in read.items() if name not in {c.name for c in caches}})
    stage = Stage(f"stage_{index}", inputs, _ports(graph, made), caches)
    return stage, _graph_module(graph, stage, read, own, {**made, **dict(graph.results)})


def _read_by(own: Sequence[fx.Node], names: Mapping[fx.Node, str]) -> dict[str, fx.Node]:
    """Inputs, caches and crossing values that the nodes of a stage take from outside, in the order of use."""
    sources = dict.fromkeys(source for node in own for source in node.all_input_nodes if source not in {*own})
    return {names[node]: node for node in sources if node in names}


def _made_by(graph: _Graph, own: Sequence[fx.Node], names: Mapping[fx.Node, str]) -> dict[str, fx.Node]:
    """Crossing values and outputs of the model that the nodes of a stage give; one node may be several outputs."""
    crossing = {names[node]: node for node in own if node in names}
    return crossing | {name: node for name, node in graph.outputs if node in own}


def _ports(graph: _Graph, nodes: Mapping[str, fx.Node]) -> tuple[Port, ...]:
    """The ports of the model by their names, and new ones for what crosses a cut."""
    whole = graph.model.spec.stages[0]
    known = {port.name: port for port in (*whole.inputs, *whole.outputs)}
    return tuple(known.get(name) or _port(graph, node, name) for name, node in nodes.items())


def _port(graph: _Graph, node: fx.Node, name: str) -> Port:
    shape, time = graph.shapes[node], node.meta.get("time_axis")
    batch = _batch_axis(node)
    order = [batch, *(axis for axis in range(len(shape)) if axis != batch)]
    return Port(name, tuple(shape[axis] for axis in order), None if time is None else order.index(time))


def _batch_axis(node: fx.Node) -> int:
    """Axis of the batch, which comes to the front where the tensor crosses a cut."""
    return node.meta.get("batch_axis") or 0


def _turn(graph: fx.Graph, node: fx.Node, source: int, to: int) -> fx.Node:
    return graph.call_function(torch.movedim, (node, source, to)) if source != to else node


def _graph_module(
    graph: _Graph, stage: Stage, given: Mapping[str, fx.Node], own: Sequence[fx.Node], results: Mapping[str, fx.Node]
) -> fx.GraphModule:
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for name in stage.input_names:
        placeholder = part.placeholder(given[name].name)
        copies[given[name]] = _turn(part, placeholder, 0, _batch_axis(given[name]))
    for node in graph.module.graph.nodes:
        if node.op == "get_attr" and any(user in {*own} for user in node.users):
            copies[node] = part.node_copy(node)
        elif node in {*own}:
            copies[node] = part.node_copy(node, lambda source: copies[source])
    found = [results[name] for name in stage.output_names]
    part.output(tuple(_turn(part, copies[node], _batch_axis(node), 0) for node in found))
    return fx.GraphModule(graph.module, part, class_name="Streamed")
