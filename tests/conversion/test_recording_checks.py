"""Recordings that are no recordings are refused by name and type, wherever they come in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightning_esp import Simulation, calibrate, convert, export
from lightning_esp.errors import LightningEspError
from tests.models.built import Built

MODULE = nn.Conv1d(4, 3, 3)
RECORDING = torch.randn(4, 40)
WRONG: dict[str, tuple[object, str]] = {
    "arrays": ([RECORDING.numpy()], r"recording 0 is a ndarray; give a tensor, torch\.as_tensor"),
    "lists": ([RECORDING, [[0.0] * 40] * 4], "recording 1 is a list; give a tensor"),
    "a generator": (iter([RECORDING]), r"the recordings are a list_iterator, which can be read once.*give a list"),
    "one tensor": (RECORDING, r"the recordings are a Tensor; give a list with one tensor for each"),
    "a mapping of arrays": ([{"input": RECORDING.numpy()}], r"recording 0: input 'input' is a ndarray"),
    "complex numbers": (
        [RECORDING.to(torch.complex64)],
        r"recording 0 is torch\.complex64, and the chip has no complex",
    ),
    "nothing": ([], "no recordings"),
}


@pytest.mark.parametrize("name", WRONG)
def test_recordings_of_a_wrong_kind_are_not_exported(name: str, tmp_path: Path) -> None:
    recordings, message = WRONG[name]
    with pytest.raises(LightningEspError, match=message):
        export(MODULE, recordings, tmp_path / "b")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(WRONG))
def test_recordings_of_a_wrong_kind_do_not_calibrate(name: str) -> None:
    recordings, message = WRONG[name]
    model = convert(MODULE, RECORDING)
    with pytest.raises(LightningEspError, match=message):
        calibrate(model, recordings)  # type: ignore[arg-type]


def test_double_precision_is_refused_where_nothing_converts_it() -> None:
    with pytest.raises(LightningEspError, match=r"are torch\.float64, but .* computes in float32"):
        calibrate(convert(MODULE, RECORDING), [RECORDING.double()])


@pytest.mark.parametrize("frames", [np.zeros((1, 8, 40), np.float32), [[0.0]]], ids=["array", "list"])
def test_a_simulation_steps_tensors(build: Callable[..., Built], frames: object) -> None:
    with pytest.raises(LightningEspError, match=r"step is a (ndarray|list); give a tensor"):
        Simulation(build("stateless").quantized).step(frames)  # type: ignore[arg-type]
