"""Proof 4, the accumulators: that no sum of products leaves the register of the chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lightning_esp.conversion import Recordings, pad_recordings
from lightning_esp.espdl import (
    EspdlInterpreter,
    IntegerStream,
    Range,
    accumulator_bound,
    chip_rules,
    operator_key,
    value_ranges,
    whole_range,
)
from lightning_esp.quantization import Array, CacheInfo, QuantizedModel
from lightning_esp.simulation import IntegerPipeline, integer_windows, interpret
from lightning_esp.verification.proof import Proof

# Recordings that are followed at once.
BATCH = 32
# A cache holds what its model made of it; ranges that still grow after so many rounds are taken for whole.
ROUNDS = 6
_TYPES = (np.dtype(np.int8), np.dtype(np.int16))
_NEXT_STEP = {
    20: "Split the layer's input channels, train it with weight decay, or keep it in int16, whose accumulators have 40 bits: "
    "Quantization(int16=(...)).",
    40: "Split the layer's input channels, or train it with weight decay.",
}


@dataclass(frozen=True)
class SumLayer:
    """An operator that sums up products.

    Args:
        stage: index of its stage.
        name: its name there.
        bits: width of its accumulator.
        bound: the peak that it cannot exceed, whatever the input and in whatever order products are added.
    """

    stage: int
    name: str
    bits: int
    bound: int

    @property
    def limit(self) -> int:
        """The largest peak that its accumulator holds."""
        return (1 << (self.bits - 1)) - 1


def accumulators(quantized: QuantizedModel, recordings: Recordings) -> tuple[Proof, ...]:
    """The peak of every accumulator of a convolution or linear layer, against its bits on the chip.

    The weights bound it for every input, which settles most layers. The others are followed, product by product, on all
    windows of all recordings; where that holds it is no proof for other inputs, and the outcome says so.

    Args:
        quantized: the files.
        recordings: whole recordings without batch dimension.

    Returns:
        A proof for each width of accumulators that the chip may leave; none for chips whose registers are wide enough.
    """
    pipeline = interpret(quantized)
    layers = bound_layers(quantized, pipeline)
    unsettled = [layer for layer in layers if layer.bound > layer.limit]
    peaks, windows = _follow(quantized, pipeline, unsettled, recordings) if unsettled else ({}, 0)
    return tuple(
        _prove(quantized, [layer for layer in layers if layer.bits == bits], peaks, windows)
        for bits in sorted({layer.bits for layer in layers})
    )


def _prove(
    quantized: QuantizedModel, layers: list[SumLayer], peaks: Mapping[tuple[int, str], int], windows: int
) -> Proof:
    def reached(layer: SumLayer) -> int:
        return peaks.get((layer.stage, layer.name), layer.bound)

    worst = max(layers, key=reached)
    passed = reached(worst) <= worst.limit
    loose = [layer for layer in layers if (layer.stage, layer.name) in peaks]
    return Proof(
        f"accumulators fit {worst.bits} bits (ESP32-S3)",
        reached(worst),
        worst.limit,
        passed,
        f"operator {_name(quantized, worst)!r}",
        _NEXT_STEP[worst.bits],
        _doubt(quantized, loose, windows) if passed and loose else "",
    )


def _doubt(quantized: QuantizedModel, loose: list[SumLayer], windows: int) -> str:
    most = max(loose, key=lambda layer: layer.bound)
    others = f", and {len(loose) - 1} more operators" if len(loose) > 1 else ""
    return (
        f"it holds on the {windows} windows that were followed, not for every input: by its weights, operator "
        f"{_name(quantized, most)!r}{others} may reach {most.bound}"
    )


def _name(quantized: QuantizedModel, layer: SumLayer) -> str:
    return f"{quantized.stages[layer.stage].name}: {layer.name}"


def bound_layers(quantized: QuantizedModel, pipeline: IntegerPipeline) -> list[SumLayer]:
    """Bound the accumulators that the chip may leave, by the weights and by the integers that their inputs can hold.

    Args:
        quantized: the files.
        pipeline: their interpreters.
    """
    rules, layers = chip_rules(quantized.target), list[SumLayer]()
    if all(rules.accumulator_limit(whole) is None for whole in _TYPES):
        return []
    for index, (stream, ranges) in enumerate(zip(pipeline.streams, _ranges(quantized, pipeline), strict=True)):
        assert isinstance(stream, EspdlInterpreter)
        for node in (item.node for item in stream.instructions if operator_key(item.node) in stream.accumulating):
            limit = rules.accumulator_limit(node.input(0).dtype)
            if limit is not None:
                bound = accumulator_bound(node, *ranges[node.input(0).name])
                layers.append(SumLayer(index, operator_key(node), limit.bit_length(), bound))
    return layers


def _ranges(quantized: QuantizedModel, pipeline: IntegerPipeline) -> list[dict[str, Range]]:
    """The range of every tensor of every stage, the caches fed back until their ranges stay."""
    caches = [cache for stage in quantized.stages for cache in stage.caches]
    held = {cache.tensor.name: (cache.initial, cache.initial) for cache in caches}
    for rounds in range(ROUNDS + len(caches) + 1):
        ranges = _carry(quantized, pipeline, held)
        joined = [(cache, _join(held[cache.tensor.name], _after(cache, ranges))) for cache in caches]
        growing = {cache.tensor.name: span for cache, span in joined if span != held[cache.tensor.name]}
        if not growing:
            break
        whole = {cache.tensor.name: whole_range(np.dtype(cache.tensor.dtype)) for cache in caches}
        held |= growing if rounds < ROUNDS else {name: whole[name] for name in growing}
    return ranges


def _carry(quantized: QuantizedModel, pipeline: IntegerPipeline, held: Mapping[str, Range]) -> list[dict[str, Range]]:
    found: dict[str, Range] = dict(held)
    ranges = []
    for stage, stream in zip(quantized.stages, pipeline.streams, strict=True):
        assert isinstance(stream, EspdlInterpreter)
        read = [tensor.name for tensor in (*stage.inputs, *(cache.tensor for cache in stage.caches))]
        ranges.append(value_ranges(stream, {name: found[name] for name in read if name in found}))
        found |= {tensor.name: ranges[-1][tensor.name] for tensor in stage.outputs if tensor.name in ranges[-1]}
    return ranges


def _after(cache: CacheInfo, ranges: list[dict[str, Range]]) -> Range:
    """Return the range of a cache after a window."""
    return next(found[cache.next] for found in ranges if cache.next in found)


def _join(first: Range, second: Range) -> Range:
    return min(first[0], second[0]), max(first[1], second[1])


def _follow(
    quantized: QuantizedModel, pipeline: IntegerPipeline, layers: list[SumLayer], recordings: Recordings
) -> tuple[dict[tuple[int, str], int], int]:
    """The peaks of some layers on all windows of all recordings, by stage and name, and how many windows these are."""
    peaks = {(layer.stage, layer.name): 0 for layer in layers}
    streams = [_Followed(stream, index, peaks) for index, stream in enumerate(pipeline.streams)]
    followed, count = IntegerPipeline(pipeline.files, streams), 0
    for start in range(0, len(recordings), BATCH):
        batch, lengths = pad_recordings(quantized.spec, recordings[start : start + BATCH])
        followed.run(integer_windows(quantized, batch))
        count += sum(quantized.spec.windows(frames) for frames in lengths)
    return peaks, count


class _Followed:
    """An interpreter that notes the peaks of some of its accumulators."""

    def __init__(self, stream: IntegerStream, index: int, peaks: dict[tuple[int, str], int]) -> None:
        assert isinstance(stream, EspdlInterpreter)
        self._stream, self._index, self._peaks = stream, index, peaks

    def initial_state(self, batch: int) -> dict[str, Array]:
        return self._stream.initial_state(batch)

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        known = {name: peak for (index, name), peak in self._peaks.items() if index == self._index}
        trace = self._stream.trace(inputs, state, peaks=known)
        self._peaks.update({(self._index, name): peak for name, peak in trace.peaks.items()})
        return trace.outputs, trace.state
