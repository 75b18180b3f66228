"""A case of `contracts` on its whole way to integers."""

from dataclasses import dataclass, replace

from torch import nn

from lightning_esp import Quantization, QuantizedModel, StreamingModel, calibrate, convert, quantize
from lightning_esp.calibration import CalibrationSet
from lightning_esp.conversion import Recordings
from lightning_esp.quantization import Worker
from tests.models.contracts import CASES


@dataclass(frozen=True)
class Built:
    """All that the verbs made of a case."""

    module: nn.Module
    recordings: Recordings
    model: StreamingModel
    samples: CalibrationSet
    quantized: QuantizedModel


def build_case(name: str, precision: str, target: str, caches: str, worker: Worker) -> Built:
    case = CASES[name]
    module, recordings = case.module(), case.recordings(40, 41, 24, 7)
    model = convert(module, recordings[0], replace(case.streaming, caches=caches))  # type: ignore[arg-type]
    samples = calibrate(model, recordings)
    quantized = quantize(model, samples, Quantization(precision=precision), target, worker=worker)  # type: ignore[arg-type]
    return Built(module, recordings, model, samples, quantized)
