"""What training computes as the chip does is what the chip computes: the same integers, with gradients."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import (
    Calibration,
    Quantization,
    QuantizedModel,
    Streaming,
    StreamingModel,
    calibrate,
    convert,
    quantize,
)
from lightning_esp.conversion import Recording
from lightning_esp.errors import ConversionError, QuantizationError
from lightning_esp.quantization import Exponents, Worker
from lightning_esp.quantization_aware import Preparation, QuantizedForward, prepare, prove_seen
from lightning_esp.quantization_aware.sources import find_place, make_unlike
from lightning_esp.simulation import QuantizedStreaming
from tests.models.architectures import NAMED
from tests.models.contracts import CASES

PAIRS = [("int8", "esp32s3"), ("int8", "esp32p4"), ("int16", "esp32s3"), ("int16", "esp32p4")]


@dataclass(frozen=True)
class Work:
    """A module and what is wanted of it."""

    module: nn.Module
    recordings: list[Any]
    streaming: Streaming
    worker: Worker
    precision: str = "int8"
    target: str = "esp32s3"

    @property
    def quantization(self) -> Quantization:
        return Quantization(precision=self.precision)  # type: ignore[arg-type]

    def make(self, module: nn.Module, window: int | None) -> StreamingModel:
        streaming = replace(self.streaming, window=window or self.streaming.window)
        return convert(module, self.recordings[0], streaming, targets=(self.target,))

    def prepare(self, exponents: Exponents | None = None) -> Preparation:
        options = (self.module, self.make, self.recordings, Calibration(), self.quantization, self.target)
        return prepare(*options, worker=self.worker, exponents=exponents)

    def export(self, exponents: Exponents) -> QuantizedModel:
        """With the window of the export, window by window."""
        model = self.make(self.module, None)
        samples = calibrate(model, self.recordings)
        return quantize(model, samples, self.quantization, self.target, worker=self.worker, exponents=exponents)


def batch_of(recording: Recording, preparation: Preparation) -> dict[str, Tensor]:
    named = recording if isinstance(recording, Mapping) else {preparation.quantized.spec.inputs[0].name: recording}
    return {name: value[None] for name, value in named.items()}


def hold(work: Work, lost: int = 0) -> None:
    """Every integer is that of the files, and every parameter that matters has a gradient."""
    preparation = work.prepare()
    exported = work.export(preparation.exponents)
    proof, _ = prove_seen(preparation, work.module, exported, work.recordings)
    assert proof.passed, proof
    given = batch_of(work.recordings[0], preparation)
    stream = QuantizedStreaming(exported)(**given)
    assert all(len(output.unique()) > 3 for output in (stream if isinstance(stream, tuple) else (stream,)))
    outputs = QuantizedForward(preparation.image(), work.module)(**given)
    losses = [output.square().sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
    sum(losses, torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert sum(parameter.grad is None for parameter in work.module.parameters()) == lost


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("precision", "target"), PAIRS[:2])
def test_hand_written_streams_are_the_files_to_the_bit(name: str, precision: str, target: str, worker: Worker) -> None:
    case = CASES[name]
    module, recordings = case.module(), case.recordings(40, 41, 24, 7)
    hold(Work(module, recordings, case.streaming, worker, precision, target))


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
    hold(Work(module, recordings, Streaming(time_axis=named.axis), worker, precision, target))


def test_a_parameter_that_no_output_depends_on_is_left_alone(worker: Worker) -> None:
    named = NAMED["wavenet"]
    module = named.module().float()
    recordings = [named.recording(frames, seed=frames)[0].float() for frames in (40, 48)]
    hold(Work(module, recordings, Streaming(), worker), lost=2)


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
    hold(Work(recipe, SOUNDS, Streaming(stages=stages), worker, "int8", target))


def test_weights_that_training_has_changed_are_exported_as_training_saw_them(recipe: nn.Module, worker: Worker) -> None:
    work = Work(recipe, SOUNDS, Streaming(), worker, target="esp32p4")
    before = work.prepare()
    untrained = work.export(before.exponents)
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
    trained = work.export(before.exponents)
    assert trained.stages[0].data != untrained.stages[0].data
    assert prove_seen(before, recipe, trained, SOUNDS)[0].passed
    assert not prove_seen(before, recipe, untrained, SOUNDS)[0].passed


def test_another_weight_than_the_exported_one_is_told(recipe: nn.Module, worker: Worker) -> None:
    preparation = Work(recipe, SOUNDS, Streaming(), worker).prepare()
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
    preparation = Work(recipe, SOUNDS, Streaming(), worker).prepare()
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
        Work(module, recordings, Streaming(), worker).prepare()
    module[1].requires_grad_(False)
    preparation = Work(module, recordings, Streaming(), worker).prepare()
    assert prove_seen(preparation, module, preparation.quantized, recordings)[0].passed


@pytest.mark.parametrize(("lengths", "window"), [((60, 60), 60), ((60, 30), 32), ((300, 300), 150)])
def test_long_windows_compute_what_short_ones_do(lengths: tuple[int, ...], window: int, worker: Worker) -> None:
    named = NAMED["keyword_tcn"]
    recordings = [named.recording(frames, seed=frames)[0].float() for frames in lengths]
    work = Work(named.module().float(), recordings, Streaming(stages=2), worker)
    assert work.prepare().quantized.spec.window == window
    hold(work)


class Wide(nn.Module):
    """Of its parameters, many have neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(96, 64, batch_first=True), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.gru(x)[0]))


def test_of_many_parameters_each_is_found(worker: Worker) -> None:
    torch.manual_seed(0)
    hold(Work(Wide(), [torch.randn(20, 96), torch.randn(20, 96)], Streaming(), worker))


def test_values_that_are_there_twice_have_no_place() -> None:
    layer = make_unlike(nn.GRU(3, 2))
    values = layer.weight_hh_l0.detach().clone()  # type: ignore[union-attr]
    assert find_place(layer, values.flip(0).numpy(), (6, 2)) is not None
    with torch.no_grad():
        layer.bias_ih_l0[0] = values[1, 1]  # type: ignore[index,operator]
    assert find_place(layer, values.flip(0).numpy(), (6, 2)) is None


def test_exponents_of_another_network_are_refused(worker: Worker) -> None:
    recordings = [torch.randn(4, 30), torch.randn(4, 20)]
    small, large = nn.Conv1d(4, 2, 1), nn.Sequential(nn.Conv1d(4, 4, 1), nn.ReLU(), nn.Conv1d(4, 2, 1))
    exponents = Work(small.eval(), recordings, Streaming(), worker).prepare().exponents
    with pytest.raises(QuantizationError, match="not the network that was trained with these exponents"):
        Work(large.eval(), recordings, Streaming(), worker).export(exponents)


def test_gradients_are_nearly_those_of_the_float_network(recipe: nn.Module, worker: Worker) -> None:
    work = Work(recipe, SOUNDS, Streaming(), worker)
    found = []
    for function in (recipe, QuantizedForward(work.prepare().image(), recipe)):
        recipe.zero_grad()
        (function(SOUNDS[0][None]) - 0.5).square().mean().backward()
        found.append([p.grad.flatten().clone() for p in recipe.parameters() if p.grad is not None])
    likeness = [torch.cosine_similarity(first, second, 0).item() for first, second in zip(*found, strict=True)]
    assert min(likeness) > 0.9
