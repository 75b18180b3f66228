"""Transpositions that esp-ppq joins keep their integers."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.quantization import Worker
from tests.models.proved import KEEP_RANGE, prove


class Joined(nn.Module):
    """A turned tensor that is added to one of another exponent, in front of a convolution: [batch, 1, time, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.frame, self.last = (
            nn.Conv2d(1, 4, (1, 3), padding=(0, 1)),
            nn.Linear(8, 32),
            nn.Conv2d(4, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, bins = x.shape
        turned = self.frame(x[:, 0]).view(batch, frames, 4, bins).transpose(1, 2)
        return self.last(turned + 4 * torch.relu(self.image(x)))


def test_a_turned_operand_is_requantized_and_not_renamed(worker: Worker) -> None:
    torch.manual_seed(0)
    recordings = [torch.randn(1, frames, 8) for frames in (24, 15)]
    wanted = replace(KEEP_RANGE, method="minmax")
    prove(Joined().eval(), recordings, worker, Streaming(time_axis=2), least_decibels=22, quantization=wanted)
