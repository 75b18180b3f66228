"""Models of several outputs: what is an output of its own, and what is refused by its place."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Streaming, convert, export, simulate
from lightning_esp.conversion.geometry import as_tuple
from lightning_esp.errors import ConversionError, UnsupportedOperatorError
from tests.models.pieces import CausalConv


class Outputs(nn.Module):
    """A layer, a head behind it, and whatever `give` makes of these and the input."""

    def __init__(self, give: Callable[[Tensor, Tensor, Tensor], object]) -> None:
        super().__init__()
        self.give, self.conv, self.head = give, CausalConv(4, 6, 3), CausalConv(6, 3, 2)

    def forward(self, x: Tensor) -> object:
        hidden = torch.relu(self.conv(x))
        return self.give(x, hidden, self.head(hidden))


class Pair(NamedTuple):
    score: Tensor
    hidden: Tensor


GIVEN: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], object], int, int]] = {
    "a tensor that is read further": (lambda x, h, y: (h, y), 2, 2),
    "a tensor that is read further, frame by frame": (lambda x, h, y: (y, h), 2, 1),
    "the input itself": (lambda x, h, y: (y, x), 2, 1),
    "one tensor twice": (lambda x, h, y: [y, y], 2, 2),
    "a named tuple": (lambda x, h, y: Pair(y, h), 2, 1),
}


@pytest.mark.parametrize("name", GIVEN)
def test_several_outputs_become_a_bundle(tmp_path: Path, name: str) -> None:
    give, count, window = GIVEN[name]
    torch.manual_seed(0)
    module, recordings = Outputs(give).eval(), [torch.randn(4, n) for n in (30, 41)]
    bundle = export(module, recordings, tmp_path / "bundle", streaming=Streaming(window=window))
    assert bundle.manifest["streaming"]["outputs"] == [f"output_{i}" for i in range(count)]
    header = (tmp_path / "bundle/components/lesp_model/esp32s3/model_config.hpp").read_text()
    assert all(f'"output_{i}"' in header for i in range(count))
    with torch.no_grad():
        offline = as_tuple(module(recordings[0][None]))
    for found, expected in zip(as_tuple(simulate(bundle, recordings[0])), offline, strict=True):
        assert found.shape == expected[0].shape
        noise = (found - expected[0]).square().mean()
        assert float(10 * torch.log10(expected.square().mean() / noise)) > 15


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            (torch.zeros(1), [torch.zeros(1)]),
            r"output 1 is a list of 1 tensor\. .* a flat tuple",
        ),
        ((torch.zeros(1), (torch.zeros(1),) * 2, None), "output 1 is a tuple of 2 tensors and output 2 is None"),
        (
            {"score": torch.zeros(1)},
            r"a dict .* 'score' \[1\]\. .*\(outputs='score'\)",
        ),
        (("a", torch.zeros(1)), "output 0 is a str"),
        ((), "a tuple of 0 tensors; return a tensor"),
        (None, "forward returned None; return a tensor"),
    ],
)
def test_what_is_no_tensor_is_named_by_its_place(result: object, told: str) -> None:
    with pytest.raises(ConversionError, match=told):
        as_tuple(result)


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda x, h, y: (y, h.mean(2)), "mean runs over all of time.*average the last N frames"),
        (lambda x, h, y: (y, (torch.softmax(h, 2) * h).sum(2)), "softmax normalises over all of time"),
        (
            lambda x, h, y: (y, torch.relu(h[:, :, -2:])),
            r"output 1 of Outputs, \[1, 6, 2\].*a cache",
        ),
    ],
    ids=["pooled", "attention", "cache"],
)
def test_a_second_output_without_time_is_pooled_or_a_cache(give: Callable[..., object], told: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=told):
        convert(Outputs(give).eval(), torch.randn(4, 30), Streaming(time_axis=2))
