"""Modules that an export refuses, and the files of one that it wrote."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.contracts import Skip


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


class Wrong(Skip):
    """Streams something else."""

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        output, after = super().streaming_forward(x, cache)
        return output + 0.01, after


class Padded(Skip):
    """Looks ahead."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(F.pad(x, (1, 1)))) + x


class Refused(nn.Module):
    """esp-ppq has no such operator; it changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tril(x.unsqueeze(-1)).squeeze(-1)

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)
