"""Tolerance of a chip against the golden windows behind a GRU or LSTM.

Gates are float32. ESP-DL is compiled with `-ffast-math`, and chips with a fused multiply-add round a sum of products once
where others round twice: its last bit differs, and next to a tie the state then ends one step off. In a convolution such
a step would be gone a receptive field later; a recurrent state carries it on, so that two right chips drift apart by
single steps. The firmware therefore compares each window from the host's state, and allows what is found here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_esp.espdl import EspdlInterpreter, EspdlModel, read_espdl
from lightning_esp.quantization import Array, QuantizedModel
from lightning_esp.simulation import IntegerPipeline

RECURRENT = ("GRU", "LSTM")

# Fused arithmetic moves a sum by about 1e-7 of its size, 1e-5 of a step for int8 and 4e-3 for int16.
TIE_MARGIN = 1 / 128


def measure_tolerances(
    quantized: QuantizedModel, windows: Sequence[Mapping[str, Array]], results: Sequence[Mapping[str, Array]]
) -> dict[str, int]:
    """Find by how many steps the tensors behind a GRU or LSTM may differ within a window.

    The windows run once more, each from the caches of the exact run, with all float32 sums within `TIE_MARGIN` of a tie
    rounded the other way: hundreds of times as many as fused arithmetic turns.

    Args:
        quantized: the model.
        windows: integer inputs of consecutive windows, batch in front.
        results: outputs and new caches that the files give for them.

    Returns:
        Steps by the name of each output and cache that is behind a recurrent layer, 1 or more; empty without such layers.
    """
    files = [read_espdl(stage.data) for stage in quantized.stages]
    names = _reached(quantized, files)
    if not names:
        return {}
    streams = [EspdlInterpreter(file, quantized.target, tie_margin=TIE_MARGIN) for file in files]
    pipeline = IntegerPipeline(quantized.stages, streams)
    after = quantized.feedback
    state = pipeline.initial_state(len(next(iter(windows[0].values()))))
    found = dict.fromkeys(names, 1)
    for window, exact in zip(windows, results, strict=True):
        outputs, state = pipeline.step(window, state)
        state |= {cache: exact[new] for cache, new in after.items()}
        for name in names:
            value = after.get(name, name)
            gap = np.abs(outputs[value].astype(np.int64) - exact[value].astype(np.int64))
            found[name] = max(found[name], int(gap.max()))
    return found


def _reached(quantized: QuantizedModel, files: Sequence[EspdlModel]) -> tuple[str, ...]:
    """Names of the integer outputs and explicit caches that depend on a recurrent layer within a window."""
    behind = set[str]()
    for file in files:
        for operator in file.operators:
            if operator.type in RECURRENT or behind & set(operator.inputs):
                behind |= set(operator.outputs)
    outputs = (name for name, tensor in quantized.outputs.items() if name in behind and tensor.dtype != "float32")
    return (*outputs, *(cache for cache, new in quantized.feedback.items() if new in behind))
