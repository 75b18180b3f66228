"""`simulate`: what the chip computes, from the files of a bundle."""

from __future__ import annotations

from os import PathLike

from torch import Tensor

from lightning_esp.bundle.model import Bundle
from lightning_esp.bundle.reader import read_bundle, read_model
from lightning_esp.integers import (
    IntegerPipeline,
    IntegerRecorder,
    QuantizedStreaming,
    integer_windows,
    interpret,
)
from lightning_esp.streaming.model import Recording
from lightning_esp.streaming.recordings import check_recordings

__all__ = ["IntegerPipeline", "IntegerRecorder", "QuantizedStreaming", "integer_windows", "interpret", "simulate"]


def simulate(
    bundle: Bundle | str | PathLike[str], recording: Recording, target: str | None = None
) -> Tensor | tuple[Tensor, ...]:
    """Compute what the chip computes, from the files of a bundle.

    Args:
        bundle: a bundle, or its directory.
        recording: what the exported module takes, without batch dimension, or one such tensor per input by name.
        target: which chip; None for the only one, or the first.

    Returns:
        The dequantized output (a tuple where the model has several) without batch dimension, in the offline shape.

    Raises:
        BundleError: the bundle was changed after the export, or holds no model for `target`.
    """
    quantized = read_model(bundle if isinstance(bundle, Bundle) else read_bundle(bundle), target)
    ((values, _),) = check_recordings(quantized.spec, [recording])
    output = QuantizedStreaming(quantized)(**values)
    return output[0] if isinstance(output, Tensor) else tuple(value[0] for value in output)
