"""`LogMel`, `Mfcc` and `Spectrogram` against torchaudio's Kaldi features, and what may go in and out of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchaudio.compliance import kaldi

from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.frontend import FeatureConfig, LogMel, Mfcc, Spectrogram

# The project's promise; ESP-DL itself is this close to Kaldi.
LIMIT = 5e-4


def make_speech(samples: int = 16000, seed: int = 0, scale: float = 0.3) -> torch.Tensor:
    """Two tones that come and go over noise, with an offset: loud and quiet frames, every band in use."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16000
    tones = torch.sin(2 * math.pi * 440 * time) + 0.5 * torch.sin(2 * math.pi * 3100 * time)
    loudness = 0.5 + 0.5 * torch.sin(2 * math.pi * 3 * time)
    return scale * loudness * tones + 0.01 * torch.randn(samples, generator=generator) + 0.02


def kaldi_options(config: FeatureConfig) -> dict[str, object]:
    return {
        "frame_length": config.frame_length,
        "frame_shift": config.frame_shift,
        "preemphasis_coefficient": config.preemphasis,
        "window_type": config.window_type,
        "remove_dc_offset": config.remove_dc_offset,
        "raw_energy": config.raw_energy,
        "sample_frequency": config.sample_rate,
        "energy_floor": 0.0,
        "dither": 0.0,
    }


def mel_options(config: FeatureConfig) -> dict[str, object]:
    return {
        "num_mel_bins": config.num_mel_bins,
        "low_freq": config.low_freq,
        "high_freq": config.high_freq,
        "use_energy": config.use_energy,
        **kaldi_options(config),
    }


LOG_MEL = {
    "defaults": {},
    "40 bands": {"num_mel_bins": 40},
    "povey": {"window_type": "povey", "low_freq": 20.0},
    "hamming, 30 ms": {"window_type": "hamming", "frame_length": 30, "frame_shift": 20},
    "blackman": {"window_type": "blackman", "num_mel_bins": 23},
    "rectangular": {"window_type": "rectangular", "preemphasis": 0.0},
    "magnitude": {"use_power": False, "num_mel_bins": 32},
    "powers": {"use_log_fbank": 0},
    "offset stays": {"remove_dc_offset": False},
    "raw energy": {"use_energy": True},
    "energy after the window": {"use_energy": True, "raw_energy": False},
    "8 kHz": {"sample_rate": 8000, "high_freq": 3800.0, "num_mel_bins": 20},
    "32 ms of 512 samples": {"frame_length": 32, "frame_shift": 16, "num_mel_bins": 64, "high_freq": 7000.0},
}


@pytest.mark.parametrize("options", LOG_MEL.values(), ids=LOG_MEL)
def test_log_mel_is_that_of_kaldi(options):
    front_end = LogMel(**options)
    config, waveform = front_end.config, make_speech()
    expected = kaldi.fbank(
        waveform[None], use_power=config.use_power, use_log_fbank=bool(config.use_log_fbank), **mel_options(config)
    )
    found = front_end(waveform)
    assert found.shape == (front_end.bands, expected.shape[0])
    assert (found.T - expected).abs().max() < LIMIT


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_mel_bins": 40, "num_ceps": 20},
        {"cepstral_lifter": 0.0, "window_type": "povey"},
        {"window_type": "hamming", "frame_length": 30, "low_freq": 20.0},
    ],
)
def test_mfcc_is_that_of_kaldi(options):
    front_end = Mfcc(**options)
    config, waveform = front_end.config, make_speech(seed=1)
    expected = kaldi.mfcc(
        waveform[None], num_ceps=config.num_ceps, cepstral_lifter=config.cepstral_lifter, **mel_options(config)
    )
    assert (front_end(waveform).T - expected).abs().max() < LIMIT


def test_mfcc_puts_the_energy_in_front():
    waveform = make_speech(seed=1)
    plain, energy = Mfcc()(waveform), Mfcc(use_energy=True)(waveform)
    assert energy.shape[0] == 14
    assert torch.equal(energy[1:], plain)
    expected = kaldi.mfcc(waveform[None], **mel_options(Mfcc(use_energy=True).config))
    assert (energy[0] - expected[:, 0]).abs().max() < LIMIT


