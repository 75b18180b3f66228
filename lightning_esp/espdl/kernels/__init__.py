"""ESP-DL's operators in integers, one builder per operator type."""

from __future__ import annotations

from lightning_esp.errors import EspdlOperatorError
from lightning_esp.espdl.kernels import (
    activation,
    binary,
    conversion,
    convolution,
    movement,
    pooling,
    recurrent,
    reduction,
)
from lightning_esp.espdl.kernels.accumulator import accumulator_bound, accumulator_peak
from lightning_esp.espdl.kernels.limits import broken_limit
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, Values, make_node

KERNELS: KernelTable = {
    name: builder
    for module in (activation, binary, conversion, convolution, movement, pooling, recurrent, reduction)
    for name, builder in module.KERNELS.items()
}


def build_kernel(node: Node) -> Kernel:
    """Prepare an operator for computing.

    Args:
        node: The operator and its tensors.

    Returns:
        A function from input arrays to output arrays.

    Raises:
        EspdlOperatorError: The operator is unknown, or ESP-DL gets it wrong.
    """
    builder = KERNELS.get(node.operator.type)
    if builder is None:
        raise EspdlOperatorError(
            f"{node.operator.type} {node.operator.name or node.operator.outputs[0]!r}: this package does not simulate the "
            f"operator type; it knows {', '.join(sorted((*KERNELS, 'StreamingCache')))}."
        )
    if node.attribute("quant_type", "S8") not in ("S8", "S16") and node.operator.type not in _FLOAT_TYPES:
        raise node.refuse(f"quant_type {node.attribute('quant_type', '')!r}: only S8 and S16 operators are simulated")
    reason = broken_limit(node)
    if reason is not None:
        raise node.refuse(reason)
    return builder(node)


_FLOAT_TYPES = frozenset((*movement.KERNELS, *conversion.KERNELS, "Softmax", "Identity"))

__all__ = ["KERNELS", "Kernel", "Node", "Values", "accumulator_bound", "accumulator_peak", "build_kernel", "make_node"]
