"""`QuantizedImage`: the integers of a chip, computed in torch from the user's module, with gradients to its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.conversion import Port, count_frames, pad_frames
from lightning_esp.errors import DataError
from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.quantization import QuantizedModel, TensorInfo
from lightning_esp.quantization_aware.file_graph import FileGraph
from lightning_esp.quantization_aware.parameters import Trained, evaluate
from lightning_esp.quantization_aware.rounding import Rounding, rounding_of, substitute


class QuantizedImage:
    """Computes what the files of a quantized model compute, whole recordings at once, with the weights of a module.

    It is no nn.Module: it has no parameters of its own, and appears in no state dict.

    Args:
        quantized: the files: operators, exponents and tables.
        trained: for each stage, the parameters that come from the module, by tensor name.
        dtype: float32, or float64, in which sums of int16 products are exact too.

    Raises:
        EspdlOperatorError: training has no form of an operator.
    """

    def __init__(
        self,
        quantized: QuantizedModel,
        trained: tuple[Mapping[str, Trained], ...],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.quantized, self.trained, self.dtype = quantized, trained, dtype
        self.files = [EspdlInterpreter(read_espdl(stage.data), quantized.target) for stage in quantized.stages]
        self.graphs = [
            FileGraph(file, stage.feedback) for file, stage in zip(self.files, quantized.stages, strict=True)
        ]
        self._constants: dict[torch.device, list[dict[str, Tensor]]] = {}

    def run(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Run a batch of recordings from their initial state.

        Args:
            module: the user's, whose parameters are used as they are now.
            inputs: `[batch, ...]` in torch's layout, by input name.

        Returns:
            Each output of the model, dequantized, in the offline shape.
        """
        spec = self.quantized.spec
        frames = count_frames(spec, dict(inputs))
        device = next(iter(inputs.values())).device
        values = self._stack(inputs, spec.windows(frames))
        for index, stage in enumerate(self.quantized.stages):
            parameters = self._constants_on(device)[index] | evaluate(
                module, self.files[index], self.trained[index], self.dtype
            )
            batch = len(next(iter(values.values())))
            caches = {
                cache.tensor.name: torch.full(
                    (batch, *cache.tensor.shape), cache.initial, dtype=self.dtype, device=device
                )
                for cache in stage.caches
            }
            given = {tensor.name: values[tensor.name] for tensor in stage.inputs}
            values |= self.graphs[index].run(given, caches, parameters)
        return tuple(self._join(values, port, frames) for port in spec.outputs)

    def _constants_on(self, device: torch.device) -> list[dict[str, Tensor]]:
        if device not in self._constants:
            self._constants[device] = [
                {
                    name: torch.from_numpy(np.asarray(value, np.float64)).to(device=device, dtype=self.dtype)
                    for name, value in file.constants.items()
                    if name not in trained and value.dtype.kind in "iuf"
                }
                for file, trained in zip(self.files, self.trained, strict=True)
            ]
        return self._constants[device]

    def _stack(self, inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Cut recordings into windows and quantize them: `[batch, windows, *shape in the file]`."""
        found = {}
        for port in self.quantized.spec.inputs:
            tensor = self.quantized.inputs[port.name]
            windows = _windows(port, inputs[port.name].to(self.dtype), count)
            turned = windows.permute(0, 1, *(axis + 1 for axis in tensor.layout[1:])).unsqueeze(2)
            found[port.name] = _quantize(turned, tensor, rounding_of(self.quantized.target))
        return found

    def _join(self, values: Mapping[str, Tensor], port: Port, frames: int) -> Tensor:
        """Dequantize an output and lay its windows in a row."""
        spec, tensor, axis = self.quantized.spec, self.quantized.outputs[port.name], port.time_axis
        assert axis is not None
        found = values[port.name] * (1.0 if tensor.dtype == "float32" else 2.0**tensor.exponent)
        # `[batch, windows, 1, ...]`, and torch's axes behind the windows.
        back = np.argsort(tensor.layout)
        turned = found.squeeze(2).permute(0, 1, *(int(place) + 1 for place in back[1:]))
        whole = turned.movedim(1, axis).flatten(axis, axis + 1)
        return whole.narrow(axis, spec.output_delay(port), spec.output_frames(port, frames))


def _windows(port: Port, values: Tensor, count: int) -> Tensor:
    """Cut `[batch, ...]` into `[batch, windows, ...]`."""
    axis = port.time_axis
    if axis is None:
        return values.unsqueeze(1).expand(-1, count, *values.shape[1:])
    padded = pad_frames(values, axis, count * port.frames)
    shape = (*padded.shape[:axis], count, port.frames, *padded.shape[axis + 1 :])
    return padded.reshape(shape).movedim(axis, 1)


def _quantize(values: Tensor, tensor: TensorInfo, chip: Rounding) -> Tensor:
    if tensor.dtype == "float32":
        return values
    limits = np.iinfo(tensor.dtype)
    scaled = torch.ldexp(values, torch.tensor(-tensor.exponent, device=values.device))
    exact = (scaled.float().round() if chip.half_even else (scaled.float() + 0.5).floor()).to(values.dtype)
    smooth = scaled.clamp(int(limits.min) - 0.5, int(limits.max) + 0.5)
    return substitute(smooth, exact.clamp(int(limits.min), int(limits.max)))


class QuantizedForward:
    """Takes the place of a module's `forward`.

    Args:
        image: what it computes.
        module: the user's module.
    """

    def __init__(self, image: QuantizedImage, module: nn.Module, rearrange: Any = None) -> None:
        self.image, self.module, self.rearrange = image, module, rearrange
        self.calls = 0

    def __call__(self, *arguments: Tensor, **named: Tensor) -> Any:
        """Return what the module's own forward does, computed as on the chip.

        Raises:
            DataError: the recordings are shorter than the clips that the model decides on.
        """
        self.calls += 1
        spec = self.image.quantized.spec
        if self.rearrange is not None:
            arguments, named = (self.rearrange((*arguments, *named.values())[0]),), {}
        inputs = dict(zip((port.name for port in spec.inputs), arguments, strict=False)) | named
        device = next(iter(inputs.values())).device
        with torch.autocast(device.type, enabled=False):
            found = self.image.run(self.module, inputs)
        if spec.clip is not None:
            if found[0].shape[-1] == 0:
                raise DataError(
                    f"a recording is shorter than the {spec.clip.frames} frames that the model decides on; train on clips of that "
                    "length, or export with a shorter Streaming(clip=...)."
                )
            found = tuple(value[..., -1] for value in found)
        if spec.structure is not None:
            return spec.structure.fill(found)
        return found[0] if len(found) == 1 else found