@pytest.mark.parametrize(
    "options", [{}, {"window_type": "povey"}, {"raw_energy": False, "window_type": "hamming"}, {"frame_length": 32}]
)
def test_spectrogram_is_that_of_kaldi(options):
    front_end = Spectrogram(**options)
    waveform = make_speech(seed=2)
    expected = kaldi.spectrogram(waveform[None], **kaldi_options(front_end.config))
    assert (front_end(waveform).T - expected).abs().max() < LIMIT


@pytest.mark.parametrize("window_type", ["hann", "sine"])
def test_windows_that_kaldi_lacks(window_type):
    """Their formula, on one frame, against a discrete Fourier transform written out."""
    front_end = Spectrogram(window_type=window_type, preemphasis=0.0)
    frame = make_speech(400, seed=3).double()
    n = torch.arange(400, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / 400) if window_type == "hann" else torch.sin(math.pi * n / 399)
    spectrum = torch.fft.fft((frame - frame.mean()) * window, 512)[1:257]
    found = front_end(frame.float())[1:, 0].double()
    assert (found - spectrum.abs().square().log()).abs().max() < LIMIT


def test_the_other_logarithm_adds_its_floor():
    waveform = make_speech()
    powers = LogMel(use_log_fbank=0)(waveform)
    found = LogMel(use_log_fbank=2, log_epsilon=1e-3)(waveform)
    assert torch.allclose(found, (powers + 1e-3).log(), atol=1e-6)


def test_silence_is_the_floor():
    assert torch.allclose(LogMel()(torch.zeros(1, 16000)), torch.tensor(math.log(1.1920928955078125e-07)))
    assert torch.isfinite(Mfcc(use_energy=True)(torch.zeros(1, 400))).all()


@pytest.mark.parametrize("front_end", [LogMel(num_mel_bins=20), Mfcc(), Spectrogram()])
def test_int16_samples_are_divided_by_32768(front_end):
    integers = (make_speech() * 32768).round().clamp(-32768, 32767).to(torch.int16)
    assert torch.equal(front_end(integers), front_end(integers.float() / 32768))


@pytest.mark.parametrize("front_end", [LogMel(num_mel_bins=20), Mfcc(), Spectrogram()])
def test_a_batch_is_its_recordings(front_end):
    batch = torch.stack([make_speech(4000, seed) for seed in range(5)])
    together = front_end(batch)
    for recording, features in zip(batch, together, strict=True):
        assert (front_end(recording) - features).abs().max() < 1e-6
    assert torch.equal(front_end(batch.reshape(5, 1, 4000)), together[:, None])


def test_a_long_recording_is_worked_on_in_blocks():
    recording = make_speech(16000 * 9)
    front_end = LogMel()
    whole = front_end(recording)
    pieces = [front_end(recording[160 * first : 160 * first + 400]) for first in (0, 399, 400, 401, 896)]
    for first, piece in zip((0, 399, 400, 401, 896), pieces, strict=True):
        assert (whole[:, first] - piece[:, 0]).abs().max() < 1e-6


def test_a_recording_shorter_than_a_frame_has_none():
    for front_end in (LogMel(), Mfcc(), Spectrogram()):
        assert front_end(torch.zeros(3, 399)).shape == (3, front_end.bands, 0)
        assert front_end(torch.zeros(3, 400)).shape == (3, front_end.bands, 1)


@pytest.mark.parametrize(
    "front_end",
    [
        LogMel(num_mel_bins=8),
        LogMel(num_mel_bins=8, use_energy=True, raw_energy=False),
        Mfcc(num_ceps=5),
        Spectrogram(),
    ],
)
def test_gradients_are_those_of_finite_differences(front_end):
    front_end = front_end.double()
    waveform = make_speech(640, seed=4).double().requires_grad_()
    gradient = torch.autograd.grad(front_end(waveform).square().mean(), waveform)[0]
    assert gradient.abs().min() >= 0
    direction = torch.randn(640, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-7
    up, down = (front_end(waveform.detach() + sign * step * direction).square().mean() for sign in (1, -1))
    expected = (up - down) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(expected), rel=1e-4)


