"""Run an `.espdl` model in integers, as ESP-DL's plain-C kernels do on a chip."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from lightning_esp.errors import EspdlError
from lightning_esp.espdl.arithmetic import ChipRules, chip_rules
from lightning_esp.espdl.damage import FOREIGN, check_order, computing, misfit
from lightning_esp.espdl.espdl_model import Array, EspdlModel, Tensor
from lightning_esp.espdl.kernels import Kernel, Node, accumulator_peak, build_kernel, make_node
from lightning_esp.espdl.kernels.cache import StreamingCache, make_cache

_ACCUMULATING = ("Conv", "Gemm", "MatMul")
_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Trace:
    """One window, with what was asked for beside its outputs.

    Attributes:
        outputs: Every graph output by name.
        state: The state for the next step.
        values: The tapped tensors by name, shape (batch, ...) as in the file.
        peaks: The largest peak so far of every operator whose accumulators were followed (see `kernels.accumulator`).
    """

    outputs: dict[str, Array]
    state: dict[str, Array]
    values: dict[str, Array]
    peaks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Instruction:
    """One prepared operator: a kernel, or a native cache.

    Attributes:
        node: The operator and its tensors.
        run: Its kernel; None for a native cache.
        cache: The native cache, where it is one.
        released: Tensors that nothing behind this operator reads.
    """

    node: Node
    run: Kernel | None
    cache: StreamingCache | None
    released: tuple[str, ...]


class EspdlInterpreter:
    """An integer interpreter of one model, an `IntegerStream`.

    Arrays have the batch of recordings as axis 0, where the file's tensor has 1, and the file's layout behind it. (A
    tensor whose first axis in the file is longer than 1 keeps it behind the batch axis.) Explicit caches are ordinary
    inputs and outputs; native StreamingCache operators live in the state.

    Args:
        model: The model, from `read_espdl`.
        target: The chip, one of `lightning_esp.chips.TARGETS`: it decides rounding.
        check_accumulators: Raise where an accumulator of a convolution would leave the chip's width (20 bits for int8
            on the ESP32-S3). Slow: every product sum is followed product by product.
        tie_margin: Rounds what GRU and LSTM compute in float32 the other way where it is this near to a tie, as a share of a
            step: more than a chip with fused multiply-add does.

    Raises:
        UnknownTargetError: ESP-DL does not know the chip.
        EspdlOperatorError: An operator is unknown, ESP-DL gets it wrong, or its tensors do not fit each other.
        EspdlError: The file is damaged in another way.

    Attributes:
        model: The model.
        target: The chip.
    """

    def __init__(
        self, model: EspdlModel, target: str, check_accumulators: bool = False, tie_margin: float = 0.0
    ) -> None:
        self.model = model
        self.target = target
        self._rules = replace(chip_rules(target), tie_margin=tie_margin)
        self._check_accumulators = check_accumulators
        self._constants = {name: item.data[None] for name, item in model.tensors.items() if item.data is not None}
        self._instructions, self._shapes = _prepare(model, self._rules)

    def __reduce__(self) -> tuple[type[EspdlInterpreter], tuple[EspdlModel, str, bool, float]]:
        """Kernels are closures, so a copy or a pickle makes its own from the model."""
        return EspdlInterpreter, (self.model, self.target, self._check_accumulators, self._rules.tie_margin)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The prepared operators in execution order."""
        return self._instructions

    @property
    def accumulating(self) -> tuple[str, ...]:
        """The keys of the operators that sum up products."""
        return tuple(operator_key(item.node) for item in self._instructions if item.node.operator.type in _ACCUMULATING)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes that ESP-DL computes at load; for tensors between operators the file's own may be wrong."""
        return self._shapes

    @property
    def constants(self) -> Mapping[str, Array]:
        """The parameters by name, with a leading batch axis of 1."""
        return self._constants

    def initial_state(self, batch: int) -> dict[str, Array]:
        """Return zeros for every native cache.

        Args:
            batch: Number of recordings.

        Returns:
            Arrays by cache name, shape (batch, ...) as in the file; empty for a model without native caches.
        """
        caches = [item.cache for item in self._instructions if item.cache is not None]
        return {cache.key: np.zeros((batch, *cache.shape[1:]), cache.dtype) for cache in caches}

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run one window.

        Args:
            inputs: Every graph input by name, shape (batch, ...) as in the file, of the file's type.
            state: From `initial_state` or the previous step.

        Returns:
            Every graph output by name, and the state for the next step.

        Raises:
            EspdlError: An input or a cache is missing, or has another shape or type than the file says.
        """
        trace = self.trace(inputs, state, peaks=dict.fromkeys(self.accumulating if self._check_accumulators else (), 0))
        return trace.outputs, trace.state

    def trace(
        self,
        inputs: Mapping[str, Array],
        state: Mapping[str, Array],
        taps: Collection[str] = (),
        peaks: Mapping[str, int] = _NONE,
    ) -> Trace:
        """Run one window and keep what happens inside.

        Args:
            inputs: As for `step`.
            state: As for `step`.
            taps: Names of tensors whose values are wanted.
            peaks: The operators of `accumulating` to follow (slow), each with a peak that is known, or 0.

        Returns:
            Outputs, next state, tapped values, accumulator peaks by operator name.

        Raises:
            EspdlError: As for `step`, or a tap that the model does not compute.
            EspdlOperatorError: An accumulator leaves the chip's width, where `check_accumulators` was set.
        """
        values = dict(self._constants)
        values.update(
            {name: to_batched(self.model.tensors[name], self._take(inputs, name)) for name in self.model.inputs}
        )
        batch = next((values[name].shape[0] for name in self.model.inputs), 1)
        wanted = {*self.model.outputs, *taps}
        following: dict[str, Array] = {}
        found = dict(peaks)
        for item in self._instructions:
            if operator_key(item.node) in found and item.node.operator.type in _ACCUMULATING:
                found[operator_key(item.node)] = self._follow(item.node, values, found[operator_key(item.node)])
            if item.cache is not None:
                remembered = self.check_cache(state, item.cache, batch)
                joined, rest = item.cache.extend(values[item.node.operator.inputs[0]], remembered)
                following[item.cache.key] = rest[:, 0]
                values[item.node.operator.outputs[0]] = joined
            else:
                values.update(compute(item, values))
            for name in set(item.released) - wanted:
                values.pop(name, None)
        return Trace(self._collect(values, self.model.outputs), following, self._collect(values, taps), found)

    def _take(self, inputs: Mapping[str, Array], name: str) -> Array:
        if name not in inputs:
            raise EspdlError(f"inputs: {name!r} is missing; the model takes {list(self.model.inputs)}.")
        return self.check_input(name, np.asarray(inputs[name]))

    def check_input(self, name: str, array: Array) -> Array:
        """Return an input array if it is what the file says.

        Args:
            name: The graph input.
            array: Integers of shape (batch, ...) as in the file.

        Raises:
            EspdlError: The shape or type differs.
        """
        tensor = self.model.tensors[name]
        shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
        if array.dtype != tensor.dtype or array.shape[1:] != shape or array.ndim == 0:
            raise EspdlError(
                f"inputs[{name!r}] is {array.dtype} of shape {array.shape}; the file says {tensor.dtype} of shape "
                f"{('batch', *shape)}. Give integers in the layout of the file."
            )
        return array

    def check_cache(self, state: Mapping[str, Array], cache: StreamingCache, batch: int) -> Array:
        """Return a native cache from the state, batched, if it is what the file says.

        Args:
            state: Native caches by name.
            cache: The cache.
            batch: Number of recordings.

        Raises:
            EspdlError: It is missing, or its shape or type differs.
        """
        array = state.get(cache.key)
        if array is None or array.shape != (batch, *cache.shape[1:]) or array.dtype != cache.dtype:
            found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise EspdlError(
                f"state[{cache.key!r}] is {found}; it must be {cache.dtype} of shape {(batch, *cache.shape[1:])}. Pass "
                "what initial_state or the previous step returned."
            )
        return array[:, None]

    def _follow(self, node: Node, values: Mapping[str, Array], known: int) -> int:
        first, second = node.operator.inputs[:2]
        peak = accumulator_peak(node, values[first], known, values[second])
        limit = self._rules.accumulator_limit(node.input(0).dtype)
        if self._check_accumulators and limit is not None and peak >= limit:
            raise node.refuse(
                f"its accumulator reaches {peak}, but the {self.target} holds at most {limit - 1}; quantize the "
                "layer with smaller weights or inputs, or split its input channels"
            )
        return peak

    def _collect(self, values: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        missing = [name for name in names if name not in values]
        if missing:
            raise EspdlError(f"taps: {missing} are not tensors that the model computes; print(model) lists them.")
        return {name: from_batched(values[name]) for name in names}


def _prepare(model: EspdlModel, rules: ChipRules) -> tuple[tuple[Instruction, ...], dict[str, tuple[int, ...]]]:
    """Build every kernel in order, and find the shapes by running each on zeros."""
    check_order(model)
    last = {name: index for index, item in enumerate(model.operators) for name in (*item.inputs, *item.outputs) if name}
    shapes = {name: model.tensors[name].shape for name in model.inputs}
    shapes.update({name: tensor.shape for name, tensor in model.tensors.items() if tensor.data is not None})
    instructions = []
    for index, operator in enumerate(model.operators):
        with computing(operator):
            node = make_node(model, operator, rules, shapes)
            cache = make_cache(node) if operator.type == "StreamingCache" else None
            kernel = None if cache is not None else build_kernel(node)
        released = tuple(name for name in last if last[name] == index and not model_keeps(model, name))
        instructions.append(Instruction(node, kernel, cache, released))
        with computing(operator):
            shapes.update(_probe(instructions[-1]))
    return tuple(instructions), shapes


def _probe(item: Instruction) -> dict[str, tuple[int, ...]]:
    values = {
        tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) if tensor.data is None else tensor.data[None]
        for tensor in item.node.inputs
        if tensor is not None
    }
    if item.cache is not None:
        remembered = np.zeros((1, *item.cache.shape), item.cache.dtype)
        joined, _ = item.cache.extend(values[item.node.operator.inputs[0]], remembered)
        return {item.node.operator.outputs[0]: joined.shape[1:]}
    return {name: array.shape[1:] for name, array in compute(item, values).items()}


def model_keeps(model: EspdlModel, name: str) -> bool:
    """Tell whether a tensor outlives the run: a parameter or a graph output."""
    return name in model.outputs or (name in model.tensors and model.tensors[name].data is not None)


def operator_key(node: Node) -> str:
    """Return the name of an operator, or of its output where it has none."""
    return node.operator.name or node.operator.outputs[0]


_ABSENT = np.zeros((1, 0), np.int8)


def compute(item: Instruction, values: Mapping[str, Array]) -> dict[str, Array]:
    """Run one kernel and check that it made what the file describes.

    Args:
        item: The prepared operator.
        values: Batched arrays by tensor name.

    Returns:
        Its outputs by name, batched.

    Raises:
        EspdlOperatorError: An output has another type than the file says.
    """
    assert item.run is not None
    try:  # for each operator of each window, so without a context manager
        results = item.run([values[name] if name else _ABSENT for name in item.node.operator.inputs])
    except FOREIGN as error:
        raise misfit(item.node.operator, error) from error
    for tensor, result in zip(item.node.outputs, results, strict=False):
        if tensor is not None and result.dtype != tensor.dtype:
            raise item.node.refuse(f"it makes {result.dtype} for {tensor.name}, but the file says {tensor.dtype}")
    return {name: result for name, result in zip(item.node.operator.outputs, results, strict=False) if name}


def to_batched(tensor: Tensor, array: Array) -> Array:
    """Bring (batch, ...) into (batch, *file shape)."""
    return array.reshape(array.shape[0], *tensor.shape)


def from_batched(array: Array) -> Array:
    """Bring (batch, *file shape) into (batch, ...): a leading 1 of the file becomes the batch."""
    return array[:, 0] if array.ndim > 1 and array.shape[1] == 1 else array
