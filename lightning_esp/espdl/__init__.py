"""`.espdl` files as data, and what ESP-DL computes from them, in integers. Knows files only."""

from lightning_esp.espdl.model import EspdlModel, Operator, Tensor
from lightning_esp.espdl.reader import list_models, read_espdl
from lightning_esp.espdl.stream import IntegerStream

__all__ = ["EspdlModel", "IntegerStream", "Operator", "Tensor", "list_models", "read_espdl"]
