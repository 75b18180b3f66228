"""What training computes as the chip does is what the chip computes: the same integers, with gradients."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Calibration, Quantization, Streaming, convert
from lightning_esp.conversion import Recording
from lightning_esp.errors import ConversionError
from lightning_esp.quantization import Worker
from lightning_esp.quantization_aware import Preparation, QuantizedForward, prepare, prove_seen
from lightning_esp.simulation import QuantizedStreaming
from tests.models.architectures import NAMED
from tests.models.contracts import CASES

PAIRS = [("int8", "esp32s3"), ("int8", "esp32p4"), ("int16", "esp32s3"), ("int16", "esp32p4")]


def prepared(
    module: nn.Module,
    recordings: list[Any],
    streaming: Streaming,
    worker: Worker,
    precision: str = "int8",
    target: str = "esp32s3",
    **options: Any,
) -> Preparation:
    return prepare(
        module,
        lambda network: convert(network, recordings[0], streaming, targets=(target,)),
        recordings,
        Calibration(),
        Quantization(precision=precision),  # type: ignore[arg-type]
        target,
        worker=worker,
        **options,
    )


def batch_of(recording: Recording, preparation: Preparation) -> dict[str, Tensor]:
    named = recording if isinstance(recording, Mapping) else {preparation.quantized.spec.inputs[0].name: recording}
    return {name: value[None] for name, value in named.items()}


def hold(module: nn.Module, preparation: Preparation, recordings: list[Any], lost: int = 0) -> None:
    """Every integer is that of the files, and every parameter that matters has a gradient."""
    proof, _ = prove_seen(preparation, module, preparation.quantized, recordings)
    assert proof.passed, proof
    given = batch_of(recordings[0], preparation)
    stream = QuantizedStreaming(preparation.quantized)(**given)
    assert all(len(output.unique()) > 3 for output in (stream if isinstance(stream, tuple) else (stream,)))
    outputs = QuantizedForward(preparation.image(), module)(**given)
    sum(
        (output.square().sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,))), torch.zeros(())
    ).backward()
    assert sum(parameter.grad is None for parameter in module.parameters()) == lost


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("precision", "target"), PAIRS[:2])
def test_hand_written_streams_are_the_files_to_the_bit(name: str, precision: str, target: str, worker: Worker) -> None:
    case = CASES[name]
    module, recordings = case.module(), case.recordings(40, 41, 24, 7)
    hold(module, prepared(module, recordings, case.streaming, worker, precision, target), recordings)


@pytest.mark.parametrize(
    ("name", "precision", "target"),
    [
        ("keyword_tcn", *PAIRS[2]),
        ("tc_resnet", *PAIRS[1]),
        ("bc_resnet", *PAIRS[3]),
        ("matchboxnet", *PAIRS[0]),
        ("unet", *PAIRS[2]),
        ("densenet", *PAIRS[1]),
        ("squeeze_excite", *PAIRS[0]),
        ("gru", *PAIRS[0]),
        ("gru", *PAIRS[3]),
        ("lstm", *PAIRS[1]),
        ("lstm", *PAIRS[2]),
        ("denoiser", *PAIRS[0]),
    ],
)
def test_converted_networks_are_the_files_to_the_bit(name: str, precision: str, target: str, worker: Worker) -> None:
    named = NAMED[name]
    module = named.module().float()
    recordings = [named.recording(frames, seed=frames)[0].float() for frames in (40, 48, 32)]
    hold(module, prepared(module, recordings, Streaming(time_axis=named.axis), worker, precision, target), recordings)


def test_a_parameter_that_no_output_depends_on_is_left_alone(worker: Worker) -> None:
    named = NAMED["wavenet"]
    module = named.module().float()
    recordings = [named.recording(frames, seed=frames)[0].float() for frames in (40, 48)]
    hold(module, prepared(module, recordings, Streaming(), worker), recordings, lost=2)


@pytest.fixture(scope="module")
def recipe() -> nn.Module:
    """The network of the keyword recipe, small, with batch norms that have seen data."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))
    try:
        from tcn import KeywordTcn
    finally:
        sys.path.pop(0)
    torch.manual_seed(0)
    network = KeywordTcn(32, 5, 24, 5, (1, 2), (8, 8))
    for _ in range(10):
        network(3 * torch.randn(8, 32, 40))
    return network.eval()


SOUNDS = [3 * torch.randn(32, frames, generator=torch.Generator().manual_seed(frames)) for frames in (60, 57, 80)]


@pytest.mark.parametrize("target", ["esp32s3", "esp32p4", "esp32c3"])
@pytest.mark.parametrize("stages", [1, 2])
def test_the_network_of_the_recipe_is_the_files_to_the_bit(
    recipe: nn.Module, target: str, stages: int, worker: Worker
) -> None:
    hold(recipe, prepared(recipe, SOUNDS, Streaming(stages=stages), worker, "int8", target), SOUNDS)


def test_weights_that_training_has_changed_are_exported_as_training_saw_them(recipe: nn.Module, worker: Worker) -> None:
    before = prepared(recipe, SOUNDS, Streaming(), worker, target="esp32p4")
    forward = QuantizedForward(before.image(), recipe)
    optimizer = torch.optim.SGD(recipe.parameters(), 0.05)
    losses = []
    for _ in range(6):
        loss = (forward(SOUNDS[0][None]) - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = prepared(recipe, SOUNDS, Streaming(), worker, target="esp32p4", exponents=before.exponents)
    assert after.exponents == before.exponents
    assert after.quantized.stages[0].data != before.quantized.stages[0].data
    assert prove_seen(before, recipe, after.quantized, SOUNDS)[0].passed


def test_another_weight_than_the_exported_one_is_told(recipe: nn.Module, worker: Worker) -> None:
    preparation = prepared(recipe, SOUNDS, Streaming(), worker)
    bias = recipe.get_parameter("head.bias")
    with torch.no_grad():
        bias += 0.2
        proof, note = prove_seen(preparation, recipe, preparation.quantized, SOUNDS)
        bias -= 0.2
    assert not proof.passed
    assert proof.figure > 100
    assert "output, recording 0" in proof.where
    assert note == f"training saw the chip: {proof.figure} of 985 output values differ from what it computed."


def test_one_frame_from_before_is_seen_by_the_gradient_of_the_next(recipe: nn.Module, worker: Worker) -> None:
    preparation = prepared(recipe, SOUNDS, Streaming(), worker)
    sound = SOUNDS[0][None].clone().requires_grad_(True)
    QuantizedForward(preparation.image(), recipe)(sound)[0, :, 30].sum().backward()
    assert sound.grad is not None
    reached = sound.grad.abs().sum((0, 1)).nonzero().flatten()
    assert reached.max() == 30
    assert reached.min() < 25


def test_a_parameter_that_a_table_holds_is_refused_by_its_name(worker: Worker) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(4, 4, 1), nn.PReLU(), nn.Conv1d(4, 2, 1)).eval()
    recordings = [torch.randn(4, 30), torch.randn(4, 20)]
    with pytest.raises(ConversionError, match=r"the parameter '1\.weight' into"):
        prepared(module, recordings, Streaming(), worker)
    module[1].requires_grad_(False)
    preparation = prepared(module, recordings, Streaming(), worker)
    assert prove_seen(preparation, module, preparation.quantized, recordings)[0].passed
