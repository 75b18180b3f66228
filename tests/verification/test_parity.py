"""Proof 1 on models that pass it: what is compared, and what is not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.conversion import StreamingModel
from lightning_esp.errors import DataError
from lightning_esp.verification.integers import integer_parity
from lightning_esp.verification.parity import LIMITS, comparable, float_parity
from tests.models.contracts import CASES, Skip, Strided, Valid
from tests.models.tutorial_tcn import TutorialTcn, shake


def model_of(name: str) -> tuple[nn.Module, StreamingModel]:
    case = CASES[name]
    module = case.module()
    return module, convert(module, case.recordings(40)[0], case.streaming)


@pytest.mark.parametrize("name", CASES)
def test_every_model_passes_in_both_precisions(name: str) -> None:
    module, model = model_of(name)
    proofs, notes = float_parity(module, model, CASES[name].recordings(40, 41, 7, 40, 1))
    assert [(proof.name, proof.limit) for proof in proofs] == [
        ("float parity, float32", 1e-5),
        ("float parity, float64", 1e-10),
    ]
    assert all(proof.passed and proof.figure <= proof.limit for proof in proofs)
    assert notes == ()


def test_the_tutorial_at_its_full_size() -> None:
    torch.manual_seed(0)
    module, recordings = shake(TutorialTcn()), [torch.randn(64, n) for n in (50, 31)]
    model = convert(module, recordings[0], Streaming(window=3, stages=["stage0", "stage1", "stage2"]))
    assert [proof.passed for proof in float_parity(module, model, recordings)[0]] == [True, True]


class Two(nn.Module):
    """Two stages."""

    def __init__(self, low: nn.Module, high: nn.Module) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x))


PARTS = {"skip": Skip, "valid": Valid, "strided": Strided}


@pytest.mark.parametrize(
    ("low", "high"),
    [("skip", "valid"), ("skip", "strided"), ("strided", "skip"), ("valid", "valid"), ("strided", "strided")],
)
def test_stages_may_run_at_different_paces(low: str, high: str) -> None:
    torch.manual_seed(0)
    # Whole strides only: what a layer inside pads behind a broken one, no stream can know.
    module, recordings = shake(Two(PARTS[low](), PARTS[high]())), [torch.randn(8, n) for n in (40, 44, 52)]
    model = convert(module, recordings[0], Streaming(window=4, stages=["low", "high"]))
    proofs, _ = float_parity(module, model, recordings)
    assert [proof.where for proof in proofs if not proof.passed] == []


def test_padding_behind_a_layer_without_it_cannot_be_streamed() -> None:
    # The stream hands on what the first layer makes of the zeros before the start; offline, the second one pads zeros.
    torch.manual_seed(0)
    module, recordings = shake(Two(Valid(), Skip())), [torch.randn(8, 40)]
    model = convert(module, recordings[0], Streaming(window=4, stages=["low", "high"]))
    proofs, _ = float_parity(module, model, recordings)
    assert not proofs[0].passed
    assert proofs[0].where == "stage 'high', output 'output', from frame 0 of 38"


def test_recordings_without_an_output_frame_are_left_out() -> None:
    module, model = model_of("valid")
    with pytest.raises(DataError, match="has 2 frames, and the model consumes 2 before"):
        float_parity(module, model, CASES["valid"].recordings(2, 1))
    # The advice.
    assert float_parity(module, model, CASES["valid"].recordings(2, 3))[0][0].passed


class Mixed(Skip):
    """Mixes its channels by a tensor that it makes as it runs."""

    def mixer(self) -> Tensor:
        return torch.linspace(0.1, 1, 64, dtype=torch.float32).reshape(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(super().forward(x).float(), self.mixer())

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        output, after = super().streaming_forward(x, cache)
        return F.conv1d(output.to(torch.float32), self.mixer()), after


def test_tensors_that_forward_makes_in_float32_are_float64_in_the_float64_proof() -> None:
    module, recordings = shake(Mixed()), [torch.randn(8, 30)]
    proofs, notes = float_parity(module, convert(module, recordings[0], Streaming(window=2)), recordings)
    assert [proof.name for proof in proofs] == ["float parity, float32", "float parity, float64"]
    assert all(proof.passed for proof in proofs)
    assert notes == ()


def test_a_forward_that_reads_float32_tensors_of_its_own_gets_a_note() -> None:
    class Fixed(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.stored = torch.ones(8, 8, 1)

        def mixer(self) -> Tensor:
            return self.stored

    module, recordings = shake(Fixed()), [torch.randn(8, 30)]
    proofs, notes = float_parity(module, convert(module, recordings[0], Streaming(window=2)), recordings)
    assert [proof.name for proof in proofs] == ["float parity, float32"]
    assert len(notes) == 1
    assert notes[0].startswith(
        "float parity, float64 was not compared, since forward reads float32 tensors that are neither parameters nor buffers: "
    )


def test_a_network_that_cancels_is_judged_by_its_own_rounding() -> None:
    class Cancelling(Skip):
        def forward(self, x: Tensor) -> Tensor:
            y = 1e5 * super().forward(x)
            return y - (y - y / 1e6)

        def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
            output, after = super().streaming_forward(x, cache)
            # The same, but for rounding.
            y = 3e5 * output
            return y - (y - y / 3e6), after

    class Wrong(Cancelling):
        def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
            output, after = super().streaming_forward(x, cache)
            return output + 1e-3, after

    for kind, passes in ((Cancelling, True), (Wrong, False)):
        module, recordings = shake(kind()), [torch.randn(8, 30)]
        model = convert(module, recordings[0], Streaming(window=2))
        proofs, notes = float_parity(module, model, recordings)
        assert proofs[0].figure > LIMITS[torch.float32]
        assert [proof.passed for proof in proofs] == [passes, passes]
        assert ["judged by what rounding does" in note for note in notes] == [True] * passes


def test_a_large_output_is_judged_relative_to_its_size() -> None:
    class Loud(Skip):
        def forward(self, x: Tensor) -> Tensor:
            return 1e6 * super().forward(x)

        def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
            output, after = super().streaming_forward(x, cache)
            return 1e6 * output, after

    module, recordings = shake(Loud()), [torch.randn(8, 30)]
    proofs, _ = float_parity(module, convert(module, recordings[0], Streaming(window=2)), recordings)
    assert proofs[0].figure <= LIMITS[torch.float32]


def test_the_module_is_left_as_it_was() -> None:
    module, model = model_of("tutorial")
    module.train()
    float_parity(module, model, CASES["tutorial"].recordings(20))
    assert module.training
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    assert {value.dtype for stage in model.stages for value in stage.parameters()} == {torch.float32}
    assert not any(part._forward_hooks for part in module.modules())


def test_a_causal_model_is_compared_from_the_first_to_the_last_frame() -> None:
    _, model = model_of("two_caches")
    assert comparable(model.spec, model.spec.outputs[0], 40, 40) == (0, 40)
    _, late = model_of("valid")
    assert comparable(late.spec, late.spec.outputs[0], 40, 38) == (0, 38)


class Codec(nn.Module):
    """Frames of 8 samples every 4, with the least padding: the last incomplete frame does not exist offline."""

    def __init__(self, late: int = 0) -> None:
        super().__init__()
        self.late = late
        self.encoder, self.decoder = nn.Conv1d(1, 6, 8, stride=4), nn.ConvTranspose1d(6, 1, 8, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.decoder(torch.relu(self.encoder(F.pad(x, (4 - self.late, 0)))))
        return y[..., : x.shape[-1]]


@pytest.mark.parametrize("frames", [40, 41, 43, 44])
def test_an_incomplete_last_stride_is_not_compared_and_said_so(frames: int) -> None:
    module, recordings = shake(Codec()), [torch.randn(1, frames)]
    model = convert(module, recordings[0])
    assert comparable(model.spec, model.spec.outputs[0], frames, frames) == (0, frames // 4 * 4)
    proofs, notes = float_parity(module, model, recordings)
    assert all(proof.passed for proof in proofs)
    assert (len(notes) == 1) == (frames % 4 > 0)
    assert all("incomplete last stride" in note for note in notes)


@pytest.mark.parametrize(("dtype", "passes"), [("int16", True), ("int8", False)])
def test_steps_are_allowed_to_int16_alone(dtype: str, passes: bool) -> None:
    right = np.zeros((1, 100), dtype)
    wrong = right.copy()
    wrong[0, 7] = 1
    proof = integer_parity("two ways", [{"output": right}], [{"output": wrong}], 2, "")
    assert proof.passed is passes
    assert "tensor 'output'" in proof.where
