"""The only caller of esp-ppq, which runs in a worker process."""

from lightning_esp.quantization.executor import ExecutorStream
from lightning_esp.quantization.job import Array, Exponents, Suspect
from lightning_esp.quantization.noise import NoiseFigures, OperatorNoise
from lightning_esp.quantization.onnx_graph import graph_outputs, module_path, to_onnx, traced_once
from lightning_esp.quantization.process import Worker
from lightning_esp.quantization.quantized_model import (
    CacheInfo,
    DType,
    QuantizedModel,
    StageFile,
    TensorInfo,
    find_wiring_faults,
)
from lightning_esp.quantization.quantizer import quantize, with_modules
from lightning_esp.quantization.values import dequantize_values, quantize_values

__all__ = [
    "Array",
    "CacheInfo",
    "DType",
    "ExecutorStream",
    "Exponents",
    "NoiseFigures",
    "OperatorNoise",
    "QuantizedModel",
    "StageFile",
    "Suspect",
    "TensorInfo",
    "Worker",
    "dequantize_values",
    "find_wiring_faults",
    "graph_outputs",
    "module_path",
    "quantize",
    "quantize_values",
    "to_onnx",
    "traced_once",
    "with_modules",
]
