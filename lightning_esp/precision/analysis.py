"""`analyze`: signal-to-noise ratios and ranges; `rank_modules`: which module costs most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from lightning_esp.conversion import Recordings, StreamingModel, Values, count_frames
from lightning_esp.precision.figures import Analysis, FlowStep, LayerNoise, ModuleEffect, Snippet, TensorRange
from lightning_esp.precision.measured_windows import first_windows, take_recordings
from lightning_esp.quantization import NoiseFigures, OperatorNoise, QuantizedModel, Worker, module_path
from lightning_esp.simulation import QuantizedStreaming

# Enough for figures that hold to a decibel; each further window costs its time in every export.
MAX_RECORDINGS, MAX_WINDOWS = 4, 24
EXCERPT_FRAMES, EXCERPT_CHANNELS = 400, 32

# They move values, or change their grid, and compute nothing.
_MOVING = {
    "Concat",
    "Flatten",
    "Gather",
    "Identity",
    "Pad",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}


def analyze(
    model: StreamingModel,
    quantized: QuantizedModel,
    recordings: Recordings,
    *,
    worker: Worker | None = None,
    max_recordings: int = MAX_RECORDINGS,
    max_windows: int = MAX_WINDOWS,
) -> Analysis:
    """Measure the noise of every layer and the range of every tensor, float and integers streamed side by side.

    Args:
        model: the float model.
        quantized: what `quantize` made of it.
        recordings: whole recordings without batch dimension, of which some are taken, evenly spread.
        worker: a running esp-ppq process; one is started and ended where none is given.
        max_recordings: recordings to take.
        max_windows: windows of each, from its start on.

    Raises:
        DataError: the recordings do not fit the model.
    """
    taken = take_recordings(model, recordings, max_recordings)
    windows = first_windows(model, taken, max_windows)
    feedback = model.spec.feedback
    with nullcontext(worker) if worker is not None else Worker() as running:
        figures: NoiseFigures = running.call("measure_noise", quantized.graph, windows, feedback)
    count = len(windows) * len(next(iter(windows[0].values())))
    snippet = _excerpt(model, quantized, taken)
    return Analysis(_layers(model, figures), _tensors(model, figures), snippet, count, _flow(model))


def rank_modules(
    model: StreamingModel,
    quantized: QuantizedModel,
    recordings: Recordings,
    *,
    worker: Worker | None = None,
    max_recordings: int = MAX_RECORDINGS,
    max_windows: int = MAX_WINDOWS,
) -> tuple[ModuleEffect, ...]:
    """Quantize one module at a time and measure the noise at the outputs; the costliest module comes first.

    Args:
        model: as for `analyze`.
        quantized: as for `analyze`.
        recordings: as for `analyze`.
        worker: as for `analyze`.
        max_recordings: as for `analyze`.
        max_windows: as for `analyze`.
    """
    windows = first_windows(model, take_recordings(model, recordings, max_recordings), max_windows)
    feedback = model.spec.feedback
    with nullcontext(worker) if worker is not None else Worker() as running:
        figures: NoiseFigures = running.call("measure_noise", quantized.graph, windows[:1], feedback)
        groups: dict[str, list[str]] = defaultdict(list)
        for operator in figures.operators:
            groups[_module(model, operator.name)].append(operator.name)
        found: dict[str, float] = running.call("measure_effects", quantized.graph, windows, feedback, dict(groups))
    effects = [ModuleEffect(module, noise) for module, noise in found.items()]
    return tuple(sorted(effects, key=lambda effect: -effect.noise))


def name_worst(effects: Sequence[ModuleEffect], share: float = 0.5, most: int = 3) -> tuple[str, ...]:
    """The fewest modules that make `share` of the noise, at most `most`.

    Example:
        >>> name_worst([ModuleEffect("a", 6.0), ModuleEffect("b", 3.0), ModuleEffect("c", 1.0)], share=0.8)
        ('a', 'b')
    """
    total, names, reached = sum(effect.noise for effect in effects), list[str](), 0.0
    for effect in effects[:most]:
        if effect.noise == 0 or reached >= share * total:
            break
        names.append(effect.module)
        reached += effect.noise
    return tuple(names)


def _layers(model: StreamingModel, figures: NoiseFigures) -> tuple[LayerNoise, ...]:
    return tuple(
        LayerNoise(o.name, _module(model, o.name), o.type, o.bits, _ratio(o, o.own), _ratio(o, o.total))
        for o in figures.operators
        if o.type not in _MOVING and o.signal > 0
    )


def _flow(model: StreamingModel) -> tuple[FlowStep, ...]:
    return tuple(
        FlowStep(layer.path, layer.operator, layer.caches, str(1 / layer.stride), layer.delay)
        for layer in model.layers
        if layer.caches or layer.stride != 1 or layer.delay
    )


def _ratio(operator: OperatorNoise, noise: float) -> float | None:
    return None if noise == 0 else round(10 * math.log10(operator.signal / noise), 2)


def _tensors(model: StreamingModel, figures: NoiseFigures) -> tuple[TensorRange, ...]:
    inputs, caches = {port.name for port in model.spec.inputs}, {cache.name for cache in model.spec.caches}

    def kind(name: str) -> str:
        return "input" if name in inputs else "cache" if name in caches else "activation"

    found = {use.name: use for use in figures.tensors}
    return tuple(
        TensorRange(u.name, kind(u.name), u.bits, u.exponent, round(u.clipped / max(1, u.values), 6), round(u.peak, 4))
        for u in found.values()
    )


@torch.no_grad()
def _excerpt(model: StreamingModel, quantized: QuantizedModel, taken: Sequence[tuple[Values, int]]) -> Snippet | None:
    port = model.spec.outputs[0]
    if len(port.shape) != 3 or port.time_axis is None:
        return None
    channels_first = port.time_axis == 2
    stream, each = QuantizedStreaming(quantized), max(1, EXCERPT_FRAMES // len(taken))
    starts, floating, integer = list[int](), list[Tensor](), list[Tensor]()
    for values, _ in taken:
        frames = min(count_frames(model.spec, values), each * model.spec.stride)
        cut = {
            p.name: values[p.name].narrow(p.time_axis, 0, frames) if p.time_axis else values[p.name]
            for p in model.spec.inputs
        }
        starts.append(sum(part.shape[1] for part in floating))
        for parts, found in ((floating, model.run(cut)), (integer, stream(**cut))):
            first = (found if isinstance(found, Tensor) else found[0])[0]
            parts.append((first if channels_first else first.T)[:EXCERPT_CHANNELS])
    return Snippet(tuple(starts), _rows(torch.cat(floating, 1)), _rows(torch.cat(integer, 1)))


def _rows(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 4) for value in row) for row in values.tolist())


def _module(model: StreamingModel, operator: str) -> str:
    return module_path(operator, [stage.name for stage in model.spec.stages])
