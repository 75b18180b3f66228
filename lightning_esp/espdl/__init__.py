"""`.espdl` files as data, and what ESP-DL computes from them, in integers. Knows files only."""

from lightning_esp.espdl.interpreter import EspdlInterpreter, Trace
from lightning_esp.espdl.model import EspdlModel, Operator, Tensor
from lightning_esp.espdl.reader import list_models, read_espdl
from lightning_esp.espdl.recording import EspdlRecorder, Recording
from lightning_esp.espdl.stream import IntegerStream

__all__ = [
    "EspdlInterpreter",
    "EspdlModel",
    "EspdlRecorder",
    "IntegerStream",
    "Operator",
    "Recording",
    "Tensor",
    "Trace",
    "list_models",
    "read_espdl",
]
