"""Spectra inside a network are told by the front end that takes their place, which can be made as it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor, nn

from lightning_esp import convert, frontend
from lightning_esp.errors import UnsupportedOperatorError

MEL = {"sample_rate": 16000, "n_fft": 512, "win_length": 400, "hop_length": 160, "center": False, "f_min": 80.0}


class Listens(nn.Module):
    """`ear` makes features of samples, `shape` what the network takes."""

    def __init__(self, ear: nn.Module | None, shape: Callable[[Any, Tensor], Tensor], bands: int) -> None:
        super().__init__()
        self.ear, self.shape, self.conv = ear, shape, nn.Conv1d(bands, 3, 1)
        self.mel = torch.rand(257, 20)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.shape(self, x))  # type: ignore[no-any-return]


def mel(**options: Any) -> nn.Module:
    return torchaudio.transforms.MelSpectrogram(**{**MEL, "f_max": 7600.0, "n_mels": 40, **options})


def stft(m: Any, x: Tensor) -> Tensor:
    spectrum = torch.stft(x, 512, 160, 400, torch.hann_window(400, dtype=x.dtype), center=False, return_complex=True)
    return torch.log(spectrum.abs().square().transpose(1, 2) @ m.mel.to(x.dtype) + 1e-6).transpose(1, 2)


DECIBELS = nn.Sequential(mel(), torchaudio.transforms.AmplitudeToDB("power", 80))
CASES: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any], list[str]]] = {
    "mel, log of a sum": (
        lambda: Listens(mel(), lambda m, x: torch.log(m.ear(x) + 1e-6), 40),
        "LogMel",
        {"frame_length": 25, "frame_shift": 10, "num_mel_bins": 40, "low_freq": 80.0, "high_freq": 7600.0}
        | {"window_type": "hann", "use_log_fbank": 2, "log_epsilon": 1e-6, "preemphasis": 0.0},
        ["module 'ear' (MelSpectrogram)", "linear in Hz"],
    ),
    "mel, log of a floor": (
        lambda: Listens(mel(), lambda m, x: m.ear(x).clamp(min=1e-5).log(), 40),
        "LogMel",
        {"use_log_fbank": 1, "log_epsilon": 1e-5},
        [],
    ),
    "mel, no logarithm": (lambda: Listens(mel(power=1.0), lambda m, x: m.ear(x), 40), "LogMel", {"use_log_fbank": 0, "use_power": False}, []),
    "what has no equal": (
        lambda: Listens(mel(center=True, mel_scale="slaney", norm="slaney", win_length=401, f_max=None), lambda m, x: m.ear(x).log10(), 40),
        "LogMel",
        {"frame_length": 25, "high_freq": 7999.0},
        ["center=True, which looks 256 samples ahead", "mel_scale='slaney'", "norm='slaney'", "win_length=401", "f_max=8000", "log10 (ours is"],
    ),
    "decibels": (
        lambda: Listens(DECIBELS, lambda m, x: m.ear(x), 40),
        "LogMel",
        {"log_epsilon": 1e-10},
        ["module 'ear.0' (MelSpectrogram)", "decibels (ours are natural logarithms, 4.342945", "top_db"],
    ),
    "MFCC": (
        lambda: Listens(torchaudio.transforms.MFCC(16000, 13, log_mels=True, melkwargs={k: v for k, v in MEL.items() if k != "sample_rate"} | {"n_mels": 26, "window_fn": torch.hamming_window}), lambda m, x: m.ear(x), 13),
        "Mfcc",
        {"num_ceps": 13, "num_mel_bins": 26, "cepstral_lifter": 0.0, "log_epsilon": 1e-6},
        ["module 'ear' (MFCC)", "its window (hann here)", "log(max(mel, 1e-6))"],
    ),
    "spectrogram": (
        lambda: Listens(torchaudio.transforms.Spectrogram(512, 400, 160, center=False), lambda m, x: torch.log(m.ear(x) + 1e-9), 257),
        "Spectrogram",
        {"frame_length": 25, "log_epsilon": 1e-9},
        ["sample_rate, which it does not know", "log(power + 1e-09)"],
    ),
    "stft with filters": (
        lambda: Listens(None, stft, 20),
        "LogMel",
        {"num_mel_bins": 20, "frame_length": 25, "frame_shift": 10, "use_log_fbank": 2, "window_type": "hann"},
        ["the model (Listens): torch.stft", "16000 is a guess"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_call_of_a_front_end_is_written_out(name: str) -> None:
    build, kind, options, words = CASES[name]
    with pytest.raises(UnsupportedOperatorError) as caught:
        convert(build(), torch.randn(1, 8000))
    text = str(caught.value)
    found = re.search(r"train with lightning_esp\.frontend\.(\w+)\((FeatureConfig\(.*?\))\) in front", text)
    assert found is not None, text
    made = getattr(frontend, found[1])(eval(found[2], {"FeatureConfig": frontend.FeatureConfig}))
    assert found[1] == kind
    assert {name: getattr(made.config, name) for name in options} == options
    assert [word for word in words if word not in text] == [], text


def test_a_transform_that_is_not_called_is_no_matter() -> None:
    module = Listens(mel(), lambda m, x: x, 40)
    assert convert(module, torch.randn(1, 40, 30)).window == 1


@pytest.mark.parametrize("kind", [frontend.LogMel, frontend.Mfcc, frontend.Spectrogram])
def test_a_front_end_of_ours_is_named_with_what_to_do(kind: type[frontend.FrontEnd]) -> None:
    ear = kind()
    network = nn.Conv1d(ear.bands, 3, 1)
    with pytest.raises(
        UnsupportedOperatorError, match=rf"module '0' \({kind.__name__}\) .* convert\(network, front_end\(samples\)\)"
    ):
        convert(nn.Sequential(ear, network).eval(), torch.zeros(1, 8000))
    assert convert(network.eval(), ear(torch.rand(1, 8000))).spec.delay == 0


def test_one_that_normalises_is_converted_with_the_rest() -> None:
    network = nn.Sequential(frontend.Normalize([1.0, 2.0], [3.0, 4.0]), nn.Conv1d(2, 3, 1)).eval()
    model, readings = convert(network, torch.rand(1, 2, 30)), torch.rand(1, 2, 30)
    with torch.no_grad():
        assert torch.allclose(model.run({"input": readings}), network(readings), atol=1e-6)
