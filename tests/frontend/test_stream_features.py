"""Samples as a chip hears them: what cannot be samples of a microphone is refused, by recording and figure."""

import pytest
import torch
from torch import Tensor

from lightning_esp.errors import DataError
from lightning_esp.frontend import LogMel, compute_stream_features

WAVE = torch.sin(torch.arange(4000) / 10)
REFUSED = {
    "sixteen bits as floats": (WAVE * 20000, r"recording 1 reaches 20000, and 100% of its samples lie beyond -1 to 1"),
    "int32": ((WAVE * 20000).int(), r"recording 1 holds samples of torch\.int32; give int16, or floating point"),
    "uint8": (torch.full((4000,), 128, dtype=torch.uint8), r"samples of torch\.uint8"),
    "complex": (WAVE.to(torch.complex64), r"samples of torch\.complex64"),
    "not a number": (
        torch.cat([WAVE, torch.tensor([float("nan")])]),
        r"holds nan at sample 4000, in 1 of 4001 samples",
    ),
    "infinite": (torch.cat([torch.tensor([-float("inf")]), WAVE]), r"holds -inf at sample 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_microphone_gives_is_refused(name: str) -> None:
    samples, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        compute_stream_features(LogMel(num_mel_bins=20), [WAVE, samples])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_other_kinds_of_samples_are_taken(kind: torch.dtype) -> None:
    samples: Tensor = (WAVE * 32767).to(kind) if kind is torch.int16 else WAVE.to(kind)
    (heard,) = compute_stream_features(LogMel(num_mel_bins=20), [samples])
    assert heard.samples.dtype == torch.int16
    assert abs(int(heard.samples.max()) - 32767) < 300


def test_a_peak_beyond_is_clipped() -> None:
    loud = WAVE.clone()
    loud[1000] = 1.7
    (heard,) = compute_stream_features(LogMel(num_mel_bins=20), [loud])
    assert int(heard.samples[1000]) == 32767
