"""Configs that ESP-DL cannot work with are refused, with advice that helps."""

from __future__ import annotations

import re

import pytest
import torch

from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend import FeatureConfig, LogMel, Mfcc, Spectrogram

# Where ESP-DL loses the last band when the upper edge is the Nyquist frequency of 16 kHz: (low_freq, bands).
LOST = [(20, 74), (80, 38), (80, 77), (0, 10), (0, 21), (0, 43), (0, 87)]


@pytest.mark.parametrize(("low_freq", "bands"), LOST)
@pytest.mark.parametrize("high_freq", [0.0, 8000.0])
def test_a_lost_last_band_is_refused_and_the_advice_helps(low_freq, bands, high_freq):
    with pytest.raises(ConfigurationError, match=r"lose its last band.*high_freq") as refusal:
        LogMel(low_freq=low_freq, num_mel_bins=bands, high_freq=high_freq)
    advice = float(re.findall(r"Set high_freq to (\d+) or less", str(refusal.value))[0])
    front_end = LogMel(low_freq=low_freq, num_mel_bins=bands, high_freq=advice)
    loud = front_end(torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)))
    assert loud[0, -1].min() > -10


def test_mfcc_refuses_a_lost_band_as_well():
    with pytest.raises(ConfigurationError, match="lose its last band"):
        Mfcc(low_freq=80.0, num_mel_bins=38, high_freq=0.0)


@pytest.mark.parametrize("bands", range(4, 81))
def test_the_default_edges_lose_no_band(bands):
    assert LogMel(num_mel_bins=bands).mel_filters[:, -1].sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, r"FeatureConfig\(sample_rate=0\) must be a whole number"),
        ({"frame_length": 25.0}, r"frame_length=25\.0"),
        ({"frame_shift": 0}, "frame_shift=0"),
        ({"frame_length": 1, "sample_rate": 1000}, "at least 2 samples"),
        ({"frame_shift": 1, "sample_rate": 900}, "at least 1 sample"),
        ({"num_mel_bins": 0}, "num_mel_bins=0"),
        ({"preemphasis": 1.0}, r"preemphasis=1\.0\) must be at least 0 and below 1"),
        ({"cepstral_lifter": -1.0}, "cepstral_lifter"),
        ({"window_type": "kaiser"}, "window_type='kaiser'.*'povey'"),
        ({"log_epsilon": 0.0}, "log_epsilon"),
        ({"use_log_fbank": 3}, "use_log_fbank=3"),
        ({"low_freq": 20.5}, r"low_freq=20\.5.*whole number of Hz"),
        ({"high_freq": -1.0}, r"high_freq=-1\.0"),
    ],
)
def test_a_value_out_of_range_names_the_field(options, message):
    with pytest.raises(ConfigurationError, match=message):
        FeatureConfig(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(low_freq=4000.0, high_freq=3000.0), "low_freq"),
        (lambda: LogMel(high_freq=9000.0), "high_freq"),
        (lambda: LogMel(frame_length=1, sample_rate=4000, high_freq=1900.0), "needs at least 5"),
        (lambda: Mfcc(num_ceps=27), r"num_ceps=27, num_mel_bins=26"),
        (lambda: Mfcc(frame_length=4, num_mel_bins=32), "room for 31 bands"),
        (lambda: Mfcc(use_power=False), "use_power=False"),
        (lambda: Spectrogram(use_log_fbank=2), "use_log_fbank=2"),
        (lambda: LogMel(FeatureConfig(), num_mel_bins=3), "both a config and the options num_mel_bins"),
    ],
)
def test_a_config_that_does_not_fit_its_class_is_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_sizes_follow_from_times():
    config = FeatureConfig(frame_length=30, frame_shift=20, sample_rate=22050)
    assert (config.frame_samples, config.hop_samples, config.fft_size) == (661, 441, 1024)
    assert LogMel(config).frame_period == 441 / 22050
    assert FeatureConfig(frame_length=32).fft_size == 512
