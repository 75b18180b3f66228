"""Make the reference model of `idf_project/components/lesp_model`: the one generated thing in git.

    python -m tests.bundle.make_reference_model

A residual causal network of 8 channels with two convolutions that remember, on random frames, exported like any other
model. With it `idf_project` builds and passes its self-test as it stands. Run this again when the format of the
generated files changes, and commit what it writes.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Deployment, Streaming, export

PROJECT = Path(__file__).parents[2] / "idf_project"
TARGET = "esp32s3"
TABLES = ("partitions.csv", "partitions_model.csv", "partitions_update.csv", "partitions_ota.csv")


class Block(nn.Module):
    """`x + conv(relu(conv(x)))`, causal."""

    def __init__(self, channels: int = 8, kernel: int = 3, dilation: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, kernel)
        self.second = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        self.past = (kernel - 1, (kernel - 1) * dilation)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(F.pad(x, (self.past[0], 0))))
        return x + self.second(F.pad(hidden, (self.past[1], 0)))

    def streaming_forward(self, x: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = torch.cat([first, x], dim=2)
        hidden = torch.cat([second, torch.relu(self.first(seen))], dim=2)
        return x + self.second(hidden), seen[:, :, -self.past[0] :], hidden[:, :, -self.past[1] :]

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        channels = self.first.in_channels
        return {"first": (channels, self.past[0]), "second": (channels, self.past[1])}


def export_reference(directory: Path) -> None:
    """Export the model with fixed random weights and recordings."""
    torch.manual_seed(0)
    module = Block().eval()
    recordings = [torch.randn(8, frames) for frames in (300, 301, 150, 60, 99)]
    export(module, recordings, directory, TARGET, Streaming(window=3, caches="explicit"), deployment=Deployment())


def main() -> None:
    """Export and put the generated files into `idf_project`."""
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        export_reference(bundle)
        folder = PROJECT / "components/lesp_model" / TARGET
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle / "components/lesp_model" / TARGET, folder)
        for table in TABLES:
            shutil.copy(bundle / table, PROJECT / table)


if __name__ == "__main__":
    main()
