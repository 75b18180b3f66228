"""The proof of memory fails on a file that ESP-DL would run over itself, and says which operator does it to whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightning_esp.errors import ProofError
from lightning_esp.espdl import EspdlInterpreter, EspdlModel, Operator, Tensor
from lightning_esp.quantization import StageFile
from lightning_esp.simulation import IntegerPipeline
from lightning_esp.verification.device import memory
from lightning_esp.verification.verify import require
from tests.models.flat import FlatStream

NAME = "tensors keep their bytes in ESP-DL's memory until they are read"


def model(*operators: tuple[str, str, str], outputs: str) -> EspdlModel:
    """Operators `(type, inputs, output)` over int8 tensors of shape [1, 2, 8]; `x` is the input, `c` a parameter, `v` a view."""
    tensors = {name: Tensor(name, (1, 2, 8), np.dtype(np.int8)) for name in "xrsyz"}
    tensors["v"] = Tensor("v", (1, 1, 2, 8), np.dtype(np.int8))
    axes = np.asarray([1], np.int64)
    tensors["c"] = Tensor("c", axes.shape, axes.dtype, 0, axes, "UNK")
    made = tuple(
        Operator(f"/stages.0/mask/{kind}", kind, {"quant_type": "S8"}, tuple(read), (output,))
        for kind, read, output in operators
    )
    return EspdlModel("graph", 0, made, tensors, ("x",), tuple(outputs), {}, {}, {})


def pipeline(file: EspdlModel) -> IntegerPipeline:
    return IntegerPipeline([StageFile("stage_0", b"", (), (), (), ())], [EspdlInterpreter(file, "esp32s3")])


MASK = model(("Unsqueeze", "xc", "v"), ("Neg", "v", "r"), ("Squeeze", "rc", "s"), ("Add", "xs", "y"), outputs="y")
OUTPUT = model(("Neg", "x", "r"), ("Unsqueeze", "rc", "v"), ("Identity", "r", "s"), ("Relu", "s", "y"), outputs="vy")


@pytest.mark.parametrize(
    ("file", "where"),
    [
        (
            MASK,
            "Neg .* overwrites tensor 'x', which Add",
        ),
        (
            OUTPUT,
            "Relu .* overwrites tensor 'v', which the firmware",
        ),
    ],
)
def test_an_overwritten_tensor_fails_and_is_named(file: EspdlModel, where: str) -> None:
    files = pipeline(_squeezed(file))
    proof = memory(files)
    assert not proof.passed
    with pytest.raises(ProofError, match=rf"{NAME}: 1, .*\. stage 'stage_0': {where}.*\. Export"):
        require([proof])
    # That is what memory would have done.
    (stream,) = files.streams
    assert isinstance(stream, EspdlInterpreter)
    window = {"x": np.arange(-8, 8, dtype=np.int8).reshape(1, 2, 8) * 3}
    apart, flat = stream.step(window, {})[0], FlatStream(stream).step(window, {})[0]
    assert any((apart[name] != flat[name]).any() for name in apart)


def _squeezed(file: EspdlModel) -> EspdlModel:
    """Tensor `r` behind `Neg` of a view has the view's shape."""
    wide = {"r": file.tensors["v"]} if file.operators[1].inputs == ("v",) else {}
    return replace(file, tensors={**file.tensors, **{n: replace(t, name=n) for n, t in wide.items()}})


def test_the_same_operators_in_another_order_pass() -> None:
    moved = (MASK.operators[0], *MASK.operators[1:3])
    late = Operator("/stages.0/mask/view", "Squeeze", {"quant_type": "S8"}, ("v", "c"), ("z",))
    last = replace(MASK.operators[3], inputs=("z", "s"))
    assert memory(pipeline(_squeezed(replace(MASK, operators=(*moved, late, last))))).passed
