"""ESP-DL's operators in torch, one builder for each type: the integers of the chip, with gradients."""

from __future__ import annotations

from lightning_esp.espdl import Node
from lightning_esp.quantization_aware.kernels import movement, normalization, pointwise, products, recurrent, reduction
from lightning_esp.quantization_aware.kernels.common import Builders, Kernel

BUILDERS: Builders = {
    name: builder
    for module in (movement, normalization, pointwise, products, recurrent, reduction)
    for name, builder in module.BUILDERS.items()
}


def build(node: Node) -> Kernel:
    """Prepare an operator.

    Raises:
        EspdlOperatorError: training has no form of it.
    """
    builder = BUILDERS.get(node.operator.type)
    if builder is None:
        raise node.refuse(
            f"quantization-aware training has no form of {node.operator.type} yet; it knows {', '.join(sorted(BUILDERS))}. Keep it "
            "out of the exported module, or train without EspQuantAwareTraining"
        )
    return builder(node)


__all__ = ["BUILDERS", "Builders", "Kernel", "build"]
