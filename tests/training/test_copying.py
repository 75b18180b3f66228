"""Copies share nothing with the user's objects, and random states come back."""

import random

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lightning_esp.conversion.wrappers import unwrap
from lightning_esp.training.copying import copy_module, copy_shallow, isolate_random


class Keeps(pl.LightningModule):
    """Keeps tensors with a graph, as users do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)
        self.last = self.net(torch.ones(1, 2))
        self.outputs = [self.last * 2]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def test_a_module_with_graph_tensors_is_copied() -> None:
    module = Keeps().bfloat16()
    copied = copy_module(module)
    assert copied.net.weight.dtype is torch.float32
    assert copied.net.weight.data_ptr() != module.net.weight.data_ptr()
    assert not copied.last.requires_grad
    assert torch.equal(copied.outputs[0], module.outputs[0])


def test_a_compiled_lightning_module_runs_its_own_copy() -> None:
    from pytorch_lightning.utilities.compile import from_compiled

    module = from_compiled(torch.compile(Keeps(), backend="eager"))  # type: ignore[arg-type]
    copied = copy_module(module)
    with torch.no_grad():
        copied.net.weight.zero_()
        copied.net.bias.fill_(3.0)
    assert copied(torch.ones(1, 2)).tolist() == [[3.0, 3.0]]


def test_wrappers_are_taken_off() -> None:
    inner = nn.Linear(2, 2)
    module = nn.ModuleDict(
        {"a": torch.compile(AveragedModel(inner), backend="eager"), "b": nn.Sequential(AveragedModel(inner))}
    )
    unwrap(module)
    assert type(module["a"]) is nn.Linear
    assert sorted(module.state_dict()) == ["a.bias", "a.weight", "b.0.bias", "b.0.weight"]


def test_random_states_come_back_and_are_seeded_inside() -> None:
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    inside = []
    for _ in range(2):
        with isolate_random(5):
            inside.append(draw())
    assert inside[0] == inside[1] != expected
    assert draw() == expected


def test_a_shallow_copy_shares_data_but_no_generators() -> None:
    class Data:
        def __init__(self) -> None:
            self.items = [1, 2]
            self.generators = None
            self.torch = torch.Generator().manual_seed(1)
            self.numpy = np.random.default_rng(1)
            self.python = random.Random(1)

    data = Data()
    copied = copy_shallow(data)
    first = [float(torch.rand(1, generator=copied.torch)), copied.numpy.random(), copied.python.random()]
    assert first == [float(torch.rand(1, generator=data.torch)), data.numpy.random(), data.python.random()]
    assert copied.items is data.items
