"""The proof that training has seen the chip: the image that was trained against the integers that are exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_esp.conversion import Recording, as_named
from lightning_esp.quantization import QuantizedModel
from lightning_esp.quantization_aware.preparation import Preparation
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification import Proof

MAX_RECORDINGS = 8
# Float32 outputs, those of a softmax, are sums that two libraries may round apart.
_FLOAT_LIMIT = 1e-6


@torch.no_grad()
def prove_seen(
    preparation: Preparation, module: nn.Module, quantized: QuantizedModel, recordings: Sequence[Recording]
) -> tuple[Proof, str]:
    """Compare what training computed, in float64, with what is exported, value for value.

    Args:
        preparation: what training computed with.
        module: the weights that are exported.
        quantized: what was made of them.
        recordings: without batch dimension.

    Returns:
        A proof whose figure is the number of output values that differ, of which none may; and a note with how many there are.
    """
    image, stream = preparation.image(torch.float64), QuantizedStreaming(quantized)
    differing, count = 0, 0
    where = ""
    for index, recording in enumerate(recordings[:MAX_RECORDINGS]):
        batch = {name: value[None].float() for name, value in as_named(quantized.spec, recording).items()}
        found, expected = image.run(module, batch), stream(**batch)
        outputs = expected if isinstance(expected, tuple) else (expected,)
        for port, first, second in zip(quantized.spec.outputs, found, outputs, strict=True):
            limit = _FLOAT_LIMIT if quantized.outputs[port.name].dtype == "float32" else 0.0
            wrong = _differing(first, second.double(), limit)
            where = where or (f"{port.name}, recording {index}" if wrong else "")
            differing, count = differing + wrong, count + second.numel()
    proof = Proof(
        name="training saw the chip",
        figure=differing,
        limit=0,
        passed=differing == 0,
        where=where,
        next_step=f"{differing} of {count} values differ from what quantization-aware training computed. Train the module that is "
        "exported, with the options of this export; and report the model.",
    )
    return proof, f"training saw the chip: {differing} of {count} output values differ from what it computed."


def _differing(first: Tensor, second: Tensor, limit: float) -> int:
    if first.shape != second.shape:
        return second.numel()
    return int(((first - second).abs() > limit).sum())
