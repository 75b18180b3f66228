"""Why the firmware of a run does not listen."""

from __future__ import annotations

import pytest
import torchaudio
from torch import nn

from lightning_esp.frontend import LogMel, Mfcc
from lightning_esp.training.front_end_match import explain_frames


class Custom(nn.Module):
    """A transform of one's own."""


CASES = {
    "torchaudio": (
        {"features": nn.Sequential(torchaudio.transforms.MelSpectrogram(n_mels=20, n_fft=512)), "net": nn.Linear(2, 2)},
        "come from features.0 (MelSpectrogram), features.0.spectrogram (Spectrogram), features.0.mel_scale (MelScale), "
        "which ESP-DL's dl::audio does not compute; train with a LogMel",
    ),
    "several": ({"one": LogMel(), "two": Mfcc()}, "it has several front ends (one, two); keep one."),
    "one": (
        {"ear": LogMel(), "net": nn.Linear(2, 2)},
        "not what the front end ear makes of one channel of samples; move",
    ),
    "none": ({"stft": Custom(), "net": nn.Linear(2, 2)}, "it has no front end; if it takes audio, give it a LogMel"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reason_and_what_to_do(name):
    modules, expected = CASES[name]
    text = explain_frames(nn.ModuleDict(modules))
    assert text.startswith("EspStreamingExport: the firmware will take frames of features from streaming_next_frame")
    assert expected in text
