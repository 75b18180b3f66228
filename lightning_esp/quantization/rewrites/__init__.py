"""Rewrites of what esp-ppq misreads, or ESP-DL lacks, into operators that both read as ONNX means them."""

from lightning_esp.quantization.rewrites.outputs import keep_outputs
from lightning_esp.quantization.rewrites.passes import rewrite

__all__ = ["keep_outputs", "rewrite"]
