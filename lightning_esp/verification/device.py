"""Proof 4: what the chip computes rightly. Unknown and broken operators are refused when the interpreter reads the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_esp.espdl.interpreter import EspdlInterpreter
from lightning_esp.espdl.model import EspdlModel, Operator
from lightning_esp.espdl.reader import read_espdl
from lightning_esp.espdl.stream import IntegerStream
from lightning_esp.integers import IntegerPipeline, interpret
from lightning_esp.quantization.job import Array
from lightning_esp.quantization.model import QuantizedModel
from lightning_esp.verification.model import Proof

# Following every product is slow, and the peak is set by weights and saturated inputs far more than by the recording.
FOLLOWED_WINDOWS = 8
FOLLOWED_RECORDINGS = 2
_SHIFTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Mul")
S3_LIMIT = 2**19


def int16_steps(quantized: QuantizedModel) -> int:
    """By how many steps an int16 value may differ between esp-ppq and the files; 0 where no output is int16.

    Sums of int16 products agree: ESP-DL keeps them in 64 bits, esp-ppq, as it is called here, in double precision. What
    ESP-DL computes in float32 (Mul, Div, pools, means, norms) it rounds twice, first to 24 bits and then to a
    step, so a value next to a tie may end one step off, and two such operators two steps off. A lookup table takes the
    nearest of its entries, so such a step before a table may become one table step behind it.
    """
    if not any(tensor.dtype == "int16" for stage in quantized.stages for tensor in stage.outputs):
        return 0
    operators = [operator for stage in quantized.stages for operator in read_espdl(stage.data).operators]
    tables = [int(operator.attributes.get("int16_lut_step", 0)) for operator in operators if operator.type == "LUT"]
    return max([2, *tables])


def accumulators(quantized: QuantizedModel, windows: Sequence[Mapping[str, Array]]) -> tuple[Proof, ...]:
    """The largest magnitude that an accumulator of an int8 convolution passes through, against the 20 bits of an S3."""
    if quantized.target != "esp32s3" or quantized.precision != "int8":
        return ()
    files, peaks = interpret(quantized), dict[str, int]()
    first = [{n: v[:FOLLOWED_RECORDINGS] for n, v in window.items()} for window in windows[:FOLLOWED_WINDOWS]]
    streams = [
        _Followed(read_espdl(stage.data), stream, stage.name, peaks)
        for stage, stream in zip(files.files, files.streams, strict=True)
    ]
    IntegerPipeline(files.files, streams).run(first)
    worst = max(peaks, key=peaks.__getitem__, default="")
    peak = peaks.get(worst, 0)
    return (
        Proof(
            "accumulators fit 20 bits (ESP32-S3)",
            peak,
            S3_LIMIT - 1,
            peak < S3_LIMIT,
            f"operator {worst!r}",
            "Split the layer's input channels, train it with weight decay, or keep it in int16, whose accumulators have 40 bits: "
            "Quantization(int16=(...)).",
        ),
    )


class _Followed:
    """An interpreter that notes the peaks of its int8 accumulators; those of int16 have 40 bits on the S3."""

    def __init__(self, file: EspdlModel, stream: IntegerStream, stage: str, peaks: dict[str, int]) -> None:
        assert isinstance(stream, EspdlInterpreter)
        self._stream, self._stage, self._peaks = stream, stage, peaks
        self._narrow = {op.name for op in file.operators if op.inputs and file.tensors[op.inputs[0]].dtype == "int8"}

    def initial_state(self, batch: int) -> dict[str, Array]:
        return self._stream.initial_state(batch)

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trace = self._stream.trace(inputs, state, peaks=True)
        for name, peak in trace.peaks.items():
            if name not in self._narrow:
                continue
            key = f"{self._stage}: {name}"
            self._peaks[key] = max(peak, self._peaks.get(key, 0))
        return trace.outputs, trace.state


def mac_shifts(quantized: QuantizedModel) -> Proof:
    """No output is finer than the accumulator that it comes from: ESP-DL shifts to the right only."""
    wrong = []
    for stage in quantized.stages:
        file = read_espdl(stage.data)
        wrong += [
            f"{op.type} {op.name!r} of stage {stage.name!r}"
            for op in file.operators
            if op.type in _SHIFTED and _shift(file, op) < 0
        ]
    return Proof(
        "shifts of accumulators are not negative",
        len(wrong),
        0,
        not wrong,
        "; ".join(wrong[:3]),
        "Calibrate with recordings that use the layer's whole range.",
    )


def _shift(file: EspdlModel, operator: Operator) -> int:
    first, second, output = (_exponents(file, name) for name in (*operator.inputs[:2], operator.outputs[0]))
    return min(output) - max(first) - max(second)


def _exponents(file: EspdlModel, name: str) -> tuple[int, ...]:
    exponent = file.tensors[name].exponent
    return (exponent,) if isinstance(exponent, int) else exponent
