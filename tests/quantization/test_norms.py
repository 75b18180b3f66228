"""Layer norms on the chip and in esp-ppq round the same way, next to a tie too."""

import torch
from torch import nn

from lightning_esp import Quantization
from lightning_esp.quantization import Worker
from tests.models.pieces import Function
from tests.models.proved import prove


def test_a_norm_next_to_a_tie_is_rounded_as_the_chip_rounds_it(worker: Worker) -> None:
    module = Function(lambda m, x: m.norm(x.mT).mT, norm=nn.RMSNorm(2)).eval()
    with torch.no_grad():
        # Odd numbers of 1/128, where the output has steps of 1/64: channels of one size give these, but for an epsilon.
        module.norm.weight.copy_(torch.tensor([115 / 128, 51 / 128]))
    generator = torch.Generator().manual_seed(0)
    loudness = 3 * torch.rand(1, 200, generator=generator) + 1
    same = loudness * (torch.randint(0, 2, (2, 200), generator=generator) * 2 - 1)
    alone = torch.tensor([[4.0], [0.0]]).expand(2, 20)
    prove(module, [torch.cat([same, alone], dim=1), same], worker, quantization=Quantization(method="minmax"))
