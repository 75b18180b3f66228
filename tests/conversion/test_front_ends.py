"""Spectra inside a network are told by the front end that takes their place, which can be made as it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor, nn
from torchaudio.compliance import kaldi

from lightning_esp import Streaming, convert, frontend
from lightning_esp.errors import ConversionError, UnsupportedOperatorError

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


def rfft(m: Any, x: Tensor) -> Tensor:
    frames = (x.to(m.conv.weight.device) * 0.5).unfold(-1, 400, 160) * torch.hamming_window(
        400, periodic=False, dtype=x.dtype
    )
    power = torch.fft.rfft(frames, n=512).abs().square()
    return torch.log(torch.clamp(power @ m.mel.to(x.dtype), min=1e-5)).transpose(1, 2)


def padded(m: Any, x: Tensor) -> Tensor:
    frames = torch.stack([x[..., at : at + 256] for at in range(0, x.shape[-1] - 255, 128)], dim=-2)
    return torch.fft.rfft(frames).abs().square().transpose(1, 2)


KALDI = {"num_mel_bins": 40, "low_freq": 80.0, "high_freq": 7600.0}
ODD = KALDI | {"frame_shift": 12.5, "dither": 1.0, "snip_edges": False, "subtract_mean": True, "use_energy": True, "htk_compat": True,
               "vtln_warp": 1.1, "window_type": "blackman", "blackman_coeff": 0.5, "preemphasis_coefficient": 1.0, "high_freq": 0.0}  # fmt: skip


def heard(function: Callable[..., Tensor], **options: Any) -> Callable[[Any, Tensor], Tensor]:
    return lambda m, x: function(x, **options).T[None]


LFCC = {
    "n_filter": 26,
    "n_lfcc": 13,
    "speckwargs": {"n_fft": 512, "win_length": 400, "hop_length": 160, "center": False},
}
CASES |= {
    "LFCC": (
        lambda: Listens(torchaudio.transforms.LFCC(16000, **LFCC), lambda m, x: m.ear(x), 13),
        "Mfcc",
        {"num_ceps": 13, "num_mel_bins": 26, "low_freq": 0.0, "high_freq": 7999.0, "frame_length": 25, "log_epsilon": 1e-10},
        ["module 'ear' (LFCC)", "n_filter=26 filters of equal width in Hz (ours are as many mel bands)", "f_max=8000", "top_db=80"],
    ),
    "LFCC, log": (
        lambda: Listens(torchaudio.transforms.LFCC(16000, f_max=4000.0, log_lf=True, norm=None, **LFCC), lambda m, x: m.ear(x), 13),
        "Mfcc",
        {"high_freq": 4000.0, "log_epsilon": 1e-6},
        ["norm=None of the cosine transform", "log(max(mel, 1e-6))"],
    ),
    "Kaldi, what has no equal": (
        lambda: Listens(None, heard(kaldi.fbank, **ODD), 41),
        "LogMel",
        {"frame_shift": 12, "preemphasis": 0.99, "window_type": "blackman", "high_freq": 7999.0, "use_energy": True},
        ["frame_shift=12.5 ms", "dither=1.0", "snip_edges=False", "subtract_mean=True", "htk_compat=True", "energy_floor=1.0",
         "vtln_warp=1.1", "blackman_coeff=0.5", "preemphasis_coefficient=1 (", "high_freq=8000 (7999 here)"],
    ),
    "Kaldi's energy among coefficients": (
        lambda: Listens(None, heard(kaldi.mfcc, **KALDI, use_energy=True), 13),
        "Mfcc",
        {"use_energy": True},
        ["use_energy=True, which replaces the first coefficient"],
    ),
    "rfft with filters": (
        lambda: Listens(None, rfft, 20),
        "LogMel",
        {"num_mel_bins": 20, "frame_length": 25, "frame_shift": 10, "use_log_fbank": 1, "window_type": "hamming", "log_epsilon": 1e-5},
        ["the model (Listens): torch.fft.rfft", "16000 is a guess"],
    ),
    "rfft of frames of unknown make": (
        lambda: Listens(None, padded, 129),
        "Spectrogram",
        {"frame_length": 16, "frame_shift": 10, "window_type": "rectangular"},
        ["frame_shift, since its frames are not made by Tensor.unfold: 160 samples are a guess"],
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


KALDIS: dict[str, tuple[Callable[..., Tensor], dict[str, Any], int]] = {
    "fbank": (kaldi.fbank, KALDI, 40),
    "fbank of its own": (
        kaldi.fbank,
        KALDI | {"use_power": False, "use_log_fbank": False, "window_type": "hamming", "remove_dc_offset": False},
        40,
    ),
    "fbank with energy": (kaldi.fbank, KALDI | {"use_energy": True, "raw_energy": False, "energy_floor": 0.0}, 41),
    "mfcc": (kaldi.mfcc, KALDI | {"num_ceps": 20, "cepstral_lifter": 12.0, "preemphasis_coefficient": 0.5}, 20),
    "spectrogram": (kaldi.spectrogram, {"energy_floor": 0.0, "frame_length": 32.0, "frame_shift": 16.0}, 257),
}


@pytest.mark.parametrize("name", KALDIS)
def test_the_call_for_a_function_of_kaldi_gives_its_numbers(name: str) -> None:
    function, options, bands = KALDIS[name]
    samples = torch.randn(1, 8000)
    with pytest.raises(
        UnsupportedOperatorError, match=rf"torchaudio\.compliance\.kaldi\.{name.split()[0]} makes"
    ) as caught:
        convert(Listens(None, heard(function, **options), bands), samples)
    text = str(caught.value)
    assert "No equal has" not in text
    found = re.search(r"train with lightning_esp\.frontend\.(\w+)\((FeatureConfig\(.*?\))\) in front", text)
    assert found is not None, text
    made = getattr(frontend, found[1])(eval(found[2], {"FeatureConfig": frontend.FeatureConfig}))
    assert torch.allclose(made(samples), function(samples, **options).T[None], rtol=1e-3, atol=2e-3)


NO_EARS: dict[str, tuple[Callable[[Any, Tensor], Tensor], tuple[int, ...]]] = {
    "of all samples": (lambda m, x: torch.fft.rfft(x).abs()[:, None], (1, 8000)),
    "of sensors": (lambda m, x: torch.fft.rfft(x.unfold(-1, 8, 8)).abs().mean((1, -1))[:, None], (1, 4, 80)),
    "behind a layer": (
        lambda m, x: torch.fft.rfft(m.conv(x[:, None]).unfold(-1, 8, 8)).abs().mean((1, -1))[:, None],
        (1, 8000),
    ),
}


@pytest.mark.parametrize("name", NO_EARS)
def test_a_transform_that_no_front_end_makes_is_refused_as_any_other_operator(name: str) -> None:
    shape, size = NO_EARS[name]
    with pytest.raises(ConversionError, match="rfft") as caught:
        convert(Listens(None, shape, 1).eval(), torch.randn(size), Streaming(time_axis=len(size) - 1))
    assert "lightning_esp.frontend" not in str(caught.value)


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
