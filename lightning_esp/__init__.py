"""lightning_esp: from a PyTorch Lightning training run to a verified streaming model on an ESP32."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lightning_esp.aware_training import EspQuantAwareTraining
    from lightning_esp.bundle import Bundle, read_bundle, write_bundle
    from lightning_esp.calibration import CalibrationSet, calibrate
    from lightning_esp.callback import EspStreamingExport
    from lightning_esp.config import Budget, Calibration, Deployment, Detector, Quantization, Streaming
    from lightning_esp.conversion import StreamingModel, convert
    from lightning_esp.inspection import Simulation, simulate, verify_bundle
    from lightning_esp.pipeline import export
    from lightning_esp.quantization import QuantizedModel, quantize
    from lightning_esp.verification import Verification, verify

__all__ = [
    "Budget",
    "Bundle",
    "Calibration",
    "CalibrationSet",
    "Deployment",
    "Detector",
    "EspQuantAwareTraining",
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

# torch and Lightning take seconds to import, and `lightning-esp --help` needs neither; so each name is imported when it is
# first used. No module may have one of these names: importing it would take the place of the name.
_MODULES = {
    "aware_training": ("EspQuantAwareTraining",),
    "bundle": ("Bundle", "read_bundle", "write_bundle"),
    "calibration": ("CalibrationSet", "calibrate"),
    "callback": ("EspStreamingExport",),
    "conversion": ("StreamingModel", "convert"),
    "config": ("Budget", "Calibration", "Deployment", "Detector", "Quantization", "Streaming"),
    "inspection": ("Simulation", "simulate", "verify_bundle"),
    "pipeline": ("export",),
    "quantization": ("QuantizedModel", "quantize"),
    "verification": ("Verification", "verify"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

# Type checkers read the imports above; to them a `__getattr__` would say that any name exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module
        from importlib.util import find_spec

        if name in _HOMES:
            value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
            return value
        # `lightning_esp.frontend.LogMel`, where nothing has imported the module yet.
        if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
