"""The module to export: found where there is one, and named by the user where there are several."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics.classification import MulticlassAccuracy

from lightning_esp.errors import ConfigurationError
from lightning_esp.training.selection import find_module


class ArcFaceLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


class Root(nn.Module):
    """Takes its children by name."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


def test_metrics_losses_and_modules_without_parameters_are_no_candidates() -> None:
    root = Root(
        front=nn.AvgPool1d(2),
        accuracy=MulticlassAccuracy(3),
        loss=nn.CrossEntropyLoss(torch.ones(3)),
        margin=ArcFaceLoss(),
        net=nn.Linear(2, 3),
    )
    assert find_module(root, None) == "net"


def test_a_streaming_module_is_exported_whole() -> None:
    root = Root(a=nn.Linear(1, 1), b=nn.Linear(1, 1))
    root.streaming_forward = lambda x: x  # type: ignore[assignment]
    assert find_module(root, None) == ""


def test_one_network_under_several_names_is_one() -> None:
    net = nn.Linear(2, 2)
    assert find_module(Root(net=net, fast=torch.compile(net, backend="eager")), None) == "net"  # type: ignore[arg-type]


def test_an_averaged_copy_stands_for_the_network() -> None:
    net = nn.Linear(2, 2)
    assert find_module(Root(net=net, average=AveragedModel(net)), None) == "average"


def test_paths() -> None:
    root = Root(net=nn.Sequential(nn.Linear(1, 1)))
    assert find_module(root, "net.0") == "net.0"
    assert find_module(root, ".") == ""
    with pytest.raises(ConfigurationError, match=r"module='net\.1'\): Root has no submodule .*'net'"):
        find_module(root, "net.1")


def test_none_or_several_are_refused_with_advice() -> None:
    with pytest.raises(ConfigurationError, match=r"Root has no child module with parameters.*module='\.'"):
        find_module(Root(front=nn.AvgPool1d(2)), None)
    with pytest.raises(ConfigurationError, match=r"2 child modules .*'a' \(Linear\), 'b' \(GRU\)"):
        find_module(Root(a=nn.Linear(1, 1), b=nn.GRU(1, 1)), None)
