"""`estimate`: what the files of a model will cost on their chip, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from lightning_esp.conversion import StreamSpec
from lightning_esp.cost import Estimate, StageEstimate, chip_of, estimate_stage
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization.onnx_graph import module_path
from lightning_esp.quantization.quantized_model import StageFile, TensorInfo


def estimate(target: str, spec: StreamSpec, files: Sequence[StageFile]) -> Estimate:
    """Estimate time and memory of the files of a model.

    Args:
        target: the chip.
        spec: the outside of the model.
        files: its stages.
    """
    chip = chip_of(target)
    tensors = {tensor.name: tensor for file in files for tensor in file.inputs}
    # The pipeline keeps the window that the stages read and the one that is being filled.
    buffers = 2 * sum(_bytes(tensors[port.name]) for port in spec.inputs)
    names = [stage.name for stage in spec.stages]
    stages = tuple(_stage(target, file, names) for file in files)
    return Estimate(target, stages, buffers, chip.error if chip else None)


def _stage(target: str, file: StageFile, names: Sequence[str]) -> StageEstimate:
    model = read_espdl(file.data)
    copies = sum(_bytes(tensor) for tensor in (*file.outputs, *(cache.tensor for cache in file.caches)))
    modules = {operator.name: module_path(operator.name, names) for operator in model.operators}
    return estimate_stage(target, file.name, model, len(file.data), copies, modules)


def _bytes(tensor: TensorInfo) -> int:
    return prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
