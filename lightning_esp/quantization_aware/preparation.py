"""The way from a module to its image: the export's own conversion, calibration and quantization, and its parameters in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lightning_esp.calibration import calibrate
from lightning_esp.config import Calibration, Quantization
from lightning_esp.conversion import (
    Recording,
    Recordings,
    StreamingModel,
    StreamSpec,
    as_named,
    copy_module,
    pad_frames,
    recording_frames,
)
from lightning_esp.errors import ConversionError, LightningEspError
from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.quantization import Exponents, QuantizedModel, Worker, quantize
from lightning_esp.quantization_aware.image import QuantizedImage
from lightning_esp.quantization_aware.parameters import Trained, find_parameters
from lightning_esp.quantization_aware.sources import make_unlike

# Converts a module, with the window of the export (None) or with another one.
Make = Callable[[nn.Module, int | None], StreamingModel]
# Frames of a window of the image: long ones save what windows have in common, and take memory.
_LONGEST, _MIXED = 256, 32


@dataclass(frozen=True)
class Preparation:
    """All that an image is made of; plain data, that can be kept in a checkpoint and sent to other processes.

    Args:
        quantized: the files.
        exponents: all exponents, for the export.
        trained: for each stage, its parameters and where they lie in the module.
    """

    quantized: QuantizedModel
    exponents: Exponents
    trained: tuple[Mapping[str, Trained], ...]

    def image(self, dtype: torch.dtype = torch.float32) -> QuantizedImage:
        """Make the image."""
        return QuantizedImage(self.quantized, self.trained, dtype)


def prepare(
    module: nn.Module,
    make: Make,
    recordings: Recordings,
    calibration: Calibration,
    quantization: Quantization,
    target: str,
    *,
    worker: Worker,
    exponents: Exponents | None = None,
) -> Preparation:
    """Quantize a module as an export does, and find its parameters in what comes of it.

    Args:
        module: what is exported, as it is now; left as it is.
        make: converts a module.
        recordings: calibrate it.
        calibration: how many of them.
        quantization: precision and method.
        target: the chip.
        worker: a running esp-ppq process.
        exponents: those that are fixed already; None: they are calibrated.

    Raises:
        LightningEspError: the module cannot be exported.
        ConversionError: a parameter that is trained reaches the files in a form that is not known.
        EspdlOperatorError: training has no form of an operator.
    """

    def as_files(
        network: nn.Module, window: int | None, fixed: Exponents | None
    ) -> tuple[StreamingModel, QuantizedModel]:
        model = make(network, window)
        seen = recordings if window is None else [_fill(model.spec, recording) for recording in recordings]
        samples = calibrate(model, seen, calibration)
        return model, quantize(model, samples, quantization, target, worker=worker, exponents=fixed)

    unlike = make_unlike(copy_module(module))
    if exponents is None:
        exponents = worker.call("read_exponents", as_files(module, None, None)[1].graph)
    window = _choose_window(make(module, None).spec, recordings)
    try:
        model, quantized = as_files(module, window, exponents)
    except LightningEspError:
        # Another window may be cut into other stages; that of the export is slower, and right.
        if window is None:
            raise
        window = None
        model, quantized = as_files(module, window, exponents)
    _, strange = as_files(unlike, window, None)
    names = [stage.name for stage in model.spec.stages]
    parameters = worker.call("read_parameters", strange.graph)
    trained = tuple(
        find_parameters(unlike, EspdlInterpreter(read_espdl(stage.data), target), parameters, names)
        for stage in strange.stages
    )
    _check_all(module, model, recordings[0], trained)
    preparation = Preparation(quantized, exponents, trained)
    preparation.image()
    return preparation


def _choose_window(spec: StreamSpec, recordings: Recordings) -> int | None:
    """Choose a window that computes many frames at once, and few that no recording has; None: that of the export."""
    if spec.clip is not None:
        # Its window is the hop from one decision to the next.
        return None
    lengths = {recording_frames(spec, recording) for recording in recordings}
    if len(lengths) > 1:
        return spec.window * max(1, _MIXED // spec.window)
    frames = spec.windows(lengths.pop()) * spec.window
    count = -(-frames // _LONGEST)
    return spec.window * -(-frames // (count * spec.window))


def _fill(spec: StreamSpec, recording: Recording) -> Recording:
    """Fill up a recording that is shorter than a window, which calibration would leave out."""
    if recording_frames(spec, recording) >= spec.window:
        return recording
    named = as_named(spec, recording)
    filled = {
        port.name: named[port.name]
        if port.time_axis is None
        else pad_frames(named[port.name], port.time_axis - 1, spec.window)
        for port in spec.inputs
    }
    return filled if isinstance(recording, Mapping) else filled[spec.inputs[0].name]


def _check_all(
    module: nn.Module, model: StreamingModel, recording: Recording, trained: tuple[Mapping[str, Trained], ...]
) -> None:
    """Refuse a module of which a parameter that an output depends on is in no file: a look-up table holds it."""
    reached = {id(t) for stage in trained for entry in stage.values() for t in entry.place.source.tensors(module)}
    lost = {name for name, value in module.named_parameters() if value.requires_grad and id(value) not in reached}
    lost &= _used(module, model, recording) if lost else set()
    if lost:
        first, *others = sorted(lost)
        raise ConversionError(
            f"quantization-aware training cannot follow the parameter {first!r}{f' and {len(others)} more' if others else ''} into "
            "the exported files, where a look-up table holds it. Freeze it, `parameter.requires_grad_(False)`, use a layer "
            "without it (ReLU in the place of PReLU), or train without EspQuantAwareTraining."
        )


def _used(module: nn.Module, model: StreamingModel, recording: Recording) -> set[str]:
    """Names of the parameters that an output depends on."""
    copied = copy_module(module).eval().requires_grad_(True)
    inputs = as_named(model.spec, recording)
    with torch.enable_grad():
        result = copied(*(inputs[port.name][None].clone() for port in model.spec.inputs))
        outputs = [v for v in tree_leaves(result) if isinstance(v, Tensor) and v.requires_grad]
        names, values = zip(*copied.named_parameters(), strict=True)
        found = torch.autograd.grad([value.sum() for value in outputs], values, allow_unused=True)
    return {name for name, gradient in zip(names, found, strict=True) if gradient is not None}
