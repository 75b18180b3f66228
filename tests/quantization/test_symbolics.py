"""Operators that torch's exporter lacks, and what it says of those that nobody has."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from lightning_esp import Streaming, convert, export, simulate
from lightning_esp.errors import ConversionError
from lightning_esp.quantization.onnx_graph import to_onnx
from tests.models.tutorial_tcn import shake

RMS = {
    "one axis": (nn.RMSNorm(6), (1, 1, 6)),
    "an eps of its own": (nn.RMSNorm(6, eps=0.1), (1, 1, 6)),
    "no weight": (nn.RMSNorm(6, elementwise_affine=False), (1, 1, 6)),
    "two axes": (nn.RMSNorm((3, 6)), (1, 1, 3, 6)),
}


@pytest.mark.parametrize("name", RMS)
def test_rms_norm_is_the_layer_norm_of_a_tensor_and_its_negative(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = RMS[name]
    module = nn.Sequential(nn.Identity(), shake(layer)).eval()
    example = torch.randn(1, 20, *shape[2:])
    model = convert(module, example, Streaming(time_axis=1))
    graph = onnx.load_from_string(to_onnx(model))
    window = example[:, :1]
    with torch.no_grad():
        expected = module(window)
    (found,) = ReferenceEvaluator(graph).run(None, {"input": window.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5)


def test_a_network_with_rms_norms_passes_all_proofs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = shake(nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.SiLU(), nn.Linear(8, 3), nn.RMSNorm(3))).eval()
    recordings = [torch.randn(n, 6) for n in (40, 30)]
    bundle = export(module, recordings, tmp_path / "b")
    with torch.no_grad():
        expected = module(recordings[0][None])[0]
    gap = (simulate(bundle, recordings[0]) - expected).square().sum()
    assert 10 * torch.log10(expected.square().sum() / gap) > 20


class Bessel(nn.Module):
    """A function that ONNX does not have, in a contract that no rule sees."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.i0(x)

    def streaming_forward(self, x: Tensor) -> Tensor:
        return torch.special.i0(x)


def test_what_onnx_lacks_is_refused_by_module_path_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    module = nn.Sequential(nn.Conv1d(6, 6, 1), Bessel()).eval()
    with pytest.raises(ConversionError) as caught:
        to_onnx(convert(module, torch.randn(6, 20)))
    assert str(caught.value).startswith("module '1' cannot be written as ONNX: ")
    assert "aten::i0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Compute that before or behind the exported model" in str(caught.value)
    assert capfd.readouterr() == ("", "")
