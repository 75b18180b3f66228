"""Noise of quantization at each operator and tensor of a graph, as numbers; importing it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorNoise:
    """One operator on windows of recordings.

    Args:
        name: its name in the graph.
        type: its ONNX type.
        bits: width of its output.
        signal: sum of the squares of its float output.
        own: of the noise that it adds where its inputs are exact.
        total: of the difference to the float graph, both streamed in closed loop.
    """

    name: str
    type: str
    bits: int
    signal: float
    own: float
    total: float


@dataclass(frozen=True)
class TensorUse:
    """Integer range of a tensor, and how much of it is used.

    Args:
        name: its name in the graph.
        bits: its width.
        exponent: value = integer x 2^exponent.
        values: values that were seen.
        clipped: how many of them lay outside.
        peak: the largest magnitude as a share of the largest integer; above 1 where values were clipped.
    """

    name: str
    bits: int
    exponent: int
    values: int
    clipped: int
    peak: float


@dataclass(frozen=True)
class NoiseFigures:
    """Every operator and tensor in the order of computation."""

    operators: tuple[OperatorNoise, ...]
    tensors: tuple[TensorUse, ...]