def test_mixed_precision_does_not_reach_the_features():
    front_end, waveform = LogMel(), make_speech()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(waveform), front_end(waveform.clone()))
        found = front_end(waveform)
    assert found.dtype == torch.float32
    assert torch.equal(found, front_end(waveform))
    with pytest.raises(ConfigurationError, match=r"LogMel was converted to torch\.bfloat16.*\.float\(\)"):
        LogMel().bfloat16()(waveform)


def test_double_precision_agrees():
    waveform = make_speech()
    exact = LogMel().double()(waveform)
    assert exact.dtype == torch.float64
    assert (exact - LogMel()(waveform)).abs().max() < LIMIT


def test_other_samples_are_refused():
    with pytest.raises(DataError, match=r"torch\.int32.*int16"):
        LogMel()(torch.zeros(16000, dtype=torch.int32))
    with pytest.raises(DataError, match="single number"):
        LogMel()(torch.tensor(0.5))


# Mean and scale.


def test_measure_gives_every_band_mean_0_and_deviation_1():
    front_end = LogMel(num_mel_bins=20)
    recordings = [make_speech(4000 + 1000 * seed, seed, scale=0.1 * seed) for seed in range(1, 6)]
    before = front_end(recordings[0])
    front_end.measure(recordings)
    features = torch.cat([front_end(recording) for recording in recordings], dim=1)
    assert features.mean(1).abs().max() < 1e-4
    assert (features.std(1, correction=0) - 1).abs().max() < 1e-4
    expected = (before - front_end.mean[:, None]) * front_end.scale[:, None]
    assert torch.allclose(front_end(recordings[0]), expected)


def test_measure_takes_batches_and_measures_afresh():
    first, second = LogMel(), LogMel()
    batch = torch.stack([make_speech(4000, seed) for seed in range(4)])
    first.measure([batch])
    second.measure([make_speech(8000, 9)])
    second.measure(batch)
    assert torch.allclose(first.mean, second.mean)
    assert torch.allclose(first.scale, second.scale)


def test_a_constant_band_is_shifted_only():
    front_end = LogMel()
    front_end.measure([torch.zeros(4000)])
    assert torch.equal(front_end.scale, torch.ones(26))
    assert front_end(torch.zeros(400)).abs().max() < 1e-6


def test_measure_wants_a_whole_frame():
    with pytest.raises(DataError, match=r"LogMel\.measure got no recording of at least 400 samples"):
        LogMel().measure([torch.zeros(399)])


def test_mean_and_scale_travel_in_the_state_dict_and_tables_do_not():
    front_end = LogMel()
    front_end.measure([make_speech()])
    assert set(front_end.state_dict()) == {"mean", "scale"}
    restored = LogMel()
    restored.load_state_dict(front_end.state_dict())
    assert torch.equal(restored(make_speech()), front_end(make_speech()))
    assert list(front_end.parameters()) == []


def test_describe_is_all_that_another_implementation_needs():
    front_end = Mfcc(num_mel_bins=30, window_type="povey")
    front_end.measure([make_speech()])
    described = front_end.describe()
    assert (described["kind"], described["bands"]) == ("MFCC", 13)
    assert (described["frame_samples"], described["hop_samples"]) == (400, 160)
    assert FeatureConfig(**described["config"]) == front_end.config
    assert described["mean"] == pytest.approx(front_end.mean.tolist())
    assert len(described["scale"]) == 13
    assert [LogMel.kind, Mfcc.kind, Spectrogram.kind] == ["Fbank", "MFCC", "Spectrogram"]


def test_a_front_end_is_a_module_among_others():
    model = nn.Sequential(LogMel(num_mel_bins=12), nn.Conv1d(12, 3, 1))
    waveform = make_speech(4000).requires_grad_()
    model(waveform[None]).sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.abs().sum() > 0
    assert "num_mel_bins=12" in repr(model)
