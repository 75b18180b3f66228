"""A repeated tensor is a concatenation of it with itself."""

import pytest
import torch
from torch import nn

from lightning_esp import export
from tests.quantization.rewrites.written import assert_same, types


class _Repeated(nn.Module):
    def __init__(self, *repeats: int) -> None:
        super().__init__()
        self.repeats, self.mix = repeats, nn.Conv1d(4 * repeats[1], 4, 1)

    def forward(self, x):
        return self.mix(torch.tanh(x).repeat(self.repeats))


@pytest.mark.parametrize(("repeats", "joined"), [((1, 2, 1), 1), ((1, 3, 2), 2), ((1, 1, 1), 0)])
def test_a_repetition_is_a_concatenation_along_each_axis(repeats: tuple[int, ...], joined: int) -> None:
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    assert types(assert_same(_Repeated(*repeats), x)) == ["Tanh", *["Concat"] * joined, "Conv"]


@pytest.mark.parametrize("target", ["esp32s3", "esp32c3"])
def test_repeated_channels_are_exported(target: str, tmp_path) -> None:
    torch.manual_seed(0)
    bundle = export(_Repeated(1, 3, 1), [torch.randn(4, 50) for _ in range(2)], tmp_path / "b", target)
    assert all(proof["passed"] for proof in bundle.manifest["proofs"])
    assert not bundle.doubts
