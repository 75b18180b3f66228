"""Every proof fails on the fault that it is for, and says by how much, where, and what to try."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.errors import ProofError
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import StageFile, TensorInfo, Worker
from lightning_esp.quantization.executor import ExecutorStream
from lightning_esp.simulation import IntegerPipeline, integer_windows, interpret
from lightning_esp.verification.integers import integer_parity
from lightning_esp.verification.verify import prove_float, prove_integers
from tests.models.built import Built
from tests.models.contracts import CASES, Skip
from tests.models.tutorial_tcn import Depthwise, TutorialTcn, shake

Build = Callable[..., Built]
STAGES = Streaming(window=3, stages=["stage0", "stage1", "stage2"], caches="explicit")


# Proof 1: faults of the hand-written form.


class WrongDilation(Depthwise):
    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        right, self.conv[0].dilation = self.conv[0].dilation, (1,)
        try:
            output, _ = super().streaming_forward(x, cache[:, :, 2:])
        finally:
            self.conv[0].dilation = right
        return output, super().streaming_forward(x, cache)[1]


class OneFrameLate(Depthwise):
    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        output, after = super().streaming_forward(x, cache)
        return output.roll(1, dims=2), after


class KeepsTheFirstFrames(Depthwise):
    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        output, _ = super().streaming_forward(x, cache)
        return output, torch.cat([cache, self.expand(self.prev_conv(x))], dim=2)[:, :, :4]


class ForgetsTheSkip(Depthwise):
    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        output, after = super().streaming_forward(x, cache)
        return output - self.prev_conv(x), after


def tutorial(first: type[Depthwise]) -> nn.Module:
    torch.manual_seed(0)
    module = TutorialTcn(8, 16)
    module.stage0 = first(8, 16)
    return shake(module)


# The first frame that differs: an undilated kernel sees no difference in the first frame, whose past is all zeros.
STREAMING_FAULTS = {
    "wrong dilation": (WrongDilation, 1),
    "output one frame late": (OneFrameLate, 0),
    "the oldest frames kept": (KeepsTheFirstFrames, 3),
    "no skip": (ForgetsTheSkip, 0),
}


@pytest.mark.parametrize("fault", STREAMING_FAULTS)
def test_a_wrong_streaming_form_fails_float_parity(fault: str) -> None:
    first, frame = STREAMING_FAULTS[fault]
    module, recordings = tutorial(first), CASES["tutorial"].recordings(30, 20)
    model = convert(module, recordings[0], STAGES)
    message = (
        r"float parity, float32: 0?\.?\d[\d.e-]*, but at most 1e-05 is allowed\. stage 'stage0', output 'stage0\.output', "
        rf"from frame {frame} of \d+\. Compare forward and streaming_forward of that module: padding = "
    )
    with pytest.raises(ProofError, match=message):
        prove_float(module, model, recordings)
    # The same stages without the fault.
    good = tutorial(Depthwise)
    proofs, _ = prove_float(good, convert(good, recordings[0], STAGES), recordings)
    assert all(proof.passed for proof in proofs)


class Chain(nn.Module):
    """Two convs whose caches have one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 8, 3), nn.Conv1d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.pad(F.relu(self.first(F.pad(x, (2, 0)))), (2, 0)))

    def streaming_forward(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = torch.cat([low, x], dim=2)
        y = torch.cat([high, F.relu(self.first(before))], dim=2)
        return self.second(y), before[:, :, -2:], y[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"low": (8, 2), "high": (8, 2)}


class SwapsCaches(Chain):
    def streaming_forward(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, after_low, after_high = super().streaming_forward(x, low, high)
        return output, after_high, after_low


def test_swapped_caches_fail_float_parity_from_the_second_window() -> None:
    module, recordings = shake(SwapsCaches()), [torch.randn(8, 30)]
    model = convert(module, recordings[0], Streaming(window=4))
    with pytest.raises(ProofError, match=r"float32: .* output 'output', from frame 4 of 30"):
        prove_float(module, model, recordings)


def test_a_state_that_starts_elsewhere_fails_float_parity() -> None:
    module, recordings = CASES["two_caches"].module(), CASES["two_caches"].recordings(30)
    model = convert(module, recordings[0], Streaming(window=2))
    stage = model.spec.stages[0]
    started = tuple(replace(cache, initial=1.0) for cache in stage.caches)
    wrong = replace(model, spec=replace(model.spec, stages=(replace(stage, caches=started),)))
    with pytest.raises(ProofError, match=r"float32: .*from frame 0 of 30\. .*started from"):
        prove_float(module, wrong, recordings)


def test_other_weights_fail_float_parity() -> None:
    module, recordings = CASES["two_caches"].module(), CASES["two_caches"].recordings(30)
    model = convert(module, recordings[0], Streaming(window=2))
    with torch.no_grad():
        module.second.bias[3] += 1e-3
    with pytest.raises(ProofError, match="float parity, float32"):
        prove_float(module, model, recordings)


def test_an_error_too_small_for_float32_fails_in_float64() -> None:
    module, recordings = CASES["two_caches"].module(), CASES["two_caches"].recordings(30)
    model = convert(module, recordings[0], Streaming(window=2))
    with torch.no_grad():
        module.second.bias[3] += 2e-6
    with pytest.raises(ProofError, match=r"float parity, float64: .*, but at most 1e-10 is allowed"):
        prove_float(module, model, recordings)


def test_nan_fails_float_parity() -> None:
    class Breaks(Skip):
        def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
            output, after = super().streaming_forward(x, cache)
            return output / 0.0 * 0.0, after

    module, recordings = shake(Breaks()), [torch.randn(8, 30)]
    with pytest.raises(ProofError, match="float parity, float32: nan"):
        prove_float(module, convert(module, recordings[0], Streaming(window=2)), recordings)


# Proof 2: what the manifest says of a tensor is not what the file holds.


def change_tensor(quantized: QuantizedModel, name: str, change: Callable[[TensorInfo], TensorInfo]) -> QuantizedModel:
    def changed(tensor: TensorInfo) -> TensorInfo:
        return change(tensor) if tensor.name == name else tensor

    stages = tuple(
        replace(
            stage,
            inputs=tuple(map(changed, stage.inputs)),
            outputs=tuple(map(changed, stage.outputs)),
            caches=tuple(replace(cache, tensor=changed(cache.tensor)) for cache in stage.caches),
        )
        for stage in quantized.stages
    )
    return replace(quantized, stages=stages)


TENSORS = ("x", "stage0.output", "output", "stage0.cache", "stage2.cache")
TENSOR_FAULTS: dict[str, Callable[[TensorInfo], TensorInfo]] = {
    "exponent too high": lambda t: replace(t, exponent=t.exponent + 1),
    "exponent too low": lambda t: replace(t, exponent=t.exponent - 1),
    "other dtype": lambda t: replace(t, dtype="int16"),
    "swapped layout and shape": lambda t: replace(t, layout=(0, 1, 2), shape=(t.shape[0], t.shape[2], t.shape[1])),
    "swapped layout": lambda t: replace(t, layout=(0, 1, 2)),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
@pytest.mark.parametrize("name", TENSORS)
def test_a_wrong_tensor_fails_the_boundaries(build: Build, worker: Worker, name: str, fault: str) -> None:
    built = build("tutorial")
    wrong = change_tensor(built.quantized, name, TENSOR_FAULTS[fault])
    with pytest.raises(ProofError, match=rf"boundaries agree: \d+, but at most 0 is allowed\. stage .*'{name}'"):
        prove_integers(wrong, built.recordings, worker)


def test_a_file_with_other_inputs_fails_the_boundaries(build: Build, worker: Worker) -> None:
    built = build("tutorial")
    first, *rest = built.quantized.stages
    renamed = replace(first.caches[0], next="stage0.cache.after")
    wrong = replace(built.quantized, stages=(replace(first, caches=(renamed,)), *rest))
    with pytest.raises(ProofError, match=r"agree: 1, .*'stage0': .*'stage0\.cache\.after'"):
        prove_integers(wrong, built.recordings, worker)


# Proof 3: the files compute something else than the graph.


def bump_weight(stage: StageFile) -> StageFile:
    """The stage with one weight of a convolution one step larger."""
    file = read_espdl(stage.data)
    weights = next(file.tensors[op.inputs[1]].data for op in file.operators if op.type == "Conv")
    # However it is packed, either the outputs of one input channel stand in a row, or the inputs of one output.
    rows = [weights[:8, 0, 0].tobytes(), weights[0, :8, 0].tobytes()]
    row = next(row for row in rows if stage.data.count(row) == 1)
    at = stage.data.index(row)
    changed = bytearray(stage.data)
    changed[at] = (changed[at] + 1) % 256
    return replace(stage, data=bytes(changed))


@pytest.mark.parametrize("caches", ["explicit", "native"])
def test_a_changed_weight_fails_integer_parity(build: Build, worker: Worker, caches: str) -> None:
    built = build("tutorial", caches=caches)
    first, *rest = built.quantized.stages
    wrong = replace(built.quantized, stages=(bump_weight(first), *rest))
    message = (
        r"files window by window .*: \d+, but at most 0 is allowed\. tensor 'stage0\.\S+' from window \d on; largest "
        r"difference [\d.]+ of 0 steps; \d+ of \d+ values\. "
    )
    with pytest.raises(ProofError, match=message):
        prove_integers(wrong, built.recordings, worker)


def test_square_layouts_that_are_swapped_fail(worker: Worker) -> None:
    # With as many frames as channels every shape agrees, and only what the exporter noted tells before a run.
    module, recordings = CASES["skip_stages"].module(), CASES["skip_stages"].recordings(40, 24)
    model = convert(module, recordings[0], Streaming(window=8, stages=["low", "high"], caches="explicit"))
    quantized = quantize(model, calibrate(model, recordings), worker=worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
    wrong = change_tensor(quantized, "x", lambda t: replace(t, layout=(0, 1, 2), time_axis=2))
    with pytest.raises(ProofError, match=r"'x': layout \[0, 2, 1\] in .* \[0, 1, 2\] in"):
        prove_integers(wrong, recordings, worker)
    windows = integer_windows(wrong, {"x": recordings[0].unsqueeze(0)})
    right = ExecutorStream(quantized, worker).run(integer_windows(quantized, {"x": recordings[0].unsqueeze(0)}))
    proof = integer_parity("swapped", interpret(quantized).run(windows), right, 0, "")
    assert re.match(r"tensor '\S+' from window 0 on", proof.where)


def test_a_cache_that_starts_elsewhere_fails_integer_parity(build: Build, worker: Worker) -> None:
    built = build("tutorial")
    *rest, last = built.quantized.stages
    started = replace(last, caches=(replace(last.caches[0], initial=9),))
    wrong = replace(built.quantized, stages=(*rest, started))
    with pytest.raises(ProofError, match=r"files .*'stage2\.cache\.next' from window 0"):
        prove_integers(wrong, built.recordings, worker)


def test_caches_that_feed_each_other_fail(worker: Worker) -> None:
    module, recordings = shake(Chain()), CASES["two_caches"].recordings(40, 24)
    model = convert(module, recordings[0], Streaming(window=2, caches="explicit"))
    quantized = quantize(model, calibrate(model, recordings), worker=worker)
    (stage,) = quantized.stages
    low, high = stage.caches
    crossed = replace(stage, caches=(replace(low, next=high.next), replace(high, next=low.next)))
    with pytest.raises(ProofError, match=r"from window [12] on|stage 'stage_0': shape"):
        prove_integers(replace(quantized, stages=(crossed,)), recordings, worker)


def test_the_graph_of_another_model_fails_integer_parity(build: Build, worker: Worker) -> None:
    built = build("two_caches")
    other = CASES["two_caches"].module(seed=7)
    model = convert(other, built.recordings[0], replace(CASES["two_caches"].streaming, caches="explicit"))
    graph = quantize(model, built.samples, worker=worker).graph
    with pytest.raises(ProofError, match="files window by window"):
        prove_integers(replace(built.quantized, graph=graph), built.recordings, worker)


def test_state_that_is_not_reset_fails_integer_parity(
    build: Build, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build("two_caches")
    files = interpret(built.quantized)
    windows = integer_windows(built.quantized, {"x": built.recordings[0].unsqueeze(0)})
    state = files.initial_state(1)
    for window in windows:
        _, state = files.step(window, state)
    # What the recording left behind is what the next one starts from.
    monkeypatch.setattr(IntegerPipeline, "initial_state", lambda self, batch: dict(state))
    with pytest.raises(ProofError, match=r"files window by window .* from window 0 on"):
        prove_integers(built.quantized, built.recordings[:1], worker)


# Proof 4: what the chip computes wrongly.


class Loud(nn.Module):
    """Positive weights over many positive inputs: the sum leaves 20 bits."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(channels, 16, 1)
        nn.init.uniform_(self.layer.weight, 0.5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(x))

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


def test_an_accumulator_beyond_20_bits_fails_on_the_s3_only(worker: Worker) -> None:
    module, recordings = Loud(256).eval(), [torch.rand(256, 40) + 1]
    model = convert(module, recordings[0], Streaming(window=2))
    samples = calibrate(model, recordings)
    message = (
        r"accumulators fit 20 bits \(ESP32-S3\): \d+, but at most 524287 is allowed\. operator 'stage_0: /stages\.0/layer/Conv'"
        r".* Split the layer's input channels"
    )
    with pytest.raises(ProofError, match=message):
        prove_integers(quantize(model, samples, worker=worker), recordings, worker)
    assert prove_integers(quantize(model, samples, target="esp32p4", worker=worker), recordings, worker).proofs
    # The advice: int16, or fewer input channels.
    wide = quantize(model, samples, Quantization(int16=("layer",)), worker=worker)
    assert prove_integers(wide, recordings, worker).proofs
    small, quiet = Loud(16).eval(), [torch.rand(16, 40) + 1]
    fewer = convert(small, quiet[0], Streaming(window=2))
    assert prove_integers(quantize(fewer, calibrate(fewer, quiet), worker=worker), quiet, worker).proofs
