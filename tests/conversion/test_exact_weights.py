"""Weights that `forward` computes from its parameters: rounded once, and exact in the float64 proof."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from lightning_esp import Streaming, StreamingModel, convert
from lightning_esp.verification.parity import float_parity
from tests.models.tutorial_tcn import shake

RECORDINGS = [torch.randn(6, n, generator=torch.Generator().manual_seed(n)) for n in (30, 21)]


class Causal(nn.Module):
    """Two convolutions over time whose weights something makes."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module], groups: int = 1) -> None:
        super().__init__()
        self.first = wrap(nn.Conv1d(6, 6, 3, groups=groups))
        self.second = wrap(nn.Conv1d(6, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.elu(self.first(F.pad(x, (2, 0)))))


class Cosine(nn.Module):
    """A classifier by the cosine of the angle, on `[batch, time, channels]`, with a gate of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.gate = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.norm(dim=1, keepdim=True)
        return F.linear(x.transpose(1, 2), weight).transpose(1, 2) * torch.sigmoid(self.gate)


class Sinc(nn.Module):
    """Band-pass filters given by two frequencies each."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Parameter(torch.rand(6, 1) * 0.2 + 0.01), nn.Parameter(torch.rand(6, 1) * 0.2 + 0.3)

    def forward(self, x: Tensor) -> Tensor:
        n = torch.arange(-4, 5, dtype=torch.float32)
        window = torch.hamming_window(9)
        kernel = (torch.sinc(2 * self.high * n) * self.high - torch.sinc(2 * self.low * n) * self.low) * window
        return F.conv1d(F.pad(x, (8, 0)), kernel[:, None], groups=6)


class ByHand(Causal):
    """The same with a contract that reads the weights themselves."""

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.cat([cache, x], 2)
        y = F.elu(F.conv1d(whole, self.first.weight, self.first.bias))
        return F.conv1d(y, self.second.weight, self.second.bias), whole[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (6, 2)}


def old_weight_norm(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return weight_norm(module)


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm, old": old_weight_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm, old": spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
}
MODULES: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda wrap=wrap: Causal(wrap) for name, wrap in WRAPPED.items()},
    **{f"{name}, by hand": lambda wrap=wrap: ByHand(wrap) for name, wrap in WRAPPED.items()},
    "depthwise": lambda: Causal(parametrizations.weight_norm, 6),
    "cosine": Cosine,
    "sinc": Sinc,
}


@pytest.mark.parametrize("name", MODULES)
def test_weights_that_forward_computes_are_exact_in_float64(name: str) -> None:
    torch.manual_seed(1)
    module = shake(MODULES[name]()).eval()
    proofs, notes = float_parity(module, convert(module, RECORDINGS[0], Streaming(time_axis=2)), RECORDINGS)
    assert [proof.figure <= proof.limit for proof in proofs] == [True, True]
    assert proofs[1].figure < 1e-13
    assert notes == ()


@pytest.mark.parametrize("stages", [2, ["0", "1"]])
def test_stages_keep_exact_weights(stages: int | list[str]) -> None:
    torch.manual_seed(1)
    parts = (
        Causal(parametrizations.weight_norm),
        nn.Sequential(nn.ReLU(), parametrizations.weight_norm(nn.Conv1d(4, 4, 1))),
    )
    module = shake(nn.Sequential(*parts)).eval()
    model = convert(module, RECORDINGS[0], Streaming(stages=stages))
    assert [bool(exact) for exact in model.exact] == [True, True]
    assert float_parity(module, model, RECORDINGS)[0][1].figure < 1e-13


def cosine() -> tuple[nn.Module, StreamingModel]:
    torch.manual_seed(1)
    module = Cosine().eval()
    return module, convert(module, RECORDINGS[0], Streaming(time_axis=2))


def test_the_model_holds_the_float64_weight_rounded_once() -> None:
    module, model = cosine()
    expected = (module.weight.double() / module.weight.double().norm(dim=1, keepdim=True)).detach()
    ((name, exact),) = ((n, v) for n, v in model.exact[0].items() if v.numel() > 1)
    assert torch.equal(exact.squeeze(), expected)
    assert torch.equal(model.stages[0].get_parameter(name).squeeze(), expected.float())


def test_a_weight_that_was_changed_later_is_proved_as_it_is() -> None:
    # The planted fault: one step of float32, which the float32 proof lets through.
    module, model = cosine()
    weight = next(p for p in model.stages[0].parameters() if p.numel() > 1)
    with torch.no_grad():
        weight[0] *= 1 + 2e-7
    assert [proof.passed for proof in float_parity(module, model, RECORDINGS)[0]] == [True, False]


def test_the_default_type_is_left_as_it_was() -> None:
    cosine()
    assert torch.get_default_dtype() == torch.float32
