"""The way from a module to its image: the export's own conversion, calibration and quantization, and its parameters in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lightning_esp.calibration import calibrate
from lightning_esp.config import Calibration, Quantization
from lightning_esp.conversion import Recording, Recordings, StreamingModel, as_named, copy_module
from lightning_esp.errors import ConversionError
from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.quantization import Exponents, QuantizedModel, Worker, quantize
from lightning_esp.quantization_aware.image import QuantizedImage
from lightning_esp.quantization_aware.parameters import Trained, find_parameters
from lightning_esp.quantization_aware.sources import make_unlike

Make = Callable[[nn.Module], StreamingModel]


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
    unlike = make_unlike(copy_module(module))
    model, other = make(module), make(unlike)
    quantized, strange = (
        quantize(form, calibrate(form, recordings, calibration), quantization, target, worker=worker, exponents=fixed)
        for form, fixed in ((model, exponents), (other, None))
    )
    names = [stage.name for stage in model.spec.stages]
    parameters = worker.call("read_parameters", strange.graph)
    trained = tuple(
        find_parameters(unlike, EspdlInterpreter(read_espdl(stage.data), target), parameters, names)
        for stage in strange.stages
    )
    _check_all(module, model, recordings[0], trained)
    found = worker.call("read_exponents", quantized.graph)
    preparation = Preparation(quantized, found, trained)
    preparation.image()
    return preparation


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
