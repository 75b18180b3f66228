"""All refusals of a model in one message."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.conversion.collecting import MOST
from lightning_esp.errors import UnsupportedOperatorError


class Refused(nn.Module):
    """Three layers that no stream has, a causal one between them, and an output per frame."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.rnn = nn.GRU(4, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(self.norm(x), (2, 0)))
        y, _ = self.rnn(y.transpose(1, 2))
        return y.flip(1)


def test_each_is_told_in_the_order_of_the_data() -> None:
    with pytest.raises(UnsupportedOperatorError) as raised:
        convert(Refused().eval(), torch.randn(1, 4, 30), Streaming(time_axis=2))
    text = str(raised.value)
    places = [text.index(word) for word in ("'norm'", "2 more further on", "(2) module 'rnn'", "(3)", "reverses time")]
    assert places == sorted(places)
    assert text.count("To stream it") == 3


def test_what_reads_a_pooled_tensor_is_not_blamed() -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x.mean(-1, keepdim=True) * 2)

    with pytest.raises(UnsupportedOperatorError) as raised:
        convert(Pooled(), torch.randn(1, 4, 30), Streaming(time_axis=2))
    assert "further on" not in str(raised.value)


def test_many_are_counted() -> None:
    module = nn.Sequential(*(nn.InstanceNorm1d(4) for _ in range(MOST + 3))).eval()
    with pytest.raises(UnsupportedOperatorError, match=r"And 3 more\. Time is axis 2"):
        convert(module, torch.randn(1, 4, 30), Streaming(time_axis=2))
