"""Training that computes as the chip does.

`preparation.py` quantizes a module as the export does, and finds its parameters in what comes of it (`sources.py`,
`parameters.py`). `image.py` runs the files' operators in torch over whole recordings (`file_graph.py`, `kernels/`), with the
parameters as they are now and straight-through gradients (`rounding.py`). `proof.py` holds that against the exported integers.
"""

from lightning_esp.quantization_aware.image import QuantizedForward, QuantizedImage
from lightning_esp.quantization_aware.preparation import Preparation, prepare
from lightning_esp.quantization_aware.proof import prove_seen

__all__ = ["Preparation", "QuantizedForward", "QuantizedImage", "prepare", "prove_seen"]
