"""esp-ppq's passes that change weights and biases of a graph that is quantized already, so that its layers follow the float ones.

They take the graph block by block, a layer and what follows it, feed a block what the quantized graph computes by now, and
keep a change where the block's output comes nearer to the float one. esp-ppq feeds a block what its first operation reads,
so none with a cache inside could run; and its own adaptive rounding neither anneals, as two of its loops share a counter,
nor is judged with the weights rounded. Both are put right here.

All exponents stay what calibration and ties made them. Trained ones gained nothing on the networks that were measured
(`benchmarks/precision_search.py`), and clipped weights, which `check_parameters` refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from esp_ppq.core import QuantizationStates
from esp_ppq.executor import TorchExecutor
from esp_ppq.IR import BaseGraph, QuantableGraph, QuantableOperation
from esp_ppq.quantization.algorithm.training import TrainableBlock
from esp_ppq.quantization.optim import (
    BiasCorrectionPass,
    QuantizationOptimizationPass,
    TrainedQuantizationThresholdPass,
)
from esp_ppq.quantization.optim.legacy import AdaRoundDelegator
from torch import Tensor

from lightning_esp.errors import QuantizationError

Batch = Mapping[str, Tensor]

# More windows take their time with every block, and tell its few parameters nothing new.
WINDOWS, ALONE = 512, 128
STEPS = 200
# Of the weights in TQT, and of the roundings, which live in -2 to 2.
WEIGHT_RATE, ROUNDING_RATE = 1e-4, 0.03
# How strongly roundings are drawn to up or down, against the noise of the block's output, both as shares.
PULL = 0.3
_LAYERS = ("Conv", "ConvTranspose", "Gemm")
# Of operations whose simulation passes gradients on; a block with another one is its layer alone.
_DIFFERENTIABLE = ("Conv", "ConvTranspose", "Gemm", "Relu", "Add", "Concat", "Slice", "Pad", "Reshape", "Transpose")


class _Blocks:
    """The blocks that a pass works on, and their data."""

    reach: ClassVar[int] = 2
    _reference: list[dict[str, Tensor]] | None = None

    def split_graph_into_blocks(
        self, graph: BaseGraph, executing_order: Sequence[Any], **_: Any
    ) -> list[TrainableBlock]:
        """Take esp-ppq's blocks; the layer alone where gradients would not pass."""
        every = super().split_graph_into_blocks(graph, executing_order, blocksize=self.reach)  # type: ignore[misc]
        found = [block for block in every if block.sp.type in _LAYERS]
        smooth = [all(operation.type in _DIFFERENTIABLE for operation in block.rps) for block in found]
        self._blocks = [
            block if passes else TrainableBlock(block.sp, block.sp, [block.sp])
            for block, passes in zip(found, smooth, strict=True)
        ]
        return self._blocks

    @torch.no_grad()
    def collect(
        self, graph: BaseGraph, block: TrainableBlock, executor: TorchExecutor, dataloader: Sequence[Batch], **_: Any
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """Return all that a block reads, as the quantized graph computes it by now, and what the float one makes of it."""
        whole = QuantableGraph(graph)
        if self._reference is None:
            names = [variable.name for found in self._blocks for variable in found.ep.outputs]
            whole.dequantize_graph()
            self._reference = _run(executor, dataloader, names)
            whole.restore_quantize_state()
        inside = {variable.name for operation in block.rps for variable in operation.outputs}
        read = (v for operation in block.rps for v in operation.inputs if v.name and not v.is_parameter)
        taken = dict.fromkeys(variable.name for variable in read if variable.name not in inside)
        given = [variable.name for variable in block.ep.outputs]
        return _run(executor, dataloader, list(taken)), [{name: row[name] for name in given} for row in self._reference]


def _run(executor: TorchExecutor, batches: Sequence[Batch], names: Sequence[str]) -> list[dict[str, Tensor]]:
    return [dict(zip(names, executor.forward(dict(batch), list(names)), strict=True)) for batch in batches]


class _BiasCorrection(_Blocks, BiasCorrectionPass):  # type: ignore[misc]
    """Takes the mean error of every output channel off its bias."""

    reach = 0


class _WeightTraining(_Blocks, TrainedQuantizationThresholdPass):  # type: ignore[misc]
    """Trains weights and biases through the roundings."""


class _Rounding(_Blocks, BiasCorrectionPass):  # type: ignore[misc]
    """Chooses for each weight whether it is rounded up or down."""

    def correct_bias(
        self,
        qt_inputs: Sequence[Batch],
        fp_outputs: Sequence[Batch],
        block: TrainableBlock,
        executor: TorchExecutor,
        graph: BaseGraph,
    ) -> tuple[float, float]:
        """Train the roundings of a block, and take them where its output comes nearer."""
        data = {"block": block, "qt_inputs": qt_inputs, "fp_outputs": fp_outputs, "executor": executor}
        before: float = self.compute_block_loss(**data)
        delegators = [
            AdaRoundDelegator(operation.inputs[1], operation.input_quant_config[1], STEPS)
            for operation in block.rps
            if _has_weights(operation)
        ]
        if not delegators or not before:
            return before, before
        for delegator in delegators:
            executor.register_quantize_delegate(delegator.config, delegator)
        _train(delegators, before, **data)
        for delegator in delegators:
            executor.remove_quantize_delegate(delegator.config)
            delegator.finalize()
        after: float = self.compute_block_loss(**data)
        if after > before:
            for delegator in delegators:
                delegator.withdraw()
        return before, min(before, after)


def _has_weights(operation: Any) -> bool:
    if operation.type not in _LAYERS or not isinstance(operation, QuantableOperation):
        return False
    config = operation.input_quant_config[1]
    # In int16 a rounding is worth nothing.
    return bool(
        operation.inputs[1].is_parameter and config.num_of_bits == 8 and config.state == QuantizationStates.ACTIVATED
    )


def _train(
    delegators: Sequence[AdaRoundDelegator],
    scale: float,
    block: TrainableBlock,
    qt_inputs: Sequence[Batch],
    fp_outputs: Sequence[Batch],
    executor: TorchExecutor,
) -> None:
    tensors = [tensor for delegator in delegators for tensor in delegator.trainable_tensors()]
    optimizer = torch.optim.Adam(tensors, lr=ROUNDING_RATE)
    for step in range(STEPS):
        given, wanted = qt_inputs[step % len(qt_inputs)], fp_outputs[step % len(fp_outputs)]
        found = executor.partial_graph_forward(block.rps, dict(given), list(wanted))
        # Both terms in shares, so that one weight of the second fits all layers.
        noise = [torch.mean(torch.square(f - w)) for f, w in zip(found, wanted.values(), strict=True)]
        loss = torch.stack(noise).sum() / scale
        for delegator in delegators:
            loss = loss + PULL * delegator.regularization_loss(step) / (
                delegator.reg.alpha * delegator.rounding.numel()
            )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def choose_batches(batches: Sequence[Batch]) -> list[Batch]:
    """Return some of the calibration's batches, evenly spread: enough to refine with."""
    size = len(next(iter(batches[0].values())))
    most = max(1, WINDOWS // size) if size > 1 else ALONE
    return list(batches[:: -(-len(batches) // most)])


class RefinementPass(QuantizationOptimizationPass):  # type: ignore[misc]
    """Refines a graph that has all its scales.

    Args:
        method: of `Quantization(refinement=...)`.
        batches: calibration windows with the states that they meet.
    """

    def __init__(self, method: str, batches: Sequence[Batch]) -> None:
        super().__init__(f"lightning_esp: refine by {method}")
        self._method = method
        self._batches = batches

    def optimize(self, graph: BaseGraph, executor: TorchExecutor, **_: Any) -> None:
        """Refine block by block, in the order of computation.

        Raises:
            QuantizationError: no layer of the graph has weights to refine.
        """
        if not any(_has_weights(operation) for operation in graph.operations.values()):
            raise QuantizationError(
                f"Quantization(refinement={self._method!r}) found no convolution or Linear layer in int8. Leave it out."
            )
        for variable in graph.variables.values():
            # esp-ppq changes parameters in place, and what it keeps as their float values may be the same tensor.
            if variable.is_parameter and isinstance(variable.value, Tensor):
                variable.value = variable.value.clone()
        found = _make(self._method)
        found.optimize(graph=graph, dataloader=self._batches, executor=executor, collate_fn=None)


def _make(method: str) -> QuantizationOptimizationPass:
    if method == "tqt":
        return _WeightTraining(
            steps=STEPS, lr=WEIGHT_RATE, block_size=2, is_scale_trainable=False, collecting_device="cpu"
        )
    return {"bias_correction": _BiasCorrection, "adaround": _Rounding}[method](collecting_device="cpu")
