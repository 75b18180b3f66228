"""esp-ppq's layerwise equalization, held to pairs of layers where it leaves the function of the graph as it is.

The weights of a layer share one scale. Where an output channel of one layer is scaled by s and the input channel of the
next one by 1/s, the graph computes the same, and the weights of both can be spread evenly over their integers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from esp_ppq.executor import TorchExecutor
from esp_ppq.IR import BaseGraph, Operation, Variable
from esp_ppq.quantization.algorithm.equalization import EqualizationPair
from esp_ppq.quantization.optim.equalization import LayerwiseEqualizationPass
from torch import Tensor

from lightning_esp.errors import QuantizationError

# Across Add and Sub (level 2) esp-ppq overlooks operands that no layer computes, caches and model inputs among them, and
# other readers of the layers that it finds there; both would change what the graph computes.
LEVEL = 1
ITERATIONS = 10
# Below that a channel is dead: 0 / 0 would make its weights NaN. esp-ppq's own 0.5 leaves trained layers alone.
DEAD = 1e-6
# Float32 weights are scaled by factors that are no powers of two, some of them several times.
TOLERANCE = 1e-4
_PARAMETERS = slice(1, None)


def equalize(graph: BaseGraph, crossing: Collection[str], sample: Mapping[str, Tensor]) -> int:
    """Equalize the weights of a float graph in place, and check that it computes what it did.

    Args:
        graph: a graph that is not quantized yet.
        crossing: tensors that cross a file, whose scale somebody outside knows.
        sample: inputs of the graph, to check it with.

    Returns:
        The pairs of layers that were equalized.

    Raises:
        QuantizationError: there are none, or the graph computes something else afterwards.
    """
    before = _outputs(graph, sample)
    found = _SafePass({*crossing, *graph.outputs})
    found.optimize(graph, dataloader=None, executor=None, collate_fn=None)
    if not found.pairs:
        raise QuantizationError(
            "Quantization(equalization=True) found nothing to equalize. It takes two convolutions, or Linear layers on "
            "[batch, channels], with nothing but ReLU or pooling between them, no cache and no cut of the stages. Leave it out."
        )
    for name, value in _outputs(graph, sample).items():
        gap = float((value - before[name]).abs().max()) / max(1e-30, float(before[name].abs().max()))
        if not gap <= TOLERANCE:
            raise QuantizationError(
                f"Quantization(equalization=True) changes output {name!r} by {gap:.3g} of its largest value, and at most "
                f"{TOLERANCE:g} may come from rounding. Leave it out."
            )
    return len(found.pairs)


def _outputs(graph: BaseGraph, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = list(graph.outputs)
    values = TorchExecutor(graph=graph, device="cpu").forward(dict(sample), output_names=names)
    return {name: value.double() for name, value in zip(names, values, strict=True)}


class _SafePass(LayerwiseEqualizationPass):  # type: ignore[misc]
    """Takes of the pairs that esp-ppq finds those that nobody else looks into.

    Args:
        kept: tensors that must keep their values.
    """

    def __init__(self, kept: Collection[str]) -> None:
        super().__init__(iterations=ITERATIONS, value_threshold=DEAD, optimize_level=LEVEL)
        self._kept = kept
        self.pairs: list[EqualizationPair] = []

    def find_equalization_pair(
        self, graph: BaseGraph, interested_operations: list[Operation]
    ) -> list[EqualizationPair]:
        """Find pairs as esp-ppq does, and leave out those that are not safe."""
        found = super().find_equalization_pair(graph, interested_operations)
        self.pairs = [pair for pair in found if self._is_safe(pair)]
        return self.pairs

    def _is_safe(self, pair: EqualizationPair) -> bool:
        layers = [*pair.upstream_layers, *pair.downstream_layers]
        between = {variable.name for layer in pair.upstream_layers for variable in _between(layer, layers)}
        parameters = [variable for layer in layers for variable in layer.inputs[_PARAMETERS]]
        own = all(variable.is_parameter and len(variable.dest_ops) == 1 for variable in parameters)
        return own and not between & set(self._kept)


def _between(layer: Operation, layers: Collection[Operation]) -> Iterator[Variable]:
    """Yield the variables between a layer and the next of `layers`."""
    for variable in layer.outputs:
        yield variable
        for reader in variable.dest_ops:
            if reader not in layers:
                yield from _between(reader, layers)
