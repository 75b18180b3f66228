"""A module on its whole way to integers with every proof, and what the integers cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.conversion import Recording
from lightning_esp.conversion.axes import settle_time
from lightning_esp.conversion.clip_offline import check_clips
from lightning_esp.conversion.example import as_example
from lightning_esp.quantization import Worker
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification.verify import verify

# Nothing in the tests is trained, and clipping would hide what they look for.
KEEP_RANGE = Quantization(method="percentile")


def prove(
    module: nn.Module,
    recordings: Sequence[Recording],
    worker: Worker,
    streaming: Streaming | None = None,
    least_decibels: float = 12.0,
    quantization: Quantization = KEEP_RANGE,
    target: str = "esp32s3",
) -> QuantizedModel:
    """All proofs but that of the task, and that the integers are near the float model."""
    # As an export does, with what the lengths of the recordings tell.
    options = settle_time(module, recordings, streaming or Streaming())
    model = convert(module, as_example(module, recordings[0]), options)
    check_clips(model.spec, recordings, options.clip)
    quantized = quantize(model, calibrate(model, recordings), quantization, target, worker=worker)
    result = verify(module, model, quantized, recordings, worker=worker)
    assert all(proof.passed for proof in result.proofs)
    assert ratio(module, quantized, recordings[0]) >= least_decibels
    return quantized


def batched(recording: Recording) -> dict[str, Tensor]:
    named = {"x": recording} if isinstance(recording, Tensor) else recording
    return {name: value.unsqueeze(0) for name, value in named.items()}


def as_tuple(values: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    if isinstance(values, Tensor):
        return (values,)
    return tuple(values.values() if isinstance(values, Mapping) else values)


def ratio(module: nn.Module, quantized: QuantizedModel, recording: Recording) -> float:
    """Signal to noise in decibels, of the output where it is worst; the flushed end of a look-ahead aside."""
    named = batched(recording)
    if quantized.spec.clip is not None:
        # A head that squeezes takes a batch of one for an axis to drop.
        named = {name: torch.cat([value, value]) for name, value in named.items()}
    with torch.no_grad():
        offline = as_tuple(module(*named.values()))
        streamed = as_tuple(QuantizedStreaming(quantized, structured=True)(*named.values()))
    found = []
    for port, a, b in zip(quantized.spec.outputs, offline, streamed, strict=True):
        assert a.shape == b.shape
        if quantized.spec.clip is None:
            axis = port.time_axis or 0
            kept = a.shape[axis] - quantized.spec.delay
            a, b = a.narrow(axis, 0, kept), b.narrow(axis, 0, kept)
        found.append(float(10 * torch.log10(a.square().mean() / (a - b).square().mean())))
    return min(found)
