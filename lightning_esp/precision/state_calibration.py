"""`compare_state_calibration`: what it costs to calibrate with caches of zeros, as windows that stand alone would have them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from lightning_esp.calibration import CalibrationSet
from lightning_esp.config import Quantization
from lightning_esp.conversion import Recordings, StreamingModel
from lightning_esp.precision.output_noise import decibels, measure_outputs, prepare_reference
from lightning_esp.quantization import QuantizedModel, Worker, quantize


@dataclass(frozen=True)
class CacheGrid:
    """The exponent of a cache, calibrated both ways; one step less is half the range.

    Args:
        name: of the cache.
        rolled: exponent where every window met the state that its recording had left.
        zero: exponent where every window met the initial state.
    """

    name: str
    rolled: int
    zero: int


@dataclass(frozen=True)
class StateCalibration:
    """The same model calibrated with rolled states and with the initial ones.

    Args:
        rolled_db: signal-to-noise ratio of the noisiest output with rolled states; None: exact.
        zero_db: the same with initial states.
        caches: both exponents of each cache.
    """

    rolled_db: float | None
    zero_db: float | None
    caches: tuple[CacheGrid, ...]

    def to_report(self) -> dict[str, Any]:
        """The same as plain data, for `report.json`."""
        return asdict(self)


def compare_state_calibration(
    model: StreamingModel,
    samples: CalibrationSet,
    quantized: QuantizedModel,
    recordings: Recordings,
    quantization: Quantization | None = None,
    *,
    worker: Worker | None = None,
) -> StateCalibration:
    """Quantize once more, with the same windows but every cache at its start value, and compare.

    Args:
        model: the float model.
        samples: what `quantized` was calibrated with: windows and the states that they met.
        quantized: what `quantize` made of both.
        recordings: whole recordings without batch dimension, to measure on.
        quantization: how `quantized` was made.
        worker: a running esp-ppq process; one is started and ended where none is given.

    Raises:
        DataError: the recordings do not fit the model.
    """
    start = {cache.name: cache.initial for cache in model.spec.caches}
    values = {name: torch.full_like(v, start[name]) if name in start else v for name, v in samples.values.items()}
    reference = prepare_reference(model, recordings)
    with nullcontext(worker) if worker is not None else Worker() as running:
        other = quantize(model, replace(samples, values=values), quantization, quantized.target, worker=running)
        rolled, zero = (
            decibels(max(measure_outputs(found, reference, running).values())) for found in (quantized, other)
        )
    grids = tuple(CacheGrid(n, quantized.caches[n].exponent, other.caches[n].exponent) for n in start)
    return StateCalibration(rolled, zero, grids)
