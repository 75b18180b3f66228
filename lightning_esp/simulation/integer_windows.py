"""Recordings as stacks of integer windows, and back.

A stack holds all windows of a batch of recordings in one array, `[batch, windows, ...]`, so that a long recording of
short windows costs a few array operations and not some for each window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_esp.conversion import Port, Values, count_frames, pad_frames
from lightning_esp.quantization import Array, QuantizedModel, TensorInfo, dequantize_values, quantize_values


def stack_windows(quantized: QuantizedModel, inputs: Values, count: int | None = None) -> dict[str, Array]:
    """Cut a batch of recordings into windows and quantize them as the firmware does.

    Args:
        quantized: the model.
        inputs: `[batch, ...]` in torch's layout, by input name.
        count: windows to cut; None: as many as fill up the last window and flush the delay.

    Returns:
        Integers in the layout of the files, `[batch, windows, ...]` by input name; zero frames fill up the last windows.
    """
    spec = quantized.spec
    count = spec.windows(count_frames(spec, inputs)) if count is None else count
    return {
        port.name: _quantize(_stack(port, inputs[port.name], count), quantized.inputs[port.name], quantized.target)
        for port in spec.inputs
    }


def _stack(port: Port, values: Tensor, count: int) -> Tensor:
    axis = port.time_axis
    if axis is None:
        return values.unsqueeze(1).expand(-1, count, *values.shape[1:])
    padded = pad_frames(values, axis, count * port.frames)
    return _divide(padded, axis, (count, port.frames)).movedim(axis, 1)


def _quantize(stack: Tensor, tensor: TensorInfo, target: str) -> Array:
    flat = quantize_values(stack.flatten(0, 1).numpy(), tensor, target)
    return flat.reshape(*stack.shape[:2], *flat.shape[1:])


def join_stack(quantized: QuantizedModel, outputs: Mapping[str, Array], frames: int) -> Values:
    """Dequantize the outputs of all windows, join them, and cut them to the offline shape.

    Args:
        quantized: the model.
        outputs: integers in the layout of the files, `[batch, windows, ...]`, at least of every model output.
        frames: input frames of the recordings.

    Returns:
        float32 in torch's layout, `[batch, ...]` by output name.
    """
    spec = quantized.spec
    joined: Values = {}
    for port in spec.outputs:
        assert port.time_axis is not None
        whole = _join(outputs[port.name], quantized.outputs[port.name], port.time_axis)
        joined[port.name] = whole.narrow(port.time_axis, spec.output_delay(port), spec.output_frames(port, frames))
    return joined


def join_windows(quantized: QuantizedModel, windows: Sequence[Mapping[str, Array]], batch: int) -> Values:
    """Dequantize and join the outputs of consecutive windows as they came, all frames of all.

    Args:
        quantized: the model.
        windows: `[batch, ...]` by name, at least of every model output; perhaps none.
        batch: size of the batch.

    Returns:
        float32 in torch's layout, `[batch, ...]` by output name.
    """
    joined: Values = {}
    for port in quantized.spec.outputs:
        assert port.time_axis is not None
        if windows:
            stack = np.stack([outputs[port.name] for outputs in windows], axis=1)
            joined[port.name] = _join(stack, quantized.outputs[port.name], port.time_axis)
        else:
            joined[port.name] = torch.zeros(batch, *port.shape[1:]).narrow(port.time_axis, 0, 0)
    return joined


def _join(stack: Array, tensor: TensorInfo, axis: int) -> Tensor:
    flat = torch.from_numpy(dequantize_values(stack.reshape(-1, *stack.shape[2:]), tensor))
    return _divide(flat, 0, stack.shape[:2]).movedim(1, axis).flatten(axis, axis + 1)


def _divide(values: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """Make several axes of one."""
    return values.reshape(*values.shape[:axis], *sizes, *values.shape[axis + 1 :])


def split_stack(stack: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The windows of a stack one by one, `[batch, ...]` by name."""
    count = next(iter(stack.values())).shape[1]
    return [{name: np.ascontiguousarray(values[:, index]) for name, values in stack.items()} for index in range(count)]


def integer_windows(quantized: QuantizedModel, inputs: Values) -> list[dict[str, Array]]:
    """Quantize a batch of recordings and cut it into windows in the layout of the files.

    Args:
        quantized: the model.
        inputs: `[batch, ...]` in torch's layout, by input name.
    """
    return split_stack(stack_windows(quantized, inputs))
