"""The interpreter of the onnx package, with the cell state of an LSTM, which its own operator leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from lightning_esp.quantization.job import Array


class LSTM(OpRun):  # type: ignore[misc]
    """One layer in one direction, which starts from a given state: the form that this package exports."""

    op_domain = ""

    def _run(
        self, x: Array, w: Array, r: Array, b: Array | None, lengths: None, hidden: Array, cell: Array, **_: Any
    ) -> tuple[Array, Array, Array]:
        bias = 0 if b is None else np.add(*np.split(b[0], 2))
        h, c, outputs = hidden[0], cell[0], []
        for frame in x:
            i, o, f, g = np.split(frame @ w[0].T + h @ r[0].T + bias, 4, axis=-1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            outputs.append(h)
        return np.stack(outputs)[:, None], h[None], c[None]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def run_reference(model: onnx.ModelProto, window: Mapping[str, Array]) -> dict[str, Array]:
    """Compute every tensor of a model.

    Args:
        model: in float32.
        window: its inputs by name.

    Returns:
        The tensors by name, inputs and intermediate ones included.
    """
    evaluator = ReferenceEvaluator(model, new_ops=[LSTM])
    values: dict[str, Array] = evaluator.run(None, dict(window), intermediate=True)
    return values
