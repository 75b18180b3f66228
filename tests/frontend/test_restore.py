"""A front end that was written down computes the same."""

from __future__ import annotations

import json

import pytest
import torch

from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend import LogMel, Mfcc, Spectrogram, restore_front_end


@pytest.mark.parametrize("kind", [LogMel, Mfcc, Spectrogram])
def test_the_features_are_the_same_to_the_bit(kind: type[LogMel]) -> None:
    waveform = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    front_end = kind(frame_length=30, preemphasis=0.5)
    front_end.measure(waveform)
    again = restore_front_end(json.loads(json.dumps(front_end.describe())))
    assert type(again) is kind
    assert torch.equal(again(waveform), front_end(waveform))


@pytest.mark.parametrize("change", [{"kind": "Wavelet"}, {"config": {"pitch": 3}}, {"mean": [1.0, 2.0]}])
def test_what_describes_no_front_end_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"pass what FrontEnd\.describe\(\) returns"):
        restore_front_end({**LogMel().describe(), **change})
