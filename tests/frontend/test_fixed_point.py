"""Features in fixed point: how near they are to float, what they are whatever comes, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_esp.chips import SOFT_FLOAT_TARGETS, TARGETS, choose_arithmetic
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.frontend import (
    DIFFERENCE_LIMITS,
    FeatureConfig,
    FixedPointFrontEnd,
    FrontEnd,
    LogMel,
    Mfcc,
    Spectrogram,
    as_on_chip,
    compare_with_float,
    compute_stream_features,
    read_audio,
    restore_front_end,
)
from lightning_esp.frontend.fixed_point import natural_log, transform_pairs
from lightning_esp.frontend.fixed_point_tables import cosine, exponential, logarithm, make_tables, sine
from tests.frontend.sounds import make_sounds

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "datasets"
TINY = sorted((ROOT / "datasets/tiny_kws").rglob("*.flac"))[::16]
SOUNDS = make_sounds()
FRONT_ENDS: dict[str, FrontEnd] = {
    "log-mel": LogMel(num_mel_bins=40),
    "povey": LogMel(window_type="povey", use_energy=True, raw_energy=False),
    "added floor": LogMel(use_log_fbank=2),
    "8 kHz": LogMel(sample_rate=8000, high_freq=3800.0, num_mel_bins=20),
    "mfcc": Mfcc(num_mel_bins=40, use_energy=True),
    "spectrogram": Spectrogram(),
}


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_features_are_near_those_in_float(name: str, sound: str) -> None:
    front_end = FRONT_ENDS[name]
    assert max(compare_with_float(front_end, [SOUNDS[sound]])) <= DIFFERENCE_LIMITS[front_end.kind]


def test_ordinary_sound_is_far_below_the_limit() -> None:
    for sound in ("noise", "random", "least noise"):
        assert max(compare_with_float(FRONT_ENDS["log-mel"], [SOUNDS[sound]])) < 1e-3


@pytest.mark.parametrize("name", ["log-mel", "mfcc", "spectrogram"])
def test_recordings_are_within_the_limit(name: str) -> None:
    """The tiny set that is always there; what is said of the usual difference holds for half of it at least."""
    usual = {"log-mel": 3e-3, "mfcc": 1e-2, "spectrogram": 0.1}
    found = compare_with_float(FRONT_ENDS[name], [torch.from_numpy(read_audio(path)[0]) for path in TINY])
    assert len(found) > 10
    assert max(found) <= DIFFERENCE_LIMITS[FRONT_ENDS[name].kind]
    assert np.median(found) <= usual[name]


@pytest.mark.skipif(not (SHARED / "speech_commands").exists(), reason="the shared data are not beside the repository")
@pytest.mark.parametrize("folder", ["speech_commands", "noise", "negatives"])
def test_shared_recordings_are_within_the_limit(folder: str) -> None:
    paths = sorted(path for path in (SHARED / folder).rglob("*") if path.suffix in (".wav", ".flac", ".ogg"))
    front_end = FRONT_ENDS["log-mel"]
    audio = [read_audio(path) for path in paths[:: -(-len(paths) // 20)]]
    found = compare_with_float(
        front_end, [torch.from_numpy(samples[:80000]) for samples, rate in audio if rate == 16000]
    )
    assert found
    assert max(found) <= DIFFERENCE_LIMITS["Fbank"]


def test_mean_and_scale_are_applied_as_in_float() -> None:
    front_end = LogMel(num_mel_bins=40)
    front_end.measure([SOUNDS["noise"], SOUNDS["tone"]])
    found, expected = FixedPointFrontEnd(front_end)(SOUNDS["noise"]), front_end(SOUNDS["noise"])
    assert (found - expected).abs().max() < 1e-3


def test_a_stream_gives_the_frames_of_the_whole() -> None:
    front_end = FixedPointFrontEnd(LogMel(num_mel_bins=40))
    samples, stream = SOUNDS["rising noise"][None], front_end.stream()
    parts = [stream.push(chunk) for chunk in samples.split(777, dim=1)]
    assert torch.equal(torch.cat(parts, dim=-1), front_end(samples))


def test_too_short_a_recording_has_no_frame() -> None:
    assert FixedPointFrontEnd(LogMel(num_mel_bins=40))(torch.zeros(2, 399, dtype=torch.int16)).shape == (2, 40, 0)


def test_the_transform_is_the_fourier_transform() -> None:
    values = np.random.default_rng(0).integers(-(2**21), 2**21, (3, 256, 2))
    re, im = transform_pairs(values[..., 0], values[..., 1], make_tables(FeatureConfig()).sines)
    expected = np.fft.fft(values[..., 0] + 1j * values[..., 1])
    assert np.abs(re + 1j * im - expected).max() < 40  # of up to 2^26


def test_functions_of_the_tables() -> None:
    for x in (-0.75, -0.1, 0.0, 0.2, 0.5, 0.9, 3.3):
        assert sine(x) == pytest.approx(math.sin(2 * math.pi * x), abs=1e-14)
        assert cosine(x) == pytest.approx(math.cos(2 * math.pi * x), abs=1e-14)
        assert exponential(-abs(x) * 9) == pytest.approx(math.exp(-abs(x) * 9), rel=1e-13)
    for x in (1e-20, 0.3, 1.0, 1.5, 12.0, 1e6):
        assert logarithm(x) == pytest.approx(math.log(x), abs=1e-13)


def test_the_logarithm_is_within_a_unit_and_its_interpolation() -> None:
    values = np.random.default_rng(0).integers(1, 2**62, 1000, dtype=np.uint64) >> np.arange(1000, dtype=np.uint64) % 62
    values = np.maximum(values, 1)
    found = natural_log(values, np.full(1000, 40), make_tables(FeatureConfig()).logs) / 65536
    assert np.abs(found - (np.log(values.astype(float)) - 40 * math.log(2))).max() < 2.5e-5


def test_which_chip_computes_how() -> None:
    config = asdict(FeatureConfig())
    chosen = {target: choose_arithmetic(config, target) for target in TARGETS}
    assert {target for target, arithmetic in chosen.items() if arithmetic == "fixed_point"} == set(SOFT_FLOAT_TARGETS)
    assert choose_arithmetic({**config, "arithmetic": "fixed_point"}, "esp32s3") == "fixed_point"
    assert choose_arithmetic({**config, "arithmetic": "float"}, "esp32c3") == "float"
    assert choose_arithmetic({**config, "use_log_fbank": 0}, "esp32c3") == "float"


def test_a_front_end_as_a_chip_computes_it() -> None:
    front_end = LogMel(num_mel_bins=40)
    assert as_on_chip(front_end, "esp32s3") is front_end
    (heard,) = compute_stream_features(as_on_chip(front_end, "esp32c3"), [SOUNDS["noise"].float() / 32768])
    assert torch.equal(heard.features, FixedPointFrontEnd(front_end)(SOUNDS["noise"])[:, : heard.features.shape[1]])


def test_a_description_of_before_was_float() -> None:
    description = LogMel().describe()
    config = {name: value for name, value in description["config"].items() if name != "arithmetic"}
    assert restore_front_end({**description, "config": config}).config.arithmetic == "float"
    assert restore_front_end(description).config.arithmetic == "auto"


@pytest.mark.parametrize(
    ("front_end", "words"),
    [
        (LogMel(use_log_fbank=0), "use_log_fbank=0.*gives powers"),
        (LogMel(sample_rate=96000, frame_length=100), "16384 points.*at most 8192"),
    ],
)
def test_what_it_cannot_compute(front_end: FrontEnd, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FixedPointFrontEnd(front_end)


@pytest.mark.parametrize(
    ("name", "value"), [("mean", 40000.0), ("mean", math.nan), ("scale", 2.0**20), ("scale", 1e-10)]
)
def test_mean_and_scale_have_a_range(name: str, value: float) -> None:
    front_end = LogMel()
    getattr(front_end, name)[3] = value
    with pytest.raises(ConfigurationError, match=f"front end's {name} reaches"):
        FixedPointFrontEnd(front_end)


def test_floating_point_samples_are_refused() -> None:
    with pytest.raises(DataError, match="int16"):
        FixedPointFrontEnd(LogMel())(torch.zeros(1000))
