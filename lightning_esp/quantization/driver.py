"""Body of the worker: calls into esp-ppq, and nothing else.

Arguments and results are plain Python, numpy and bytes, since they cross a pipe.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import esp_ppq.lib as PFL
import onnx
import torch
from esp_ppq.api.espdl_interface import get_target_platform
from esp_ppq.api.interface import dispatch_graph, load_onnx_graph
from esp_ppq.api.setting import QuantizationSetting, QuantizationSettingFactory
from esp_ppq.core import TargetPlatform
from esp_ppq.executor import TorchExecutor
from esp_ppq.IR import BaseGraph, QuantableOperation
from esp_ppq.log.logger import initialized_loggers
from esp_ppq.parser.espdl.espdl_typedef import ExporterPatternInfo
from esp_ppq.parser.espdl_exporter import EspdlExporter
from esp_ppq.quantization.optim import (
    PassiveParameterQuantizePass,
    QuantAlignmentPass,
    QuantizationOptimizationPipeline,
)

from lightning_esp.errors import QuantizationError
from lightning_esp.espdl import BLANK, seal
from lightning_esp.espdl import KEY as DIGEST
from lightning_esp.quantization.batches import takes_batches
from lightning_esp.quantization.closed_loop import run
from lightning_esp.quantization.equalization import equalize
from lightning_esp.quantization.exponents import FixedExponentsPass, read_exponents, read_parameters
from lightning_esp.quantization.fitting import check_parameters
from lightning_esp.quantization.floating import compute_float, find_first_difference
from lightning_esp.quantization.job import ExportedStage, Job, Layout, NativeCache, StageNames
from lightning_esp.quantization.layouts import own_constants, preferred, strip_constants, turn_constants
from lightning_esp.quantization.measurement import measure_effects, measure_noise
from lightning_esp.quantization.memory import keep_values
from lightning_esp.quantization.native import lower
from lightning_esp.quantization.norms import use_norms
from lightning_esp.quantization.observers import joined, keep_ranges
from lightning_esp.quantization.onnx_graph import module_path
from lightning_esp.quantization.operands import OperandPass
from lightning_esp.quantization.operators import check_operators
from lightning_esp.quantization.packing import mark_packed, pack_products
from lightning_esp.quantization.recurrent import allow_zero_states, cell_operations, use_tables
from lightning_esp.quantization.refinement import RefinementPass, choose_batches
from lightning_esp.quantization.rewrites import keep_outputs, rewrite
from lightning_esp.quantization.rewrites.resizes import repeat_by_kernels
from lightning_esp.quantization.rewrites.tables import tabulate
from lightning_esp.quantization.simplification import change_stages, simplified
from lightning_esp.quantization.surgery import cut, dump_graph, load_graph
from lightning_esp.quantization.tables import use_functions
from lightning_esp.quantization.ties import TiePass
from lightning_esp.quantization.transposes import keep_apart

BATCH = 64

# What the worker can be asked for.
__all__ = [
    "compute_float",
    "find_first_difference",
    "measure_effects",
    "measure_noise",
    "quantize",
    "read_exponents",
    "read_parameters",
    "run",
]

torch.set_num_threads(1)
use_tables()
allow_zero_states()
use_functions()
use_norms()
keep_apart()


@contextmanager
def _errors_raised(what: str) -> Iterator[None]:
    # esp-ppq logs an error and writes the file all the same, so every error line becomes an exception.
    log = io.StringIO()
    for logger in initialized_loggers.values():
        for handler in logger._handlers.values():
            handler._fd = log
    try:
        with redirect_stdout(log):
            yield
    except Exception as error:
        # The line says more than the exception that follows from it.
        _raise_errors(log.getvalue(), what, error)
        raise
    _raise_errors(log.getvalue(), what, None)


def _raise_errors(log: str, what: str, cause: Exception | None) -> None:
    lines = re.findall(r"\[ERROR\][^\r\n]*", re.sub(r"\x1b\[[0-9;]*m", "", log))
    if lines:
        texts = [re.sub(r"^(\[[^\]]*\])+:\s*", "", line).strip() for line in lines]
        raise QuantizationError(f"esp-ppq reported {len(texts)} error(s) while {what}: {'; '.join(texts)}.") from cause


def _setting(job: Job) -> QuantizationSetting:
    setting = QuantizationSettingFactory.espdl_setting(num_of_bits=16 if job.precision == "int16" else 8)
    # Weights are known to the last one: a percentile, which esp-ppq takes for them, clips the largest without a word.
    setting.quantize_parameter_setting.calib_algorithm = "minmax"
    # It would become an operator that the pinned ESP-DL does not have.
    setting.espdl_attention_fusion = False
    if job.precision == "int8":
        setting.quantize_activation_setting.calib_algorithm = job.method
    return setting


def _platform(job: Job, precision: str) -> Any:
    # `debug` makes esp-ppq simulate int16 in double precision, which is closer to what ESP-DL computes.
    return get_target_platform(job.target, {"int8": "w8a8", "int16": "w16a16"}[precision], debug=precision == "int16")


def _load(job: Job) -> BaseGraph:
    def is_wide(name: str) -> bool:
        module = module_path(name, [stage.name for stage in job.stages])
        return job.precision == "int16" or f"{module}.".startswith(tuple(f"{path}." for path in job.int16))

    model = change_stages(
        onnx.load_from_string(job.onnx), simplified, lambda stage: repeat_by_kernels(stage, is_wide), rewrite
    )
    if job.precision == "int8":
        model = tabulate(model, is_wide)
    strip_constants(model)
    keep_outputs(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return load_onnx_graph(onnx_import_file=str(path))


def _together(job: Job) -> int:
    """Return the batch size of a percentile: esp-ppq averages it over such batches, and asks for 8 of them."""
    return max(1, min(BATCH, len(next(iter(job.samples.values()))) // 8))


def _batches(job: Job, size: int) -> list[dict[str, torch.Tensor]]:
    tensors = {name: torch.from_numpy(values) for name, values in job.samples.items()}
    count = len(next(iter(tensors.values())))
    batches = [{n: v[i : i + size] for n, v in tensors.items()} for i in range(0, count, size)]
    # It refuses less than 2.
    return batches if len(batches) > 1 else batches * 2


def quantize(job: Job) -> tuple[bytes, tuple[ExportedStage, ...]]:
    """Quantize the whole model, cut it into its stages, and write each.

    Returns:
        The whole quantized graph, pickled, and the stages.

    Raises:
        QuantizationError: esp-ppq reported an error.
    """
    graph = _quantize_graph(job)
    stages, known = [], dict[str, Layout]()
    for names in job.stages:
        part = cut(graph, names.inputs, names.outputs)
        stage = _export_stage(job, part, names, known)
        known.update(stage.layouts)
        stages.append(stage)
    return dump_graph(graph), tuple(stages)


def _quantize_graph(job: Job) -> BaseGraph:
    platform, setting = _platform(job, job.precision), _setting(job)
    with _errors_raised("loading the model"):
        graph = _load(job)
    check_operators(graph, [stage.name for stage in job.stages])
    for name, shape in job.shapes.items():
        graph.variables[name].shape = list(shape)
    _dispatch_int16(job, graph, setting)
    keep_ranges(graph, setting)
    graph = dispatch_graph(
        graph=graph, platform=platform, dispatcher=setting.dispatcher, dispatching_table=setting.dispatching_table
    )
    sample = {name: torch.from_numpy(values[:2]) for name, values in job.samples.items()}
    if job.equalization:
        with _errors_raised("equalizing"):
            equalize(graph, _crossing(job), {name: value[:1] for name, value in sample.items()})
    batched = takes_batches(TorchExecutor(graph=graph, device="cpu"), sample)
    batches = _batches(job, _together(job) if batched else 1)
    quantizer = PFL.Quantizer(platform, graph)
    quantizer._verbose = False
    _insert_passes(quantizer, job, batches)
    with _errors_raised("quantizing"), joined(1 if batched else _together(job)):
        quantizer.quantize(
            inputs={name: value[:1] for name, value in sample.items()},
            calib_dataloader=batches,
            executor=_TracingExecutor(graph=quantizer._graph, device="cpu"),
            setting=setting,
            calib_steps=len(batches),
            collate_fn=lambda batch: batch,
        )
    if not job.exponents:
        check_parameters(quantizer._graph, [stage.name for stage in job.stages])
    own_constants(quantizer._graph)
    return quantizer._graph


class _TracingExecutor(TorchExecutor):  # type: ignore[misc]
    """Traces shapes in float: the integer kernel of a GRU or LSTM that is dispatched already asks for a quantization that it
    gets only afterwards.
    """

    def tracing_operation_meta(self, inputs: Any, output_names: Any = None) -> None:
        """Trace as esp-ppq does, with every operation that is not quantized yet on the float platform."""
        operations = self._graph.operations.values()
        waiting = {op: op.platform for op in operations if not isinstance(op, QuantableOperation)}
        for operation in waiting:
            operation.platform = TargetPlatform.FP32
        super().tracing_operation_meta(inputs, output_names)
        for operation, platform in waiting.items():
            operation.platform = platform


def _dispatch_int16(job: Job, graph: BaseGraph, setting: QuantizationSetting) -> None:
    modules = {name: module_path(name, [stage.name for stage in job.stages]) for name in graph.operations}
    for path in job.int16:
        found = [name for name, module in modules.items() if f"{module}.".startswith(f"{path}.")]
        if not found:
            raise QuantizationError(
                f"Quantization(int16=[... {path!r} ...]) names no module of the exported graph; it has operators of "
                f"{sorted(set(modules.values()))}."
            )
        _widen(job, setting, found)
    _widen(job, setting, cell_operations(graph))


def _widen(job: Job, setting: QuantizationSetting, names: Iterable[str]) -> None:
    for name in names:
        setting.dispatching_table.append(name, _platform(job, "int16"))
        # As esp-ppq does for a whole model in int16; a divergence over 65,536 steps would take minutes.
        setting.quantize_activation_setting.calib_algorithm_per_layer[name] = "minmax"


def _crossing(job: Job) -> set[str]:
    return {name for stage in job.stages for name in (*stage.inputs, *stage.outputs)}


def _insert_passes(quantizer: Any, job: Job, batches: Sequence[Mapping[str, torch.Tensor]]) -> None:
    crossing = _crossing(job)
    pairs = [pair for stage in job.stages for pair in stage.caches]
    build = quantizer.build_quant_pipeline

    def ties() -> list[Any]:
        return [TiePass(sorted(crossing), pairs), *([FixedExponentsPass(job.exponents)] if job.exponents else [])]

    def build_with_ties(setting: QuantizationSetting) -> QuantizationOptimizationPipeline:
        passes: list[Any] = []
        for found in build(setting):
            if isinstance(found, QuantAlignmentPass):
                passes.append(OperandPass())
            if isinstance(found, PassiveParameterQuantizePass):
                passes += ties()
            passes.append(found)
            if isinstance(found, PassiveParameterQuantizePass) and job.refinement is not None:
                # What it changes may ask for coarser scales, so that the passes before it run once more.
                passes += [RefinementPass(job.refinement, choose_batches(batches)), *ties(), found]
        assert any(isinstance(p, QuantAlignmentPass) for p in passes)
        assert any(isinstance(p, TiePass) for p in passes)
        return QuantizationOptimizationPipeline(passes)

    quantizer.build_quant_pipeline = build_with_ties


class _Recorder(EspdlExporter):  # type: ignore[misc]
    """esp-ppq's exporter; lowers caches, and keeps the layouts, which it forgets when the file is written.

    Its metaclass makes one instance for the whole process, so what belongs to a file is set by `begin`.
    """

    def begin(self, job: Job, caches: tuple[tuple[str, str], ...]) -> None:
        """Start a new file.

        Args:
            job: for the chip, the form of the caches, and their start values.
            caches: name of each cache and of its new value.
        """
        self._job, self._caches = job, caches
        self.layouts: dict[str, Layout] = {}
        self.native: tuple[NativeCache, ...] = ()

    def prepare_graph(self, graph: BaseGraph, *arguments: Any, **options: Any) -> BaseGraph:
        """Prepare the graph as esp-ppq does, note the layouts, lower the caches, then keep ESP-DL from overwriting."""
        packed = pack_products(graph, self._job.target)
        graph = super().prepare_graph(graph, *arguments, **options)
        mark_packed(packed)
        turn_constants(graph)
        info = ExporterPatternInfo()
        self.layouts = {name: tuple(info.get_var_permute(name)) for name in [*graph.inputs, *graph.outputs]}
        if all(self.layouts[cache] == self.layouts[new] for cache, new in self._caches):
            self.native = lower(graph, self._caches, self._job.cache_form, self._job.initial)
        keep_values(graph)
        return graph

    def export_graph(self, *arguments: Any, **options: Any) -> Any:
        """Write the graph, and into its metadata what the format has no place for: the chip and the layouts."""
        after = {new for _, new in self._caches}
        layouts = {name: layout for name, layout in self.layouts.items() if name not in after}
        text = json.dumps(layouts, sort_keys=True, separators=(",", ":"))
        options["metadata_props"] = {"target": self._job.target, "layouts": text, DIGEST: BLANK}
        return super().export_graph(*arguments, **options)


def _export_stage(job: Job, graph: BaseGraph, names: StageNames, known: Mapping[str, Layout]) -> ExportedStage:
    wanted = {name: known.get(name) or preferred(graph, name) for name in graph.inputs}
    for _ in range(3):
        data, layouts, native = _write(job, graph, names, wanted)
        # A cache must go back in as it came out; where the exporter turned it on its way, it is told so and tries again.
        turned = {cache: layouts[new] for cache, new in names.caches if layouts[new] != layouts[cache]}
        if not turned:
            return ExportedStage(names.name, data, layouts, native)
        wanted |= turned
    raise QuantizationError(
        f"stage {names.name!r}: the caches {sorted(turned)} enter and leave the file in different layouts, so the loop could "
        "not feed them back. Read and return each cache in the same axis order in streaming_forward."
    )


def _write(
    job: Job, graph: BaseGraph, names: StageNames, wanted: Mapping[str, Layout]
) -> tuple[bytes, dict[str, Layout], tuple[NativeCache, ...]]:
    info = ExporterPatternInfo()
    info.reset()
    for name, layout in wanted.items():
        info.add_var_permute(name, list(layout))
    exporter = _Recorder()
    exporter.begin(job, names.caches)
    graph = load_graph(dump_graph(graph))
    with tempfile.TemporaryDirectory() as folder, _errors_raised(f"writing stage {names.name!r}"):
        path = Path(folder) / "stage.espdl"
        exporter.export(str(path), graph, export_config=False)
        return seal(path.read_bytes()), exporter.layouts, exporter.native
