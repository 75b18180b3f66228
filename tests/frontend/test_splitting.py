"""A front end inside the exported module is taken out, so that the firmware listens, and the whole stays what it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import export, simulate
from lightning_esp.errors import ConversionError
from lightning_esp.frontend import LogMel, find_inside
from lightning_esp.verification import TaskResult
from tests.models.pieces import CausalConv


class Whole(nn.Module):
    """Samples, features, a shift, a turn and a network."""

    def __init__(self) -> None:
        super().__init__()
        self.ear, self.norm = LogMel(num_mel_bins=12), nn.BatchNorm1d(12)
        self.conv, self.head = CausalConv(12, 8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = (self.norm(self.ear(x.squeeze(1))) + 4.0) / 8.0
        return self.head(torch.relu(self.conv(y)).transpose(1, 2))  # type: ignore[no-any-return]


class Louder(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


def recordings(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(1, 6000 + 800 * i, generator=generator) for i in range(count)]


@pytest.mark.parametrize("target", ["esp32s3", "esp32c3"])
def test_the_bundle_listens_and_equals_the_whole(tmp_path: Path, target: str) -> None:
    torch.manual_seed(0)
    module, heard = Whole().eval(), recordings()
    seen: list[Tensor] = []

    def evaluate(stream: nn.Module) -> TaskResult:
        seen.append(stream(heard[0][None]))
        return TaskResult({}, {}, (), ())

    bundle = export(module, heard, tmp_path / "bundle", target, evaluate=evaluate)
    assert isinstance(module.ear, LogMel), "the user's module stays as it is"
    assert bundle.manifest["frontend"]["bands"] == 12
    assert bundle.manifest["frontend"]["kind"] == "Fbank"
    with torch.no_grad():
        offline = module(heard[0][None])[0]
    assert seen[0].shape[1:] == offline.shape
    noise = (seen[0][0] - offline).square().mean()
    assert float(10 * torch.log10(offline.square().mean() / noise)) > 15
    features = module.ear(heard[0])[0]
    assert simulate(bundle, features).shape == offline.shape


def test_what_happens_to_samples_before_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"'ear' \(LogMel\) inside Louder cannot be taken"):
        export(Louder().eval(), recordings(), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("module", "path"),
    [
        (lambda: nn.Sequential(LogMel(), nn.Linear(2, 2)), "0"),
        (lambda: nn.Sequential(LogMel(), LogMel()), None),
        (LogMel, None),
        (lambda: nn.Linear(2, 2), None),
    ],
    ids=["one", "two", "itself", "none"],
)
def test_the_only_one_is_found(module: Any, path: str | None) -> None:
    assert find_inside(module()) == path
