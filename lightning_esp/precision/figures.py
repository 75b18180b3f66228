"""The figures of a quantization analysis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerNoise:
    """An operator that computes.

    Args:
        name: its name in the graph.
        module: path of the module that it came from.
        type: its type.
        bits: width of its output.
        own_db: signal-to-noise ratio of its output where its inputs are exact; None: exact.
        total_db: the same in the integer stream, with all noise from before it and from the caches; None: exact.
    """

    name: str
    module: str
    type: str
    bits: int
    own_db: float | None
    total_db: float | None


@dataclass(frozen=True)
class TensorRange:
    """Integer range of a tensor, and how much of it is used.

    Args:
        name: its name in the graph.
        kind: `"input"`, `"cache"` or `"activation"`.
        bits: width.
        exponent: value = integer x 2^exponent.
        clipped: share of the values that lay outside.
        used: the largest magnitude as a share of the largest integer, before clipping; far below 1 wastes bits.
    """

    name: str
    kind: str
    bits: int
    exponent: int
    clipped: float
    used: float


@dataclass(frozen=True)
class Snippet:
    """The first output over some recordings, one after the other, float beside integers.

    Args:
        starts: frames at which a recording starts, from zero state.
        float_values: `[channels][frames]` of the float model.
        integer_values: the same of the files, dequantized.
    """

    starts: tuple[int, ...]
    float_values: tuple[tuple[float, ...], ...]
    integer_values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class FlowStep:
    """An operator of the float model that remembers something, or changes rate or delay.

    Args:
        path: module that called it.
        operator: name of the torch function.
        caches: names of its caches.
        rate: frames of its output per input frame, `"1"` or `"1/2"` say.
        delay: frames that its output trails the offline tensor.
    """

    path: str
    operator: str
    caches: tuple[str, ...]
    rate: str
    delay: int


@dataclass(frozen=True)
class ModuleEffect:
    """A module, and what its quantization alone does to the outputs.

    Args:
        module: its path, as `Quantization(int16=...)` takes it.
        noise: power of the noise at the outputs as a share of the signal's, where this module alone is quantized.
    """

    module: str
    noise: float


@dataclass(frozen=True)
class Analysis:
    """Noise of quantization, by layer and tensor.

    Args:
        layers: operators in the order of computation.
        tensors: tensors with a grid of their own, inputs and caches first.
        snippet: outputs to look at; None where the first output has no channels to draw.
        windows: windows that all this was measured on.
        flow: operators with state, rate or delay; empty for a hand-written streaming form.
    """

    layers: tuple[LayerNoise, ...]
    tensors: tuple[TensorRange, ...]
    snippet: Snippet | None
    windows: int
    flow: tuple[FlowStep, ...] = ()

    @property
    def worst(self) -> tuple[LayerNoise, ...]:
        """The layers, the one that adds most noise first."""
        return tuple(sorted(self.layers, key=lambda layer: float("inf") if layer.own_db is None else layer.own_db))

    @property
    def worst_tensors(self) -> tuple[TensorRange, ...]:
        """The tensors, those that clip most first, then those that leave most of their range unused."""
        return tuple(sorted(self.tensors, key=lambda tensor: (-tensor.clipped, tensor.used)))

    def to_report(self) -> dict[str, Any]:
        """The same as plain data, for `report.json`; what is worst by name."""
        layers, tensors = [layer.name for layer in self.worst], [tensor.name for tensor in self.worst_tensors]
        return {**asdict(self), "worst_layers": layers, "worst_tensors": tensors}

    def __str__(self) -> str:
        rows = [f"{'layer':48} {'type':10} bits   own dB  total dB"]
        rows += [
            f"{layer.module:48} {layer.type:10} {layer.bits:4} {_decibels(layer.own_db)} {_decibels(layer.total_db):>9}"
            for layer in self.layers
        ]
        return "\n".join(rows)


def _decibels(value: float | None) -> str:
    return "   exact" if value is None else f"{value:8.1f}"
