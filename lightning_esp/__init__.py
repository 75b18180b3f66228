"""lightning_esp: from a PyTorch Lightning training run to a verified streaming model on an ESP32."""

from typing import TYPE_CHECKING

from lightning_esp.audit import verify_bundle
from lightning_esp.bundle import Bundle, read_bundle, write_bundle
from lightning_esp.calibration import CalibrationSet, calibrate
from lightning_esp.config import Budget, Calibration, Deployment, Quantization, Streaming
from lightning_esp.export import export
from lightning_esp.quantization import QuantizedModel, quantize
from lightning_esp.simulation import Simulation, simulate
from lightning_esp.streaming import StreamingModel, convert
from lightning_esp.verification import Verification, verify

if TYPE_CHECKING:
    from lightning_esp.callback import EspStreamingExport

__all__ = [
    "Budget",
    "Bundle",
    "Calibration",
    "CalibrationSet",
    "Deployment",
    "EspStreamingExport",
    "Quantization",
    "QuantizedModel",
    "Simulation",
    "Streaming",
    "StreamingModel",
    "Verification",
    "calibrate",
    "convert",
    "export",
    "quantize",
    "read_bundle",
    "simulate",
    "verify",
    "verify_bundle",
    "write_bundle",
]


def __getattr__(name: str) -> object:
    # Lightning takes seconds to import, and the esp-ppq worker, `simulate` and the command line do without it.
    if name == "EspStreamingExport":
        from lightning_esp.callback import EspStreamingExport

        return EspStreamingExport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
