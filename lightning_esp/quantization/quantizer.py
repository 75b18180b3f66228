"""`quantize`: a streaming model and its calibration set become `.espdl` files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import cast

from lightning_esp.calibration import CalibrationSet
from lightning_esp.chips import check_target
from lightning_esp.config import Quantization
from lightning_esp.conversion import Cache, Stage, StreamingModel, StreamSpec
from lightning_esp.errors import ConfigurationError, QuantizationError
from lightning_esp.espdl import EspdlModel, read_espdl
from lightning_esp.options import check_arguments
from lightning_esp.quantization.estimation import estimate
from lightning_esp.quantization.job import Exponents, ExportedStage, Job, StageNames
from lightning_esp.quantization.onnx_graph import graph_inputs, module_path, to_onnx
from lightning_esp.quantization.process import Worker
from lightning_esp.quantization.quantized_model import (
    CacheInfo,
    DType,
    QuantizedModel,
    StageFile,
    TensorInfo,
    find_wiring_faults,
)
from lightning_esp.quantization.values import quantize_start
from lightning_esp.versions import check_versions


def quantize(
    model: StreamingModel,
    calibration_set: CalibrationSet,
    quantization: Quantization | None = None,
    target: str = "esp32s3",
    *,
    worker: Worker | None = None,
    exponents: Exponents | None = None,
) -> QuantizedModel:
    """Quantize a streaming model for one chip.

    The whole model is quantized as one graph and cut into its stages afterwards, so that the stages compute what the
    uncut model computes.

    Args:
        model: the streaming model, float32.
        calibration_set: windows with the states that they meet.
        quantization: precision and method.
        target: the chip, one of `chips.TARGETS`.
        worker: a running esp-ppq process to use; one is started and ended where none is given.
        exponents: exponents to use in the place of calibrated ones, as `Worker.call("read_exponents", quantized.graph)` tells
            those of another quantization of the same network. Parameters beyond them are clipped.

    Raises:
        QuantizationError: esp-ppq reported an error; the message names operator and module.
        ConversionError: the streaming form cannot be written as ONNX.
        UnknownTargetError: no such chip.
        ConfigurationError: the precision is `"auto"`, which `export` alone can choose.
    """
    check_arguments(quantize, model=model, calibration_set=calibration_set, quantization=quantization, worker=worker)
    check_target(target)
    check_versions()
    quantization = quantization or Quantization()
    if quantization.precision == "auto":
        raise ConfigurationError(
            "quantize(quantization=Quantization(precision='auto')) cannot choose: that takes the proofs, so `export` does it. "
            "Give 'int8' or 'int16' here."
        )
    job = replace(_job(model, calibration_set, quantization, target), exponents=dict(exponents or {}))
    try:
        if worker is not None:
            graph, stages = worker.call("quantize", job)
        else:
            with Worker() as own:
                graph, stages = own.call("quantize", job)
    except QuantizationError as error:
        raise QuantizationError(with_modules(str(error), model.spec)) from error
    files = tuple(_stage_file(stage, exported) for stage, exported in zip(model.spec.stages, stages, strict=True))
    for fault in find_wiring_faults(model.spec, files):
        raise QuantizationError(fault)
    return QuantizedModel(
        target=target,
        precision=quantization.precision,
        spec=model.spec,
        stages=files,
        versions={name: version(name) for name in ("esp-ppq", "torch", "onnx", "lightning-esp")},
        graph=graph,
        estimate=estimate(target, model.spec, files),
    )


def _job(model: StreamingModel, calibration_set: CalibrationSet, quantization: Quantization, target: str) -> Job:
    spec = model.spec
    stages = tuple(
        StageNames(s.name, s.input_names, s.output_names, tuple((c.name, c.next) for c in s.caches))
        for s in spec.stages
    )
    return Job(
        onnx=to_onnx(model),
        shapes=graph_inputs(spec),
        samples={name: values.numpy() for name, values in calibration_set.values.items()},
        stages=stages,
        target=target,
        precision=quantization.precision,
        method=quantization.method,
        int16=tuple(quantization.int16),
        equalization=quantization.equalization,
        refinement=quantization.refinement,
        cache_form=spec.cache_form,
        initial={cache.name: cache.initial for cache in spec.caches},
    )


def with_modules(message: str, spec: StreamSpec) -> str:
    """Add the module path behind a message that names operators as torch does."""
    operators = sorted({word.strip("'\"(),:[]") for word in message.split() if "/stages." in word}, key=len)
    found = []
    for operator in operators:
        name = operator[operator.index("/stages.") :].split("(")[0]
        module = module_path(name, [stage.name for stage in spec.stages])
        found.append(f"{name} comes from module {module!r}")
    if not found:
        return message
    head, *trace = message.split("\n")
    return "\n".join([head, f"{'; '.join(dict.fromkeys(found))}. Replace it by layers that ESP-DL has.", *trace])


def _stage_file(stage: Stage, exported: ExportedStage) -> StageFile:
    file, layouts = read_espdl(exported.data), exported.layouts
    native = {
        c.name: TensorInfo(c.name, c.shape, cast("DType", c.dtype), c.exponent, c.layout, None) for c in exported.native
    }
    return StageFile(
        name=stage.name,
        data=exported.data,
        inputs=tuple(_tensor(file, port.name, layouts, port.time_axis) for port in stage.inputs),
        outputs=tuple(_tensor(file, port.name, layouts, port.time_axis) for port in stage.outputs),
        caches=tuple(_cache(stage, cache, file, layouts) for cache in stage.caches if cache.name not in native),
        native_caches=tuple(native.values()),
        operators=tuple(sorted({operator.type for operator in file.operators})),
    )


def _cache(stage: Stage, cache: Cache, file: EspdlModel, layouts: Mapping[str, tuple[int, ...]]) -> CacheInfo:
    tensor = _tensor(file, cache.name, layouts, None)
    after = _tensor(file, cache.next, layouts, None)
    if replace(tensor, name="") != replace(after, name=""):
        raise QuantizationError(
            f"stage {stage.name!r}: cache {cache.name!r} enters as {tensor} but leaves as {after}; the loop would feed "
            "back something else than it was given."
        )
    return CacheInfo(tensor, cache.next, quantize_start(cache.initial, tensor))


def _tensor(file: EspdlModel, name: str, layouts: Mapping[str, tuple[int, ...]], time_axis: int | None) -> TensorInfo:
    if name not in file.tensors:
        raise QuantizationError(
            f"esp-ppq joined tensor {name!r} with its neighbours and left it out of the file, though it crosses the file's "
            "boundary. Choose other stages, Streaming(stages=...), and report the model."
        )
    tensor, layout = file.tensors[name], layouts[name]
    if not isinstance(tensor.exponent, int):
        raise QuantizationError(f"tensor {name!r} has an exponent per channel, but it crosses a file boundary.")
    axis = None if time_axis is None else layout.index(time_axis)
    return TensorInfo(name, tensor.shape, cast("DType", str(tensor.dtype)), tensor.exponent, layout, axis)
