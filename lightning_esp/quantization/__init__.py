"""The only caller of esp-ppq, which runs in a worker process."""

from lightning_esp.quantization.model import CacheInfo, QuantizedModel, StageFile, TensorInfo
from lightning_esp.quantization.process import Worker
from lightning_esp.quantization.quantizer import check_environment, quantize

__all__ = ["CacheInfo", "QuantizedModel", "StageFile", "TensorInfo", "Worker", "check_environment", "quantize"]
